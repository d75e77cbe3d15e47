"""
Workload identity federation: a job's own token becomes Google's. STS, IAM and GitHub's token server are fakes.

The files are those that google-github-actions/auth makes, and for GitLab `gcloud iam workload-identity-pools
create-cred-config`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from tests.conftest import Gcs
from tests.contract.kinds import GcsKind, lease, record
from tests.support.serving import Request, replying
from tfguard.backends import open_store
from tfguard.backends.gcs.credentials import Credentials
from tfguard.backends.gcs.spec import GcsAccess
from tfguard.errors import StoreDenied, StoreMisconfigured, StoreUnavailable, TfguardError

SUBJECT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyZXBvOmEvYiJ9.c2lnbmF0dXJl"
ASKING_TOKEN = "the-jobs-own-request-token"
IAM = "/v1/projects/-/serviceAccounts/terraform@p.iam.gserviceaccount.com:generateAccessToken"
AUDIENCE = "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/ci/providers/github"


@dataclass
class Federation:
    """The servers at one address; `says` is what a path answers instead of what is right."""

    address: str = ""
    says: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        path = request.path.partition("?")[0]
        self.asked.append(path)
        if path in self.says:
            status, body = self.says[path]
            form = parse_qs(request.body.decode())
            echo = f"{request.headers['Authorization']} {form.get('subject_token')}"
            return status, {}, body.replace(b"ECHO", echo.encode())
        authorized = request.headers["Authorization"]
        if path == "/github" and authorized == f"Bearer {ASKING_TOKEN}":
            return _json({"value": SUBJECT})
        form = parse_qs(request.body.decode())
        if path == "/v1/token" and (form["subject_token"], form["audience"]) == ([SUBJECT], [AUDIENCE]):
            return _json({"access_token": "federated", "expires_in": 3600, "token_type": "Bearer"})
        if path == IAM and authorized == "Bearer federated":
            return _json({"accessToken": "the-service-accounts", "expireTime": "2100-01-01T00:00:00Z"})
        return 404, {}, b"{}"


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


@pytest.fixture
def federation() -> Iterator[Federation]:
    made = Federation()
    with replying(made.answer) as address:
        made.address = address
        yield made


@pytest.fixture(autouse=True)
def as_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without what the extra does not bring, though a test brings it; and no credentials of this machine's own."""
    for name in ("requests", "google.auth.transport.requests"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("time.sleep", lambda _: None)  # google-auth's own retries


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, federation: Federation) -> Callable[..., None]:
    """Write the file that GOOGLE_APPLICATION_CREDENTIALS names; `by_url` as on GitHub, else as on GitLab."""

    def write(*, by_url: bool = True, is_impersonated: bool = True, **changes: Any) -> None:
        (tmp_path / "jwt").write_text(SUBJECT)
        by_github = {
            "url": f"{federation.address}/github?audience=x",
            "headers": {"Authorization": f"Bearer {ASKING_TOKEN}"},
            "format": {"type": "json", "subject_token_field_name": "value"},
        }
        info = {
            "type": "external_account",
            "audience": AUDIENCE,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{federation.address}/v1/token",
            "credential_source": by_github if by_url else {"file": str(tmp_path / "jwt")},
        }
        if is_impersonated:
            info["service_account_impersonation_url"] = f"{federation.address}{IAM}"
        (tmp_path / "gha-creds-0123.json").write_text(json.dumps({**info, **changes}))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "gha-creds-0123.json"))

    return write


@pytest.mark.parametrize("by_url", [True, False], ids=["GitHub", "a file"])
@pytest.mark.parametrize("is_impersonated", [True, False], ids=["as a service account", "as itself"])
def test_a_jobs_token_becomes_googles_and_nobody_else_is_asked(
    federation: Federation, use: Callable[..., None], by_url: bool, is_impersonated: bool
) -> None:
    use(by_url=by_url, is_impersonated=is_impersonated)

    with closing(Credentials(GcsAccess())) as made:
        made.resolve()

    assert made.token() == ("the-service-accounts" if is_impersonated else "federated")
    assert made.expires_at() is not None
    assert federation.asked == ["/github"] * by_url + ["/v1/token"] + [IAM] * is_impersonated


