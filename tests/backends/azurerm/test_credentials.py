"""Who we are to Azure: whose way comes first, what is asked where, and what is said where there is none."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from tests.support.serving import Request, serving
from tfguard.backends.azurerm.credentials import Credentials
from tfguard.backends.azurerm.entra import Entra
from tfguard.backends.azurerm.signing import Unsigned
from tfguard.backends.azurerm.spec import AzureAccess
from tfguard.errors import StoreDenied, StoreMisconfigured, StoreUnavailable, TfguardError

ASKED = Unsigned("GET", "acct", "/c/blob", {"comp": "lease"}, {"x-ms-version": "1"})


@dataclass
class Entras:
    """Entra, the management, the machine's identity and the job's own tokens, all on one address."""

    address: str = ""
    says: tuple[int, bytes] | None = None
    blobs: str = "https://acct.z1.blob.storage.example/"
    asked: list[tuple[str, str, dict[str, list[str]], Any]] = field(default_factory=list)

    def answer(self, request: Request) -> tuple[int, bytes]:
        parts = urlsplit(request.path)
        self.asked.append(
            (request.method, parts.path, parse_qs(parts.query) | parse_qs(request.body.decode()), request.headers)
        )
        if self.says is not None:
            return self.says
        if parts.path.endswith("/listKeys"):
            return 200, json.dumps({"keys": [{"keyName": "key1", "value": "a2V5"}]}).encode()
        if parts.path.endswith("/storageAccounts/acct"):
            return 200, json.dumps({"properties": {"primaryEndpoints": {"blob": self.blobs}}}).encode()
        if parts.path == "/job":
            return 200, json.dumps({"value": "github's", "oidcToken": "devops'"}).encode()
        return 200, json.dumps({"access_token": f"token-{len(self.asked)}", "expires_in": 3600}).encode()

    def access(self, **changes: Any) -> AzureAccess:
        where = {"login": self.address, "management": self.address, "msi_endpoint": f"{self.address}/msi"}
        return AzureAccess(**{"account": "acct", "use_azuread": True, "use_cli": False, **where, **changes})


@pytest.fixture
def entra() -> Iterator[Entras]:
    made = Entras()
    with serving(made.answer) as made.address:
        yield made


@pytest.fixture(autouse=True)
def no_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No identity, and no Azure CLI, of this machine's own."""
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


def resolved(access: AzureAccess) -> Credentials:
    made = Credentials(access)
    made.resolve()
    made.close()
    return made


def signed(access: AzureAccess) -> tuple[str, dict[str, str]]:
    return resolved(access).sign(ASKED)


def az(tmp_path: Path, script: str) -> None:
    (tmp_path / "az").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "az").chmod(0o755)


def test_a_key_is_used_before_all_others_and_the_query_is_signed_with_it(entra: Entras) -> None:
    question, headers = signed(entra.access(access_key="a2V5", sas_token="sig=x"))

    assert question == "comp=lease"
    assert headers["Authorization"].startswith("SharedKey acct:")
    assert entra.asked == []


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("sv=2&se=2026-11-29T13%3A00%3A00Z&sig=x", datetime(2026, 11, 29, 13, tzinfo=timezone.utc)),
        ("se=2026-11-29&sig=x", datetime(2026, 11, 29, tzinfo=timezone.utc)),
        ("si=policy&sig=x", None),
        ("se=soon&sig=x", None),
    ],
)
def test_a_signed_query_says_when_it_ends(entra: Entras, text: str, ends: datetime | None) -> None:
    """So who takes a lock by it is warned; nobody looks for another, since there is none."""
    found = resolved(entra.access(sas_token=text))

    assert found.expires_at() == ends
    assert found._fresh.expires_at() is None


def test_a_signed_query_is_put_behind_ours(entra: Entras) -> None:
    question, headers = signed(entra.access(sas_token="sv=1&sig=x%3D"))

    assert question == "comp=lease&sv=1&sig=x%3D"
    assert "Authorization" not in headers


