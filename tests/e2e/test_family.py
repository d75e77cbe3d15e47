"""`exec` keeps its lock until all that its program has started is gone; runs inside it take turns."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import GATED, TFGUARD, Backend, Stage
from tests.e2e.running import Running, running
from tests.support.eventually import eventually
from tfguard.process.relatives import is_within, nest_of

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
NESTED = " ".join(TFGUARD)
STILL = 'resource "terraform_data" "a" {\n  input = "x"\n}\n'
STARTS_DAEMON = """
resource "terraform_data" "a" {
  provisioner "local-exec" {
    command = "setsid ./work >&- 2>&- &"
  }
}
"""
#: What may write: between begin and end it waits for `Stage.open_gate`, and no SIGINT hurries it. Asked to, it kills
#: its parent first.
WORK = """#!/bin/sh
trap '' INT
test -z "$1" || kill -9 $PPID
echo begin $$ >> log
until test -e gate; do sleep 0.05; done
echo end $$ >> log
"""
APPLY = "apply -auto-approve -input=false -no-color"

#: Prints keys, and leaves somebody behind who holds its output open.
AGENT = """#!/bin/sh
sleep 600 &
echo $! >> "$(dirname "$0")/agents"
echo '{{"Version": 1, "AccessKeyId": "{}", "SecretAccessKey": "{}"}}'
"""

#: How a program leaves somebody behind who writes, and its own exit status.
LEFT_BEHIND = {
    "a-command-in-the-background": ("./work & exit 3", 3),
    "a-shell-that-is-killed": ("./work kill; :", 137),
    "a-double-fork": ("(setsid ./work &) ; exit 0", 0),
    "a-daemon-with-an-environment-of-its-own": ("(env -i PATH=$PATH setsid ./work &) ; exit 0", 0),
}


def worker(made: Stage) -> Stage:
    path = made.path / "work"
    path.write_text(WORK)
    path.chmod(0o755)
    return made


def wrapper(made: Stage) -> Path:
    """A program that starts Terraform, and dies of a SIGINT at once, without passing it on."""
    path = made.path.parent / "wrapped-terraform"
    lines = (
        f"#!{sys.executable} -IS",
        "import signal, subprocess, sys",
        "signal.signal(signal.SIGINT, signal.SIG_DFL)",
        "sys.exit(subprocess.call(['terraform', *sys.argv[1:]]))",
    )
    path.write_text("\n".join(lines))
    path.chmod(0o755)
    return path


def in_exec(script: str, *options: str) -> tuple[str, ...]:
    return ("exec", *options, "--", "sh", "-c", script)


def living_in(folder: Path) -> list[str]:
    """Who works in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {process.name()}")
        except psutil.Error:
            pass
    return found


def finish(made: Stage, ours: Running) -> None:
    """The program has gone, and somebody of its family writes: the lock is held until that has ended."""
    ours.wait_for("runs on")
    assert made.locks(), "the lock is still held"
    assert ours.process.poll() is None
    made.open_gate()


@pytest.mark.parametrize("case", LEFT_BEHIND)
def test_exec_holds_its_lock_until_nobody_is_left_who_may_write(stage: Make, case: str) -> None:
    made = worker(stage("local", text=STILL))
    script, code = LEFT_BEHIND[case]

    with running(made.start_tfguard(*in_exec(script))) as ours:
        made.wait_for_log("begin")
        finish(made, ours)
        result = ours.end()

    assert result.code == code, str(result)
    assert made.log_lines() == ["begin", "end"]
    assert made.leftovers() == []
    eventually(lambda: not living_in(made.path), what="the keeper's own end")


def test_with_consent_a_daemon_may_stay_behind(stage: Make) -> None:
    made = worker(stage("local", text=STILL))

    with running(made.start_tfguard(*in_exec("(setsid ./work >&- 2>&- &); exit 0", "--detach-ok"))) as ours:
        result = ours.end()
    made.wait_for_log("begin")

    assert result.code == 0, str(result)
    assert "runs on" not in result.err
    assert made.log_lines() == ["begin"]
    assert made.leftovers() == []


