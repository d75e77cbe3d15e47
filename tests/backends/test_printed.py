"""Programs that print credentials: all four backends run them alike, whatever those programs do."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.eventually import eventually, patience
from tfguard import programs
from tfguard.backends.aws import sources
from tfguard.backends.aws.credentials import Credentials
from tfguard.backends.aws.spec import AwsAccess
from tfguard.backends.azurerm import entra
from tfguard.backends.azurerm.spec import AzureAccess
from tfguard.backends.hcp import tokens
from tfguard.backends.kubernetes import credentials as kubernetes
from tfguard.backends.kubernetes.kubeconfig import Exec
from tfguard.errors import StoreDenied, StoreUnavailable, TfguardError

SECRET = "hunter2HUNTER2hunter2"
VERSION = "client.authentication.k8s.io/v1"
#: Longer than any test here has patience, and not for ever: one may be left behind where the machine is slow.
LONG = f"sleep {patience(30):.0f}"


class Caller(NamedTuple):
    """One place that runs a program: how it is told of it, where its deadline stands, and a good answer."""

    ask: Callable[[pytest.MonkeyPatch, Path], Any]
    deadline: tuple[Any, str]
    answer: dict[str, Any]


def of_aws(monkeypatch: pytest.MonkeyPatch, program: Path) -> str:
    config = program.with_name("config")
    config.write_text(f"[profile p]\ncredential_process = exec {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    with closing(Credentials(AwsAccess(region="eu-west-1", profile="p"))) as credentials:
        credentials.client("dynamodb").close()
        return credentials.get_frozen_credentials().secret_key


def of_kubernetes(_: pytest.MonkeyPatch, program: Path) -> str:
    with closing(kubernetes.from_program(Exec(str(program), VERSION), "/", dict(os.environ))) as made:
        made.resolve()
        return made.header().removeprefix("Bearer ")


def of_azure(_: pytest.MonkeyPatch, program: Path) -> str:
    program.rename(program.with_name("az"))
    environ = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    access = AzureAccess(account="a", use_cli=True)
    return entra.Entra(access, environ).token("https://storage.azure.com")[0]


def of_hcp(_: pytest.MonkeyPatch, program: Path) -> str:
    plugins = program.parent / ".terraform.d" / "plugins"
    plugins.mkdir(parents=True)
    program.rename(plugins / "terraform-credentials-x")
    (program.parent / ".terraformrc").write_text('credentials_helper "x" {\n}\n')
    return tokens.find_token("example.com", "", {**os.environ, "HOME": str(program.parent)}).text


CALLERS = {
    "aws": Caller(of_aws, (sources, "_PROCESS_SECONDS"), {"Version": 1, "AccessKeyId": "A", "SecretAccessKey": SECRET}),
    "kubernetes": Caller(
        of_kubernetes,
        (kubernetes, "_PROGRAM_SECONDS"),
        {"kind": "ExecCredential", "apiVersion": VERSION, "status": {"token": SECRET}},
    ),
    "azurerm": Caller(of_azure, (entra, "_CLI_SECONDS"), {"accessToken": SECRET, "expires_on": 4102444800}),
    "hcp": Caller(of_hcp, (tokens, "_HELPER_SECONDS"), {"token": SECRET}),
}


@pytest.fixture(params=CALLERS.values(), ids=CALLERS)
def caller(request: pytest.FixtureRequest) -> Caller:
    found: Caller = request.param
    return found


def written(folder: Path, script: str, caller: Caller) -> Path:
    """Write a program; `$ANSWER` in it is a good answer's file, `$PID` a file for the number of who is left behind."""
    (folder / "answer").write_text(json.dumps(caller.answer))
    program = folder / "program"
    names = f"ANSWER={folder}/answer\nPID={folder}/pid\n"
    program.write_text(f"#!/bin/sh\n{names}{script}\n")
    program.chmod(0o755)
    return program


