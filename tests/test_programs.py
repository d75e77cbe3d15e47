"""Programs of our own: their end, and what is shown of their words. Those that print credentials: tests/backends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.eventually import eventually, patience
from tfguard import git, programs, redaction
from tfguard.clock import SystemClock
from tfguard.terraform import binary
from tfguard.terraform.binary import Binary, binary_version

#: Longer than any test here has patience.
LONG = f"sleep {patience(30):.0f}"
#: It has ended with its parent still waiting for whoever holds its output open.
STUCK = f"#!/bin/sh\n{LONG} &\nwait\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def asked(script: str, seconds: float = 600.0, **more: Any) -> programs.Said:
    return programs.ask(["/bin/sh", "-c", script], os.environ, seconds, **more)


def in_time(call: Callable[[], Any]) -> Any:
    found: list[Any] = []
    calling = threading.Thread(target=lambda: found.append(call()), daemon=True)
    calling.start()
    calling.join(patience(10))
    assert found, "it still waits"
    return found[0]


def test_git_and_a_version_manager_do_not_outlast_their_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "git", STUCK)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(git, "_SHORT_SECONDS", 0.5)
    monkeypatch.setattr(binary, "_VERSION_TIMEOUT_SECONDS", 0.5)
    shim = Binary(written(tmp_path / "terraform", STUCK), "terraform")

    assert in_time(lambda: git.is_tracked(str(tmp_path), "x")) is False
    assert in_time(lambda: binary_version(shim, os.environ, tmp_path / "cache")) == ""


@pytest.mark.parametrize(
    ("script", "ending", "words"),
    [
        ("exit 0", "ended with status 0", ""),
        ("echo a >&2; echo b >&2; echo >&2; exit 3", "ended with status 3", "b"),
        ("printf '\\377 \\033[1mbold' >&2; kill -9 $$", "was ended by SIGKILL", "\ufffd \ufffd[1mbold"),
        ("kill -40 $$", "was ended by signal 40", ""),
        ("echo 'ERROR: cause' >&2; echo more >&2; exit 1", "ended with status 1", "cause"),
    ],
)
def test_how_it_ended_is_said_with_the_last_that_it_complained_of(script: str, ending: str, words: str) -> None:
    said = asked(script)

    assert said.ending() == ending
    assert said.last_words("ERROR: ") == words


@pytest.mark.parametrize(
    "secret",
    [
        "registered one",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "0123456789abcdef0123456789abcdef01234567",
        "printed-as-an-answer",
    ],
)
def test_no_secret_is_among_its_last_words(secret: str) -> None:
    redaction.register_secrets(["registered one"])

    said = asked(f"echo '{{\"token\":\"printed-as-an-answer\"}}'; echo 'no access with {secret} at host-1' >&2; exit 1")

    assert said.last_words() == "no access with [redacted] at host-1"
    assert secret not in repr(said)


def test_an_answer_that_came_in_time_is_read_however_late_we_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine was suspended meanwhile, say."""
    monkeypatch.setattr(programs, "SystemClock", Suspended)

    said = asked("head -c 60000 /dev/zero", 600.0)

    assert len(said.output) == 60000


class Suspended(SystemClock):
    """A clock that leaps by more than any deadline, once who is asked has ended, whenever it is looked at."""

    _leaps = 0

    def boottime(self) -> float:
        eventually(lambda: all(map(has_ended, set(programs._running))))
        self._leaps += 1
        return super().boottime() + 1000.0 * self._leaps


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def test_what_is_written_a_little_after_its_end_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a shell's `> >(…)`, say."""
    monkeypatch.setattr(programs, "_LAST_SECONDS", patience(10))

    said = asked("(sleep 0.2; echo late) & echo first")

    assert said.output == b"first\nlate\n"


def test_what_cannot_be_started_is_an_error_of_the_systems(tmp_path: Path) -> None:
    for argv, environ in (([tmp_path], {}), (["/bin/sh", "\0"], {}), (["/bin/true"], {"A": "\0"}), (["/none"], {})):
        with pytest.raises(OSError, match="Errno"):
            programs.ask(argv, environ, 1.0)
    with pytest.raises(programs.PrintedTooMuch):
        asked("exec yes", max_bytes=1000)


def test_nobody_else_reaps_who_is_asked_and_whom_it_leaves_behind_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_mark", {})
    programs.mark({"TFGUARD_NEST": "of nobody"})
    begins = f"echo $$ > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/pid"
    script = f"{begins}; until test -e {tmp_path}/gate; do sleep 0.02; done"
    found: list[programs.Said] = []
    asking = threading.Thread(target=lambda: found.append(asked(f"{script}; echo $TFGUARD_NEST")))

    asking.start()
    pid = int(eventually((tmp_path / "pid").read_text))
    is_asked = programs.is_asked(pid)
    (tmp_path / "gate").touch()
    asking.join()

    assert (is_asked, programs.is_asked(pid), programs.is_asked(1)) == (True, False, False)
    assert found[0].output == b"of nobody\n"
