"""Credentials of Google whose token a program prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backends.gcs.test_credentials import Tokens, homeless, tokens
from tfguard import programs
from tfguard.backends.gcs.credentials import Credentials
from tfguard.backends.gcs.spec import GcsAccess
from tfguard.errors import StoreDenied, StoreMisconfigured

__all__ = ["homeless", "tokens"]

KIND = "urn:ietf:params:oauth:token-type:jwt"
GOOD = {"version": 1, "success": True, "token_type": KIND, "id_token": "printed", "expiration_time": 4102444800}
Write = Callable[..., Path]


@pytest.fixture
def written(tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a program and the credentials that name it."""
    monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)

    def write(script: str, folder: Path = tmp_path) -> Path:
        program = folder / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        info = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
            "subject_token_type": KIND,
            "token_url": f"{tokens.address}/token",
            "credential_source": {"executable": {"command": f"{program} a", "timeout_millis": 5000}},
        }
        file = folder / "credentials.json"
        file.write_text(json.dumps(info))
        return file

    return write


def resolved(given: str) -> str:
    made = Credentials(GcsAccess(credentials=given))
    try:
        made.resolve()
        return made.token()
    finally:
        made.close()


def test_a_program_gives_what_is_exchanged_and_whom_it_leaves_behind_delays_nothing(
    written: Write, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_LAST_SECONDS", 0.1)
    file = written(f"sleep 30 &\necho '{json.dumps(GOOD)}'")

    assert resolved(str(file)) == "token-1"
    assert tokens.asked[0]["subject_token"] == ["printed"]


def test_a_jobs_own_token_in_a_file_is_exchanged_and_nothing_else_is_asked(
    written: Write, tokens: Tokens, tmp_path: Path
) -> None:
    """Not for the project's ID, which google-auth by itself asks Google for, past proxies and before anything else."""
    (tmp_path / "token").write_text("of the job")
    file = written("")
    info = json.loads(file.read_text())
    file.write_text(json.dumps({**info, "credential_source": {"file": str(tmp_path / "token")}}))

    assert resolved(str(file)) == "token-1"
    assert [each["subject_token"] for each in tokens.asked] == [["of the job"]]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo geheim; echo 'no session' >&2; exit 3", "the program program ended with status 3: no session"),
        ("echo geheim", "the program program printed no JSON"),
        ("exec yes geheim", "the program program gave none: it prints too much"),
    ],
)
def test_a_program_that_gives_none_is_said_without_its_words(written: Write, script: str, says: str) -> None:
    with pytest.raises(StoreDenied, match=says) as raised:
        resolved(str(written(script)))

    assert "geheim" not in str(raised.value)


def test_a_checkouts_program_is_not_run(written: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    file = written(f"touch {tmp_path}/ran; echo '{json.dumps(GOOD)}'")

    for given in (str(file), file.read_text()):
        with pytest.raises(StoreMisconfigured, match="part of this checkout"):
            resolved(given)
    assert not (tmp_path / "ran").exists()
    monkeypatch.setenv("GOOGLE_CREDENTIALS", str(file))
    assert resolved(str(file)) == "token-1"
    assert (tmp_path / "ran").exists()