APPLICATION = {"tenant": "t", "client": "c"}
PROOFS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "a secret": ({"client_secret": "s"}, {"client_secret": "s"}),
    "a secret before OIDC": ({"client_secret": "s", "use_oidc": True, "oidc_token": "o"}, {"client_secret": "s"}),
    "a given token": ({"use_oidc": True, "oidc_token": "given"}, {"client_assertion": "given"}),
    "GitHub's": (
        {"use_oidc": True, "oidc_request_url": "{}/job?x=1", "oidc_request_token": "r"},
        {"client_assertion": "github's"},
    ),
    "Azure DevOps'": (
        {"use_oidc": True, "oidc_request_url": "{}/job", "oidc_request_token": "r", "ado_connection": "id"},
        {"client_assertion": "devops'"},
    ),
}


@pytest.mark.parametrize(("given", "shown"), PROOFS.values(), ids=PROOFS)
def test_an_application_proves_itself_and_gets_a_token(
    entra: Entras, given: dict[str, Any], shown: dict[str, str]
) -> None:
    given = {name: value.format(entra.address) if isinstance(value, str) else value for name, value in given.items()}

    made = resolved(entra.access(**APPLICATION, **given))

    method, path, form, _ = entra.asked[-1]
    assert (method, path) == ("POST", "/t/oauth2/v2.0/token")
    assert form["scope"] == ["https://storage.azure.com/.default"]
    assert {name: form[name] for name in shown} == {name: [value] for name, value in shown.items()}
    assert made.sign(ASKED)[1]["Authorization"] == f"Bearer token-{len(entra.asked)}"
    assert made.expires_at() is not None


