"""A token for Google: whose, from where, and what is said where there is none. Google's token server is a fake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.support.eventually import eventually
from tests.support.serving import Request, replying
from tfguard.backends import fresh
from tfguard.backends.gcs.credentials import Credentials
from tfguard.backends.gcs.spec import GcsAccess
from tfguard.errors import StoreDenied, StoreMisconfigured, StoreUnavailable, TfguardError


@dataclass
class Tokens:
    """A token server. It gives `token-1`, `token-2`…, each for `life` seconds, until it is told what to say instead."""

    address: str = ""
    life: int = 3600
    says: tuple[int, bytes] | None = None
    asked: list[dict[str, list[str]]] = field(default_factory=list)

    def answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(parse_qs(request.body.decode()))
        if self.says is not None:
            return (self.says[0], {"Content-Type": "application/json"}, self.says[1])
        token = {"access_token": f"token-{len(self.asked)}", "expires_in": self.life, "token_type": "Bearer"}
        return 200, {"Content-Type": "application/json"}, json.dumps(token).encode()


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tokens]:
    made = Tokens()
    with replying(made.answer) as address:
        made.address = address
        # Where a user's token comes from no file says.
        monkeypatch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{address}/token")
        yield made


@pytest.fixture(autouse=True)
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials of this machine's own."""
    monkeypatch.setenv("HOME", str(tmp_path))


def service_account(tokens: Tokens) -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account",
            "client_email": "ci@example.iam.gserviceaccount.com",
            "private_key": key.decode(),
            "token_uri": f"{tokens.address}/token",
        }
    )


def a_user() -> str:
    return json.dumps(
        {
            "type": "authorized_user",
            "client_id": "c",
            "client_secret": "s",
            "refresh_token": "r",
        }
    )


@contextmanager
def resolved(**access: Any) -> Iterator[Credentials]:
    made = Credentials(GcsAccess(**access))
    try:
        made.resolve()
        yield made
    finally:
        made.close()


def test_a_token_that_is_given_is_used_as_it_is_and_google_auth_stays_out() -> None:
    program = (
        "import sys\n"
        "from tfguard.backends.gcs.credentials import Credentials\n"
        "from tfguard.backends.gcs.spec import GcsAccess\n"
        "made = Credentials(GcsAccess(access_token='t')); made.resolve()\n"
        "print(made.token(), made.expires_at(), any(name.startswith('google') for name in sys.modules))"
    )

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)

    assert shown.stdout.split() == ["t", "None", "False"], shown.stderr


def test_a_service_account_signs_for_a_token(tokens: Tokens) -> None:
    with resolved(credentials=service_account(tokens)) as made:
        assert (made.token(), made.expires_at() is not None) == ("token-1", True)

    assert tokens.asked[0]["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]


@pytest.mark.parametrize("where", ["attribute", "application default", "gcloud"])
def test_a_users_file_is_found_where_google_keeps_it(
    tokens: Tokens, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / ".config/gcloud/application_default_credentials.json" if where == "gcloud" else tmp_path / "key"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(a_user())
    if where == "application default":
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

    with resolved(credentials=str(path) if where == "attribute" else "") as made:
        assert made.token() == "token-1"

    assert tokens.asked[0]["refresh_token"] == ["r"]


def test_a_token_is_renewed_before_its_end_and_when_google_says_that_it_has_ended(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh, "RETRY_SECONDS", 0.01)
    tokens.life = 3600

    with resolved(credentials=a_user()) as made:
        made.renew_soon()
        eventually(lambda: made.token() == "token-2", 60, "another token")


def test_a_token_that_cannot_be_renewed_stays_as_it_is(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "RETRY_SECONDS", 0.01)

    with resolved(credentials=a_user()) as made:
        tokens.says = (503, b"{}")
        made.renew_soon()
        eventually(lambda: len(tokens.asked) >= 2, 60, "a question")
        assert made.token() == "token-1"


WRONG: dict[str, tuple[str, type[TfguardError], str]] = {
    "no JSON": ("{secret", StoreMisconfigured, "they are no JSON"),
    "another kind": ('{"type": "secret"}', StoreMisconfigured, "cannot be used"),
    "half a key": ('{"type": "service_account", "private_key": "secret"}', StoreMisconfigured, "cannot be used"),
    "no such file": ("/no/such/file", StoreMisconfigured, "cannot be read: No such file"),
}


@pytest.mark.parametrize(("text", "kind", "words"), WRONG.values(), ids=WRONG)
def test_credentials_that_are_none_are_said_without_their_text(text: str, kind: type[TfguardError], words: str) -> None:
    with pytest.raises(kind, match=words) as raised, resolved(credentials=text):
        pass

    assert len(str(raised.value).splitlines()) == 2
    assert "secret" not in str(raised.value) or text == '{"type": "secret"}'


REFUSED: dict[str, tuple[tuple[int, bytes], type[TfguardError]]] = {
    "refused": ((400, b'{"error": "invalid_grant", "error_description": "Token has been revoked."}'), StoreDenied),
    "broken": ((503, b'{"error": "internal_failure"}'), StoreUnavailable),
}


@pytest.mark.parametrize(("says", "kind"), REFUSED.values(), ids=REFUSED)
def test_who_gets_no_token_is_told_why(
    tokens: Tokens, says: tuple[int, bytes], kind: type[TfguardError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # google-auth's own retries
    tokens.says = says

    with pytest.raises(kind) as raised, resolved(credentials=a_user()):
        pass

    assert len(str(raised.value).splitlines()) <= 2
    assert type(raised.value) is kind


def test_who_has_not_installed_the_extra_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.auth", None)

    with pytest.raises(StoreMisconfigured, match=r"pip install 'tfguard\[gcs\]'"), resolved(credentials="{}"):
        pass


def test_the_environment_decides_which_credentials_are_shared() -> None:
    access = GcsAccess()

    assert access.key({"GOOGLE_APPLICATION_CREDENTIALS": "a"}) != access.key({"GOOGLE_APPLICATION_CREDENTIALS": "b"})
    assert access.key({"OTHER": "a"}) == access.key({"OTHER": "b"})
    assert os.environ["HOME"]


def test_a_service_account_is_impersonated_with_what_was_found(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> tuple[int, dict[str, str], bytes]:
        asked.append(request)
        token = {"accessToken": "theirs", "expireTime": "2100-01-01T00:00:00Z"}
        return 200, {"Content-Type": "application/json"}, json.dumps(token).encode()

    with replying(answer) as address:
        monkeypatch.setattr("google.auth.iam._IAM_ENDPOINT", f"{address}/{{}}:generateAccessToken")
        access = {"impersonate": "deploy@x", "delegates": ("between@x",)}
        with resolved(credentials=a_user(), **access) as made:
            token = made.token()

    assert token == "theirs"
    assert asked[0].path == "/deploy@x:generateAccessToken"
    assert asked[0].headers["Authorization"] == "Bearer token-1"
    assert json.loads(asked[0].body)["delegates"] == ["between@x"]
