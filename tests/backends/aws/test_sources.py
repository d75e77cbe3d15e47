"""Keys from a source: programs, and what may come back from anybody."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tfguard.backends.aws import sources
from tfguard.backends.aws.credentials import Credentials
from tfguard.backends.aws.spec import AwsAccess
from tfguard.errors import StoreDenied, StoreUnavailable, TfguardError

SECRET = "hunter2hunter2"
GOOD = f'{{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "{SECRET}", "SessionToken": "T"'


def resolved(monkeypatch: pytest.MonkeyPatch, folder: Path, command: str) -> Credentials:
    (folder / "config").write_text(f"[profile p]\ncredential_process = {command}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    with closing(Credentials(AwsAccess(region="eu-west-1", profile="p"))) as credentials:
        credentials.client("dynamodb").close()
    return credentials


def printing(folder: Path, text: str) -> str:
    (folder / "said").write_text(text)
    return f"cat {folder / 'said'}"


def test_a_program_is_run_by_the_shell_with_our_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAID", GOOD)

    found = resolved(monkeypatch, tmp_path, "printf '%s}' \"$SAID\" | cat").get_frozen_credentials()

    assert (found.access_key, found.secret_key, found.token) == ("A", SECRET, "T")


def test_a_program_gets_the_whole_environment_and_nothing_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TF_VAR_x", "a\nb")

    resolved(monkeypatch, tmp_path, f"env -0 > {tmp_path / 'env'}; {printing(tmp_path, GOOD + '}')}")

    seen = dict(each.split("=", 1) for each in (tmp_path / "env").read_text().split("\0") if each)
    of_the_shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    given = {name: value for name, value in os.environ.items() if name not in of_the_shell}
    assert {name: value for name, value in seen.items() if name not in of_the_shell} == given


def test_a_programs_keys_end_when_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ends = (datetime.now(timezone.utc) + timedelta(hours=1)).replace(microsecond=0)

    found = resolved(monkeypatch, tmp_path, printing(tmp_path, f'{GOOD}, "Expiration": "{ends:%Y-%m-%dT%H:%M:%SZ}"}}'))

    assert found.expires_at() == ends


@pytest.mark.parametrize(
    "text",
    [
        "",
        SECRET,
        "[]",
        "null",
        '{"Version": 1}',
        GOOD.replace("1", "2", 1) + "}",
        GOOD.replace('"A"', '""') + "}",
        GOOD.replace('"A"', "7") + "}",
        GOOD + ', "Expiration": "2020-01-01T00:00:00Z"}',
        GOOD + ', "Expiration": "soon"}',
        GOOD + ', "Expiration": 5}',
        "[" * 100_000,
        "\xff\xfe",
    ],
)
def test_whatever_a_program_prints_is_judged_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    with pytest.raises(StoreDenied) as caught:
        resolved(monkeypatch, tmp_path, printing(tmp_path, text))

    assert len(str(caught.value).splitlines()) == 2
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(("command", "says"), [("exit 3", "status 3"), ("no-such-program-anywhere", "status 127")])
def test_a_program_that_fails_is_named_by_its_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, says: str
) -> None:
    with pytest.raises(StoreDenied, match=f"credential_process of profile p ended with {says} \\(profile\\)"):
        resolved(monkeypatch, tmp_path, command)


def test_a_program_that_waits_for_somebody_is_ended_with_all_that_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sources, "_PROCESS_SECONDS", 0.5)

    with pytest.raises(StoreUnavailable, match="took more than"):
        resolved(monkeypatch, tmp_path, f"sleep 600 & echo $! > {tmp_path / 'pid'}; wait")

    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: not os.path.exists(f"/proc/{pid}") or "Z" in state(pid), what="its end")


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.parametrize("name", ["token", "fifo", "/dev/zero", "."])
def test_a_token_that_is_no_small_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", name)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")

    with closing(Credentials(AwsAccess(region="eu-west-1"))) as credentials, pytest.raises(TfguardError) as caught:
        credentials.client("dynamodb")

    assert "token" in str(caught.value) or "not a file" in str(caught.value)