@pytest.mark.emulator
def test_a_store_reads_its_lock_with_it(gcs: Gcs, use: Callable[..., None]) -> None:
    use()
    with closing(GcsKind(gcs)) as kind:
        planted = kind.open().create(record(lease=lease(1)))
        spec = msgspec.structs.replace(kind.spec, gcs=GcsAccess(endpoint=gcs.endpoint))

        with closing(open_store(spec)) as store:
            found = store.read()
            assert found is not None and found.id == planted.id
            assert store.replace(found, msgspec.structs.replace(found, lease=lease(2))).lease == lease(2)


STS_SAYS = b'{"error": "invalid_grant", "error_description": "The audience in ID Token does not match."}'
IAM_SAYS = b'{"error": {"code": 403, "message": "Permission iam.serviceAccounts.getAccessToken denied", "status": "x"}}'
REFUSALS: dict[str, tuple[str, tuple[int, bytes], type[TfguardError], str]] = {
    "STS": ("/v1/token", (400, STS_SAYS), StoreDenied, "The audience in ID Token does not match"),
    "IAM": (IAM, (403, IAM_SAYS), StoreDenied, "iam.serviceAccounts.getAccessToken denied"),
    "GitHub": ("/github", (401, b"ECHO"), StoreDenied, "subject token"),
    "not Google": ("/v1/token", (403, b"<html>\nblocked: ECHO</html>"), StoreDenied, "the answer was 403"),
    "who repeats all": ("/v1/token", (400, b'{"error": "x", "error_description": "ECHO"}'), StoreDenied, "[redacted]"),
    "STS that is down": ("/v1/token", (503, b"<html>busy</html>"), StoreUnavailable, "503"),
    "STS that is asked too much": ("/v1/token", (429, b'{"error": "quota"}'), StoreUnavailable, "quota"),
    "IAM that is down": (IAM, (503, b"ECHO"), StoreUnavailable, "impersonated credentials: the answer was 503"),
    "GitHub that is down": ("/github", (500, b"ECHO"), StoreUnavailable, "subject token"),
    "STS without a token": ("/v1/token", (200, b"{}"), StoreUnavailable, "not Google's"),
    "STS with garbage": ("/v1/token", (200, b"garbage"), StoreUnavailable, "not Google's"),
}


@pytest.mark.parametrize(("path", "says", "kind", "words"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_two_lines_at_most_and_tells_no_secret(
    federation: Federation,
    use: Callable[..., None],
    path: str,
    says: tuple[int, bytes],
    kind: type[TfguardError],
    words: str,
) -> None:
    use()
    federation.says[path] = says

    with pytest.raises(TfguardError) as raised, closing(Credentials(GcsAccess())) as made:
        made.resolve()

    assert type(raised.value) is kind, raised.value
    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 2
    for secret in (SUBJECT, ASKING_TOKEN, "federated"):
        assert secret not in str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"credential_source": {"file": "/no/such/token"}},
        {"credential_source": {}},
        {"credential_source": None},
        {"token_url": None},
        {"audience": 7},
        {"service_account_impersonation_url": 7},
        {"credential_source": {"executable": {"command": "/bin/true"}}},
    ],
    ids=str,
)
def test_a_file_that_cannot_be_used_is_said_in_two_lines(use: Callable[..., None], changes: dict[str, Any]) -> None:
    use(**changes)

    with pytest.raises((StoreDenied, StoreMisconfigured)) as raised, closing(Credentials(GcsAccess())) as made:
        made.resolve()

    assert len(str(raised.value).splitlines()) == 2