def within_patience(ask: Callable[[], Any]) -> Any:
    """Give what is given or raised, but fail where that takes as long as what has been left behind lives."""
    told: list[Any] = []

    def run() -> None:
        try:
            told.append(ask())
        except TfguardError as error:
            told.append(error)

    asking = threading.Thread(target=run, daemon=True)
    asking.start()
    asking.join(patience(10))
    assert told, "it still waits"
    return told[0]


def left_behind(folder: Path) -> int | None:
    """Who is left of a program; None if that was killed before it came so far: nobody waits for slow machines."""
    with suppress(OSError, ValueError):
        return int((folder / "pid").read_text())
    return None


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_a_deadline_is_kept_whoever_holds_the_output_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caller: Caller
) -> None:
    program = written(tmp_path, f"{LONG} &\necho $! > $PID\nwait", caller)
    monkeypatch.setattr(*caller.deadline, 0.5)

    told = within_patience(lambda: caller.ask(monkeypatch, program))

    assert isinstance(told, TfguardError)
    if (pid := left_behind(tmp_path)) is not None:
        eventually(lambda: is_gone(pid), what="the end of what it had started")


def test_a_deadline_is_kept_even_by_whoever_has_left_the_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caller: Caller
) -> None:
    program = written(tmp_path, f"setsid sh -c 'echo $$ > '$PID'; exec {LONG}' &\n{LONG}", caller)
    monkeypatch.setattr(*caller.deadline, 0.5)

    told = within_patience(lambda: caller.ask(monkeypatch, program))

    assert isinstance(told, TfguardError)
    if (pid := left_behind(tmp_path)) is not None:
        os.kill(pid, 9)


def test_an_agent_that_a_program_leaves_behind_neither_delays_its_answer_nor_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caller: Caller
) -> None:
    program = written(tmp_path, f"{LONG} &\necho $! > $PID\ncat $ANSWER", caller)
    monkeypatch.setattr(programs, "_LAST_SECONDS", 0.1)

    told = within_patience(lambda: caller.ask(monkeypatch, program))

    assert told == SECRET
    pid = left_behind(tmp_path)
    assert pid is not None
    assert not is_gone(pid)
    os.kill(pid, 9)


@pytest.mark.parametrize(
    "script",
    {
        "without end": "exec yes",
        "a lot": "head -c 9000000 /dev/zero",
        "no UTF-8": 'printf \'{"token": "\\377\\376"}\'',
        "nested": "head -c 200000 /dev/zero | tr '\\0' '['",
        "killed": "cat $ANSWER; kill -9 $$",
        "nothing": "",
    }.items(),
    ids=lambda row: row[0],
)
def test_what_is_no_answer_is_said_in_lines_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caller: Caller, script: tuple[str, str]
) -> None:
    told = within_patience(lambda: caller.ask(monkeypatch, written(tmp_path, script[1], caller)))

    assert isinstance(told, (StoreDenied, StoreUnavailable))
    assert len(str(told).splitlines()) <= 3
    assert SECRET not in str(told)


def test_a_program_has_no_input_and_no_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caller: Caller
) -> None:
    """Who is asked for a password here would wait for somebody who is not there."""
    script = 'read line && exit 7\n(: < /dev/tty) 2> /dev/null && exit 8\nhead -c 9000000 /dev/zero >&2\ncat "$ANSWER"'

    told = within_patience(lambda: caller.ask(monkeypatch, written(tmp_path, script, caller)))

    assert told == SECRET


def test_a_programs_own_words_are_told_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caller: Caller
) -> None:
    script = (
        f'cat "$ANSWER"\nprintf "first\\nno session for {SECRET}, token=geheim: \\033[31msign in\\n\\n" >&2\nexit 3'
    )

    told = within_patience(lambda: caller.ask(monkeypatch, written(tmp_path, script, caller)))

    assert isinstance(told, StoreDenied)
    assert "status 3" in str(told)
    assert "no session for [redacted]" in str(told)
    assert not [word for word in (SECRET, "geheim", "\033", "first") if word in str(told)]