def test_a_daemon_that_terraform_has_started_does_not_delay_the_release(stage: Make) -> None:
    made = worker(stage("local", text=STARTS_DAEMON))

    with running(made.start_tfguard(*APPLY.split())) as ours:
        result = ours.end()
    made.wait_for_log("begin")

    assert result.code == 0, str(result)
    assert made.log_lines() == ["begin"]
    assert made.leftovers() == []


def stop(made: Stage, ours: Running) -> None:
    made.wait_for_log("begin")
    ours.process.send_signal(signal.SIGINT)


def test_a_wrapper_that_dies_of_the_interrupt_leaves_no_terraform_without_a_lock(stage: Make) -> None:
    made = stage("local", text=GATED)

    with running(made.start_tfguard("exec", "--", str(wrapper(made)), *APPLY.split(), "-lock=false")) as ours:
        stop(made, ours)
        finish(made, ours)
        result = ours.end()

    assert result.code == -signal.SIGINT, str(result)
    assert made.log_lines() == ["begin", "end"]
    assert made.resources() == ["terraform_data.work"]
    assert made.leftovers() == []
    eventually(lambda: not living_in(made.path), what="the keeper's own end")


def test_nor_does_a_wrapper_that_stands_for_terraform(stage: Make) -> None:
    made = stage("local", text=GATED)

    with running(made.start_tfguard(*APPLY.split(), TFGUARD_TERRAFORM=str(wrapper(made)))) as ours:
        stop(made, ours)
        finish(made, ours)
        result = ours.end()

    assert result.code == -signal.SIGINT, str(result)
    assert made.log_lines() == ["begin", "end"]
    assert made.resources() == ["terraform_data.work"]
    assert made.leftovers() == []
    eventually(lambda: not living_in(made.path), what="the keeper's own end")


def test_a_tfguard_inside_whose_shell_is_killed_ends_under_the_lock(stage: Make) -> None:
    made = worker(stage("local", text=STILL))

    with running(made.start_tfguard(*in_exec(f"echo $$ > shell; {NESTED} exec -- ./work; :"))) as ours:
        made.wait_for_log("begin")
        os.kill(int((made.path / "shell").read_text()), signal.SIGKILL)
        finish(made, ours)
        result = ours.end()

    assert result.code == 137, str(result)
    assert made.log_lines() == ["begin", "end"]
    assert made.leftovers() == []
    eventually(lambda: not living_in(made.path), what="the keeper's own end")


def test_a_successor_of_the_keeper_knows_the_family(stage: Make) -> None:
    made = worker(stage("local", text=STILL))

    with running(made.start_tfguard(*in_exec("(setsid ./work &) ; exit 5"))) as ours:
        made.wait_for_log("begin")
        ours.wait_for("runs on")
        keeper_of(ours).kill()
        ours.wait_for("another takes its place")
        finish(made, ours)
        result = ours.end()

    assert result.code == 5, str(result)
    assert made.log_lines() == ["begin", "end"]
    assert made.leftovers() == []
    eventually(lambda: not living_in(made.path), what="the keeper's own end")


def test_a_family_that_does_not_end_is_killed_in_time(stage: Make) -> None:
    made = worker(stage("local", text=STILL))
    with running(made.start_tfguard(*in_exec("./work & exit 0"), TFGUARD_TEST_ORPHAN_TIMEOUT="1")) as ours:
        made.wait_for_log("begin")
        ours.wait_for("runs on")
        ours.process.send_signal(signal.SIGTERM)
        result = ours.end()

    assert result.code == 0, str(result)
    assert "killed" in result.err
    assert made.log_lines() == ["begin"]
    assert made.leftovers() == []
    eventually(lambda: not living_in(made.path), what="the keeper's own end")