@dataclass(frozen=True)
class Bundle:
    """A certificate of an application's, and its key, as Azure's portal is given the one and Terraform both."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    def pfx(self, password: str = "", key: Any = None) -> bytes:
        secret = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        return pkcs12.serialize_key_and_certificates(b"app", key or self.key, self.certificate, None, secret)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    key, name = rsa.generate_private_key(65537, 2048), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return Bundle(key, builder.sign(key, hashes.SHA256()))


@pytest.mark.parametrize("given", ["path", "text"])
def test_a_certificate_signs_a_proof_for_exactly_where_it_is_sent(
    entra: Entras, bundle: Bundle, tmp_path: Path, given: str
) -> None:
    (tmp_path / "app.pfx").write_bytes(bundle.pfx("hush"))
    text = base64.b64encode(bundle.pfx("hush")).decode()
    how = {"certificate": text} if given == "text" else {"certificate_file": str(tmp_path / "app.pfx")}

    made = resolved(entra.access(**APPLICATION, **how, certificate_password="hush", client_secret="for later"))

    form = entra.asked[-1][2]
    header, claims, signature = form["client_assertion"][0].split(".")
    thumbprint = bundle.certificate.fingerprint(hashes.SHA1())
    said, asked = decoded(header), decoded(claims)
    signed = base64.urlsafe_b64decode(signature + "==")
    bundle.key.public_key().verify(signed, f"{header}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    assert (said["alg"], base64.urlsafe_b64decode(said["x5t"] + "==")) == ("RS256", thumbprint)
    assert base64.urlsafe_b64decode(said["kid"]) == thumbprint
    assert (asked["aud"], asked["iss"], asked["sub"]) == (f"{entra.address}/t/oauth2/v2.0/token", "c", "c")
    assert asked["nbf"] <= time.time() < asked["exp"]
    assert "client_secret" not in form
    assert made.sign(ASKED)[1]["Authorization"] == "Bearer token-1"


def decoded(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return found


def test_a_certificate_with_another_password_or_key_is_named_as_such(entra: Entras, bundle: Bundle) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(named, named, curve.public_key(), 1, now, now + timedelta(days=1))
    other = Bundle(bundle.key, builder.sign(curve, hashes.SHA256()))

    for pfx in (bundle.pfx("hush"), other.pfx(key=curve)):
        with pytest.raises(StoreMisconfigured, match="no PKCS#12 bundle with an RSA key") as refused:
            resolved(entra.access(**APPLICATION, certificate=base64.b64encode(pfx).decode()))
        assert all(len(line) <= 120 for line in str(refused.value).splitlines())
    assert entra.asked == []


def test_without_the_extra_it_is_said_what_to_install(
    entra: Entras, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)

    with pytest.raises(StoreMisconfigured, match=r"pip install 'tfguard\[azurerm\]'"):
        resolved(entra.access(**APPLICATION, certificate=base64.b64encode(bundle.pfx()).decode()))


def test_a_certificate_without_an_application_is_passed_over_as_terraform_does(entra: Entras, bundle: Bundle) -> None:
    signed(entra.access(certificate=base64.b64encode(bundle.pfx()).decode(), use_msi=True))

    assert entra.asked[-1][1] == "/msi"


def test_a_client_id_may_come_from_a_file_and_no_two_are_taken_for_one(entra: Entras, tmp_path: Path) -> None:
    (tmp_path / "id").write_text("from the file\n")
    given = {"tenant": "t", "client_secret": "s", "client_file": str(tmp_path / "id")}

    signed(entra.access(**given))

    assert entra.asked[-1][2]["client_id"] == ["from the file"]
    with pytest.raises(StoreMisconfigured, match="`client_id` and what `client_id_file_path` names"):
        signed(entra.access(**given, client="another"))


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("client_secret_file", {}),
        ("oidc_token_file", {"use_oidc": True}),
        ("oidc_token_file", {"use_workload_identity": True}),
    ],
)
def test_what_is_in_a_file_is_read_anew_each_time(
    entra: Entras, tmp_path: Path, name: str, extra: dict[str, bool]
) -> None:
    path = tmp_path / "proof"
    access = entra.access(**APPLICATION, **{name: str(path)}, **extra)
    for word in ("first", "second"):
        path.write_text(f"{word}\n")
        Entra(access, os.environ).token("https://storage.azure.com")

    proofs = [form.get("client_secret") or form.get("client_assertion") for _, _, form, _ in entra.asked]
    assert proofs == [["first"], ["second"]]


def test_the_machines_identity_is_asked_with_its_header(entra: Entras, monkeypatch: pytest.MonkeyPatch) -> None:
    signed(entra.access(use_msi=True, client="c"))
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{entra.address}/app-service")
    monkeypatch.setenv("IDENTITY_HEADER", "h")
    signed(entra.access(use_msi=True, msi_endpoint=""))

    (_, first, query, headers), (_, second, _, others) = entra.asked
    assert (first, query["client_id"], headers["Metadata"]) == ("/msi", ["c"], "true")
    assert (second, others["X-IDENTITY-HEADER"]) == ("/app-service", "h")


def test_who_has_signed_in_with_az_is_asked_last(entra: Entras, tmp_path: Path) -> None:
    az(tmp_path, 'echo "{\\"accessToken\\": \\"of az\\", \\"expires_on\\": 4102444800}"')

    made = resolved(entra.access(use_cli=True))

    assert made.sign(ASKED)[1]["Authorization"] == "Bearer of az"
    assert made.expires_at().year == 2100


def test_without_a_key_the_management_is_asked_for_it(entra: Entras) -> None:
    access = entra.access(
        use_azuread=False, **APPLICATION, client_secret="s", resource_group="group one", subscription="sub"
    )

    assert signed(access)[1]["Authorization"].startswith("SharedKey acct:")
    _, path, _, headers = entra.asked[-1]
    group = "/subscriptions/sub/resourceGroups/group%20one"
    assert path == f"{group}/providers/Microsoft.Storage/storageAccounts/acct/listKeys"
    assert headers["Authorization"] == "Bearer token-1"


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({"use_azuread": True}, "https://acct.blob.core.windows.net"),
        ({"use_azuread": True, "lookup_endpoint": True}, "https://acct.z1.blob.storage.example"),
        ({"use_azuread": False}, "https://acct.z1.blob.storage.example"),
        ({"access_key": "a2V5", "lookup_endpoint": True}, "https://acct.blob.core.windows.net"),
    ],
    ids=["a token", "a token, looked up", "the account's key", "a given key"],
)
def test_where_the_blobs_are_is_asked_for_where_terraform_asks(
    entra: Entras, given: dict[str, Any], endpoint: str
) -> None:
    made = resolved(entra.access(**APPLICATION, client_secret="s", resource_group="g", subscription="sub", **given))

    assert made.endpoint == endpoint


@pytest.mark.parametrize("blobs", ["http://acct.example", "https://", "", None])
def test_an_address_in_clear_or_none_is_believed_in_nothing(entra: Entras, blobs: Any) -> None:
    entra.blobs = blobs
    account = {"resource_group": "g", "subscription": "sub", "lookup_endpoint": True}
    access = entra.access(**APPLICATION, **account, client_secret="s")

    with pytest.raises(StoreUnavailable, match="does not say where"):
        resolved(access)


SECRET = {"client_secret": "hush-hush", **APPLICATION}
WRONG: dict[str, tuple[dict[str, Any], tuple[int, bytes] | None, type[TfguardError], str]] = {
    "nobody": ({}, None, StoreDenied, "There are no credentials for Azure"),
    "half an application": ({"client_secret": "s"}, None, StoreDenied, "There are no credentials"),
    "no CLI": ({"use_cli": True}, None, StoreDenied, "no Azure CLI"),
    "no group": ({"use_azuread": False}, None, StoreDenied, "no `resource_group_name`"),
    "no base64": ({"access_key": "?"}, None, StoreMisconfigured, "no base64"),
    "no certificate": ({"certificate_file": "/no.pfx", **APPLICATION}, None, StoreMisconfigured, "cannot be read"),
    "no bundle": ({"certificate": "eA==", **APPLICATION}, None, StoreMisconfigured, "no PKCS#12 bundle"),
    "no base64 of one": ({**APPLICATION, "certificate": "?"}, None, StoreMisconfigured, "base64"),
    "no file": ({"client_secret_file": "/no/such", **APPLICATION}, None, StoreMisconfigured, "cannot be read"),
    "refused": (
        SECRET,
        (401, b'{"error": "invalid_client", "error_description": "AADSTS7000215: wrong.\\nTrace ID: 1"}'),
        StoreDenied,
        "AADSTS7000215: wrong.",
    ),
    "out of order": (SECRET, (503, b""), StoreUnavailable, "No answer from Azure (503)"),
    "a portal": (SECRET, (200, b"<html>Welcome</html>"), StoreUnavailable, "something else"),
    "no token": (SECRET, (200, b'{"token": 1}'), StoreUnavailable, "no token"),
}


@pytest.mark.parametrize(("given", "says", "kind", "words"), WRONG.values(), ids=WRONG)
def test_who_is_nobody_hears_why_in_short_lines_without_a_secret(
    entra: Entras, given: dict[str, Any], says: tuple[int, bytes] | None, kind: type[TfguardError], words: str
) -> None:
    entra.says = says

    with pytest.raises(kind) as refused:
        resolved(entra.access(**given))

    lines = str(refused.value).splitlines()
    assert words in lines[0]
    assert len(lines) <= 2 and all(len(line) <= 120 for line in lines)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("script", ["echo 'ERROR: Please run az login' >&2; exit 1", "echo nonsense"])
def test_an_az_that_has_nobody_says_so(entra: Entras, tmp_path: Path, script: str) -> None:
    az(tmp_path, script)

    with pytest.raises(StoreDenied, match=r"The Azure CLI \(az\) gave no token"):
        resolved(entra.access(use_cli=True))


SECRETS = ("access_key", "sas_token", "client_secret", "certificate", "certificate_password", "oidc_token")


@pytest.mark.parametrize("name", [*SECRETS, "oidc_request_token"])
def test_what_is_secret_is_known_and_never_stands_in_a_file(name: str) -> None:
    access = AzureAccess(account="acct", **{name: "hush"})

    assert "hush" in access.secrets()
    assert "hush" not in repr(access)
    assert getattr(access.bare(), name) == ""


def test_other_credentials_have_another_key() -> None:
    keys: Callable[..., str] = lambda environ, **given: AzureAccess(account="a", **given).key(environ)  # noqa: E731

    assert len({keys({}), keys({}, client="c"), keys({"AZURE_CONFIG_DIR": "x"})}) == 3
