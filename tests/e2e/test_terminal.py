"""On a terminal: Ctrl-C once, twice, Ctrl-Z for longer than a lease, prompts; and what Terraform is told of it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

import pexpect
import psutil
import pytest

from tests.e2e.conftest import GATED, SHORT_LEASE, TFGUARD, Stage
from tests.e2e.terminals import close_all
from tests.support.eventually import eventually, patience

pytestmark = pytest.mark.e2e

APPLY = ["apply", "-auto-approve", "-no-color"]

#: Work that Ctrl-C does not end, only Terraform does. On a busy machine Terraform by itself (seen in six of sixty plain
#: runs) leaves a resource out of its state whose program the terminal's SIGINT has ended at the very same time.
DEAF_TO_SIGINT = GATED.replace("echo begin", "trap '' INT; echo begin")


@pytest.fixture
def terminal(stage: Callable[..., Stage]) -> Iterator[Callable[..., tuple[Stage, pexpect.spawn]]]:
    """Run tfguard in an interactive shell with job control, as a person does."""
    opened: list[pexpect.spawn] = []

    def make(backend: str = "dynamodb", *words: str, script: str = "", **environ: str) -> tuple[Stage, pexpect.spawn]:
        made = stage(backend, text=DEAF_TO_SIGINT)
        (made.path / "noting.sh").write_text(script)
        shell = pexpect.spawn(
            "bash",
            ["--norc", "--noprofile", "-i"],
            cwd=str(made.path),
            env={**made.environ, "PS1": "READY> ", "TERM": "dumb", **environ},  # type: ignore[arg-type]
            encoding="utf-8",
            timeout=patience(20),
            dimensions=(40, 200),
        )
        opened.append(shell)
        shell.expect("READY> ")
        shell.sendline(" ".join([*TFGUARD, *(words or APPLY)]))
        return made, shell

    yield make
    close_all(opened)


def status(shell: pexpect.spawn) -> str:
    shell.expect("READY> ")
    printed = str(shell.before)
    shell.sendline("echo status=$?")
    shell.expect(r"status=(\d+)")
    return str(shell.match.group(1)) + "\n" + printed


def test_one_ctrl_c_stops_terraform_cleanly(terminal) -> None:
    made, shell = terminal()
    made.wait_for_log("begin")

    shell.sendintr()
    code, _, printed = status(shell).partition("\n")

    assert code == "130"
    assert printed.count("Interrupt received") == 1
    assert "Two interrupts" not in printed
    assert "the lock is kept until it has" in printed
    assert made.resources() == ["terraform_data.work"], printed
    assert made.locks() == []


@pytest.mark.parametrize("times", [2, 3])
def test_a_second_ctrl_c_is_terraforms_own_abort_and_the_lock_comes_free(terminal, times: int) -> None:
    made, shell = terminal()
    made.wait_for_log("begin")
    terraform = eventually(lambda: _terraform(shell), 10, "Terraform")
    terraform.suspend()  # So that both come while it is stopping.

    shell.sendintr()
    shell.expect("Ctrl-C again")
    shell.sendintr()
    shell.expect("second interrupt")
    for _ in range(times - 2):
        shell.sendintr()
        shell.expect("still waiting")
    terraform.resume()
    code, _, _ = status(shell).partition("\n")

    assert code == "130"
    assert made.locks() == []


#: Notes each signal that asks it to stop, and stops when its gate opens.
NOTING = """
trap 'echo signalled >> log' INT TERM
echo begin >> log
until test -e gate; do sleep 0.05; done
exit 3
"""


def _is_sentinel_in_the_job(shell: pexpect.spawn) -> bool:
    """Some tenths of a second after the program, on a busy machine."""
    front = psutil.Process(shell.pid).children()[0]
    ours = []
    for each in front.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # A `sleep` of the program's, gone by now.
            ours += [each.pid] if any("sentinel" in word for word in each.cmdline()) else []
    return [os.getpgid(pid) for pid in ours] == [os.getpgid(front.pid)]


@pytest.mark.parametrize(("how", "expected"), [("kill %1", "143"), ("kill -INT %1", "130")])
def test_a_signal_of_the_shell_to_the_whole_job_is_the_programs_one(terminal, how: str, expected: str) -> None:
    """The program is in that group, and prints to the terminal, unseen by us."""
    made, shell = terminal("local", "exec", "--", "sh", "noting.sh", script=NOTING)
    made.wait_for_log("begin")
    eventually(lambda: _is_sentinel_in_the_job(shell), 10, "the sentinel")

    shell.sendcontrol("z")
    shell.expect("Stopped")
    shell.sendline(f"{how}; fg")
    made.wait_for_log("signalled")
    time.sleep(2.5)  # Ours would come within a second.
    made.open_gate()
    code, _, printed = status(shell).partition("\n")

    assert made.log_lines().count("signalled") == 1, printed
    assert code == expected
    assert made.leftovers() == []


def test_ctrl_z_for_longer_than_a_lease_keeps_the_lock(terminal) -> None:
    made, shell = terminal("dynamodb", TFGUARD_LOCK_LEASE=SHORT_LEASE)
    made.wait_for_log("begin")
    terraform = eventually(lambda: _terraform(shell), 10, "Terraform")

    shell.sendcontrol("z")
    shell.expect("Stopped")
    eventually(lambda: terraform.status() == psutil.STATUS_STOPPED, 10, "Terraform's stop")
    began = time.monotonic()
    rivals = []
    while time.monotonic() - began < 12:
        rivals.append(made.tfguard("--lock-timeout=1s", "plan").code)
    shell.sendline("fg")
    eventually(lambda: terraform.status() != psutil.STATUS_STOPPED, 10, "Terraform's going on")
    shell.sendintr()
    shell.expect("Interrupt received")
    shell.expect("READY> ")

    assert set(rivals) == {75}
    assert made.resources() == ["terraform_data.work"]
    assert made.locks() == []


def test_a_closed_terminal_stops_terraform_once(terminal) -> None:
    made, shell = terminal()
    made.wait_for_log("begin")
    terraform = eventually(lambda: _terraform(shell), 10, "Terraform")

    shell.close(force=False)
    eventually(lambda: not terraform.is_running(), 30, "Terraform's end")

    eventually(lambda: made.locks() == [], 15, "the lock's release")
    assert made.resources() == ["terraform_data.work"]


def test_terraforms_prompt_reaches_the_person_and_the_answer_reaches_terraform(terminal) -> None:
    made, shell = terminal("local", "apply", "-no-color")
    made.open_gate()

    shell.expect("Enter a value: ")
    shell.sendline("yes")
    shell.expect("Apply complete")
    code, _, _ = status(shell).partition("\n")

    assert code == "0"


def _terraform(shell: pexpect.spawn) -> psutil.Process | None:
    children = psutil.Process(shell.pid).children(recursive=True)
    return next((each for each in children if each.name() == "terraform"), None)