def test_whom_a_credentials_program_leaves_behind_is_none_of_the_family(stage: Make) -> None:
    """An agent, say. One that is started while the program runs would be waited for, if it were."""
    made = stage("dynamodb", text=STILL)
    keys = {name: made.environ.pop(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")}
    home = made.path.parent / "home"
    home.mkdir()
    program = home / "print-keys"
    program.write_text(AGENT.format(*keys.values()))
    program.chmod(0o755)
    (home / "config").write_text(f"[default]\ncredential_process = {program}\n")

    result = made.tfguard(*in_exec("echo nest $TFGUARD_NEST"), AWS_CONFIG_FILE=str(home / "config"))

    agents = [int(pid) for pid in (home / "agents").read_text().split()]
    nests = [nest_of(pid) for pid in agents]
    for pid in agents:
        os.kill(pid, signal.SIGKILL)
    assert result.code == 0, str(result)
    assert nests and all(nests)
    assert not any(is_within(result.out.split()[1], nest) for nest in nests if nest)


def test_orphans_are_reaped(stage: Make) -> None:
    made = stage("local", text=STILL)
    script = "for i in $(seq 60); do (true &); done; echo forked; until test -e gate; do sleep 0.05; done"

    with running(made.start_tfguard(*in_exec(script))) as ours:
        ours.wait_for("forked")
        family = psutil.Process(ours.pid)
        eventually(lambda: not zombies_of(family), what="no zombies")
        made.open_gate()
        result = ours.end()

    assert result.code == 0, str(result)


def zombies_of(process: psutil.Process) -> list[int]:
    return [each.pid for each in process.children(recursive=True) if is_zombie(each)]


def is_zombie(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.status() == psutil.STATUS_ZOMBIE
    return False


def keeper_of(ours: Running) -> psutil.Process:
    return next(each for each in keepers_within(ours))


# --- runs inside it -------------------------------------------------------------------------------------------------


def two(first: str, second: str) -> tuple[str, ...]:
    """Two tfguards at once inside one exec: each has its output in a file, and its status at the end of that."""
    runs = [f"({NESTED} {words}; echo status $?) > {name} 2>&1 &" for name, words in (("1st", first), ("2nd", second))]
    return in_exec(f"{runs[0]} until test -e log; do sleep 0.05; done; {runs[1]} wait")


def said(made: Stage, name: str) -> str:
    path = made.path / name
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("backend", ["local", "dynamodb"])
def test_two_tfguards_at_once_inside_an_exec_take_turns(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=GATED)

    with running(made.start_tfguard(*two(APPLY, APPLY))) as ours:
        eventually(lambda: "for our turn" in said(made, "2nd"), 60, "the second waits")
        before = made.log_lines()
        made.open_gate()
        result = ours.end()

    assert result.code == 0, str(result)
    assert "apply (PID " in said(made, "2nd")
    assert (before, made.log_lines()) == (["begin"], ["begin", "end", "begin", "end"])
    assert [said(made, name).split()[-1] for name in ("1st", "2nd")] == ["0", "0"]
    assert made.leftovers() == []
    assert list(made.path.parent.glob(".cache/tfguard/nests/*")) == []


def test_who_waits_for_its_turn_gives_up_as_any_waiter_does(stage: Make) -> None:
    made = stage("local", text=GATED)

    with running(made.start_tfguard(*two(APPLY, "--lock-timeout=0s plan"))) as ours:
        eventually(lambda: "status" in said(made, "2nd"), 60, "the second gives up")
        made.open_gate()
        result = ours.end()

    assert result.code == 0, str(result)
    assert said(made, "2nd").split()[-1] == "75"
    assert "did not wait" in said(made, "2nd")


def test_a_signal_ends_the_wait_for_ones_turn(stage: Make) -> None:
    made = stage("local", text=GATED)

    with running(made.start_tfguard(*two(APPLY, "plan"))) as ours:
        eventually(lambda: "for our turn" in said(made, "2nd"), 60, "the second waits")
        next(each for each in within(ours) if words_of(each)[-2:] == ["tfguard", "plan"]).terminate()
        eventually(lambda: "status" in said(made, "2nd"), 60, "the second has ended")
        made.open_gate()
        result = ours.end()

    assert result.code == 0, str(result)
    assert said(made, "2nd").split()[-1] == "143"


def test_a_run_inside_a_run_inside_does_not_wait_for_those_around_it(stage: Make) -> None:
    made = stage("local", text=STILL)

    result = made.tfguard(*in_exec(f"{NESTED} --lock-timeout=0s exec -- sh -c '{NESTED} --lock-timeout=0s {APPLY}'"))

    assert result.code == 0, str(result)
    assert made.resources() == ["terraform_data.a"]
    assert made.leftovers() == []


def test_a_dead_keeper_does_not_let_the_next_one_in(stage: Make) -> None:
    made = worker(stage("local", text=STILL))

    with running(made.start_tfguard(*two("exec -- ./work", "exec -- ./work"))) as ours:
        eventually(lambda: "for our turn" in said(made, "2nd"), 60, "the second waits")
        worked = next(each for each in within(ours) if words_of(each)[-2:] == ["/bin/sh", "./work"])
        keeper = worked.parent()
        worked.suspend()  # So that it does not end of the SIGINT that it gets now.
        keeper.kill()
        eventually(lambda: "takes its place" in said(made, "1st"), 60, "a successor")
        eventually(lambda: len(keepers_within(ours)) == 3, 60, "the successor is there")
        before = made.log_lines()
        worked.kill()
        made.wait_for_log("begin", 2)
        made.open_gate()
        result = ours.end()

    assert result.code == 0, str(result)
    assert (before, made.log_lines()) == (["begin"], ["begin", "begin", "end"])


def within(ours: Running) -> list[psutil.Process]:
    return psutil.Process(ours.pid).children(recursive=True)


def words_of(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def keepers_within(ours: Running) -> list[psutil.Process]:
    return [each for each in within(ours) if "tfguard-keeper" in words_of(each)]


# --- when all of us die ---------------------------------------------------------------------------------------------


def test_a_local_lock_lasts_as_long_as_the_family_when_all_but_the_sentinel_are_killed(stage: Make) -> None:
    made = worker(stage("local", text=STILL))

    with running(made.start_tfguard(*in_exec("(setsid ./work >&- 2>&- &) ; exit 0"))) as ours:
        made.wait_for_log("begin")
        ours.wait_for("runs on")
        doomed = [psutil.Process(ours.pid), keeper_of(ours)]
        for each in doomed:
            each.suspend()
        for each in doomed:
            each.kill()
        ours.process.wait()
    refused = made.tfguard("--lock-timeout=0s", *in_exec("true"))
    made.open_gate()
    made.wait_for_log("end")
    allowed = made.tfguard("--lock-timeout=60s", *in_exec("true"))

    assert (refused.code, allowed.code) == (75, 0), f"{refused}{allowed}"
    assert made.log_lines() == ["begin", "end"]


def test_settle_waits_for_the_family_of_a_killed_run(stage: Make) -> None:
    made = worker(stage("dynamodb", text=STILL))

    with running(made.start_tfguard(*in_exec("(setsid ./work >&- 2>&- &) ; exit 0"))) as ours:
        made.wait_for_log("begin")
        ours.wait_for("runs on")
        sentinels = [each for each in within(ours) if any(word.endswith("sentinel.py") for word in words_of(each))]
        doomed = [psutil.Process(ours.pid), keeper_of(ours), *sentinels]
        for each in doomed:
            each.suspend()
        for each in doomed:
            each.kill()
        ours.process.wait()
    early = made.tfguard("settle", "--timeout=1s")
    held = made.locks()
    made.open_gate()
    made.wait_for_log("end")
    late = made.tfguard("settle", "--timeout=4m")

    assert (early.code, late.code) == (75, 0), f"{early}{late}"
    assert held
    assert made.leftovers() == []
