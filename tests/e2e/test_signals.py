"""
However a run is ended, Terraform stops cleanly, the state is whole and the lock is free.

One row each of the table in `facts`: real processes, real Terraform, the signals that CI platforms and people send.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.conftest import ACCESS_KEY, SECRET_KEY
from tests.e2e.conftest import SHORT_LEASE, TFGUARD, Stage
from tests.e2e.operated import keeper_of, kill_keeper_of
from tests.e2e.running import Running
from tests.support.eventually import eventually, patience
from tfguard.process.keeper_link import MAX_RESTARTS

pytestmark = pytest.mark.e2e

LONG = {"TF_VAR_hold": "120"}
APPLY = ("apply", "-auto-approve", "-no-color")


@dataclass
class Run:
    """A running `tfguard apply`, and the processes it consists of."""

    process: subprocess.Popen[str]
    front: psutil.Process
    keeper: psutil.Process
    terraform: psutil.Process

    @functools.cached_property
    def watched(self) -> Running:
        return Running(self.process)

    def end(self) -> tuple[int, str]:
        """Wait for the front's end; gives its status and all it printed."""
        result = self.watched.end()
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()
        return result.code, result.out + result.err

    def all_gone(self, timeout: float = 30.0) -> None:
        for process in (self.front, self.keeper, self.terraform):
            eventually(lambda process=process: not alive(process), timeout, f"the end of {process}")


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def dissect(process: subprocess.Popen[str]) -> Run:
    """Find keeper and Terraform among the descendants."""

    def find() -> Run | None:
        front = psutil.Process(process.pid)
        if "tfguard" not in " ".join(front.cmdline()) or front.name().startswith("bash"):
            front = next(each for each in front.children(recursive=True) if "tfguard" in " ".join(each.cmdline()))
        keeper = keeper_of(front.pid)
        terraform = next((each for each in keeper.children() if each.name() == "terraform"), None) if keeper else None
        return Run(process, front, keeper, terraform) if keeper and terraform else None

    return eventually(find, 20, "front, keeper and Terraform")


@pytest.fixture
def begin(stage: Callable[..., Stage]) -> Iterator[Callable[..., tuple[Stage, Run]]]:
    """Start a long apply and wait until it is in the middle of creating a resource."""
    started: list[subprocess.Popen[str]] = []

    def make(backend: str = "dynamodb", argv: list[str] | None = None, **environ: str) -> tuple[Stage, Run]:
        made = stage(backend)
        process = made.start(argv or [*TFGUARD, *APPLY], **LONG, **environ)
        started.append(process)
        made.wait_for_log("begin")
        return made, dissect(process)

    yield make
    for process in started:
        for child in [*_descendants(process.pid), process]:
            with contextlib.suppress(psutil.Error, OSError):
                child.kill()
        process.communicate()


def _descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def assert_clean(made: Stage, printed: str = "") -> None:
    """The resource that was being created is in the state, the lock is gone, Terraform had one signal at most."""
    eventually(lambda: made.locks() == [], 15, "the lock's release")
    assert made.resources() == ["terraform_data.work"]
    assert "Two interrupts" not in printed


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, -2), (signal.SIGTERM, -15), (signal.SIGHUP, -1), (signal.SIGQUIT, -3)],
    ids=lambda value: signal.Signals(value).name if value > 0 else "",
)
def test_a_signal_to_the_front_stops_terraform_once(begin, number: int, status: int) -> None:
    made, run = begin()

    run.front.send_signal(number)
    code, printed = run.end()

    assert code == status
    assert printed.count("Interrupt received") == 1
    assert_clean(made, printed)


def test_githubs_sequence_ends_cleanly_though_the_front_is_killed(begin) -> None:
    made, run = begin()
    run.terraform.suspend()  # It needs longer to stop than the platform grants.

    run.front.send_signal(signal.SIGINT)
    time.sleep(0.8)
    run.front.send_signal(signal.SIGTERM)
    time.sleep(0.4)
    run.front.kill()
    time.sleep(0.5)
    run.terraform.resume()
    run.all_gone()

    assert_clean(made)


def test_sigterm_to_every_process_highest_pid_first_reaches_terraform_before_its_providers(begin) -> None:
    """As GitLab's docker executor does it. The `sleep` stands in for a provider: it dies of SIGTERM."""
    made, run = begin(TFGUARD_SENTINEL="1")
    provider = eventually(lambda: _standing_in(run), 10, "the stand-in")
    eventually(lambda: _family(run)[-1].pid > provider.pid, 10, "a sentinel above it")

    first, *others = reversed(_family(run))
    first.terminate()
    eventually(lambda: not alive(first), 30, "the end of the process with the highest PID")
    is_over = not alive(run.terraform)
    for process in others:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    code, printed = run.end()

    assert is_over, "Terraform ends before the executor comes to its provider"
    assert code in (-15, 1)
    assert printed.count("Interrupt received") == 1
    assert_clean(made, printed)


def _family(run: Run) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return sorted([run.front, *run.front.children(recursive=True)], key=lambda each: each.pid)
    return [run.front]


def _standing_in(run: Run) -> psutil.Process | None:
    return next((each for each in run.terraform.children(recursive=True) if each.name() == "sleep"), None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["gitlab-shell", "runner-shutdown"])
def test_a_signal_to_the_process_group_reaches_terraform_once(stage: Callable[..., Stage], number: int) -> None:
    made = stage("dynamodb")
    process = subprocess.Popen(
        [*TFGUARD, *APPLY],
        cwd=made.path,
        env={**made.environ, **LONG},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    made.wait_for_log("begin")
    run = dissect(process)

    os.killpg(process.pid, number)
    code, printed = run.end()

    assert code == -number
    assert printed.count("Interrupt received") == 1
    assert_clean(made, printed)


def test_sigkill_of_the_front_leaves_a_keeper_that_ends_the_run(begin, tmp_path: Path) -> None:
    made, run = begin(TMPDIR=str(tmp_path))

    assert leaves_own_folder(tmp_path)
    run.front.kill()
    run.all_gone()

    assert_clean(made)
    assert not leaves_own_folder(tmp_path)


def test_sigkill_of_the_keeper_is_survived_by_a_successor(begin) -> None:
    made, run = begin(argv=[*TFGUARD, "--verbose", *APPLY])

    run.keeper.kill()
    code, printed = run.end()

    assert code == 1
    assert "the keeper process died; another takes its place." in printed
    assert printed.count("child.exited") == 1
    assert printed.count("Interrupt received") == 1
    assert_clean(made, printed)


def test_sigkill_of_the_keeper_of_a_local_lock_is_survived_too(begin) -> None:
    made, run = begin("local")

    run.keeper.kill()
    code, printed = run.end()

    assert code == 1
    assert_clean(made, printed)


def test_a_front_whose_keepers_are_all_dead_still_hears_signals_and_waits_for_terraform(begin) -> None:
    made, run = begin()
    run.terraform.suspend()  # The signal that it has had of the first keeper's sentinel waits.
    for _ in range(1 + MAX_RESTARTS):
        kill_keeper_of(run.front.pid)

    run.front.send_signal(signal.SIGTERM)
    run.watched.wait_for("SIGTERM: still waiting for Terraform to stop; it is not signalled again.")
    was_waiting = alive(run.front)
    run.terraform.resume()
    code, printed = run.end()

    assert was_waiting
    assert code == -signal.SIGTERM
    assert printed.count("Interrupt received") == 1
    assert "the lock could not be released" in printed
    assert made.resources() == ["terraform_data.work"]
    assert len(made.locks()) == 1


def test_a_successor_without_credentials_lets_nothing_run_beyond_the_lease(begin, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text(f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
    made, run = begin(
        AWS_ACCESS_KEY_ID="",
        AWS_SECRET_ACCESS_KEY="",
        AWS_SHARED_CREDENTIALS_FILE=str(credentials),
        TFGUARD_LOCK_LEASE=SHORT_LEASE,
    )
    run.terraform.suspend()  # It does not stop by itself.

    credentials.unlink()
    run.keeper.kill()
    code, printed = run.end()

    assert code == 76
    assert "the lock was lost: its lease ran out without a heartbeat" in printed
    assert "the lock could not be released" in printed
    assert not alive(run.terraform)
    assert len(made.locks()) == 1


def test_sigkill_of_front_and_keeper_stops_terraform_and_the_lease_ends_the_lock(begin, tmp_path: Path) -> None:
    made, run = begin(TFGUARD_LOCK_LEASE=SHORT_LEASE, TMPDIR=str(tmp_path))

    assert leaves_own_folder(tmp_path)
    run.keeper.suspend()  # So that it does not see the front's death before its own.
    run.front.kill()
    run.keeper.kill()
    run.all_gone()
    saved = made.resources()
    result = made.tfguard("plan", "-no-color")

    assert saved == ["terraform_data.work"]
    assert result.code == 0, str(result)
    assert "took the lock over" in result.err
    assert made.locks() == []
    eventually(lambda: not leaves_own_folder(tmp_path), 10, "the end of the run's folder")


def leaves_own_folder(tmp_path: Path) -> bool:
    """Whether there is a folder with what only we may read: a copy of the plan, or of the backend's cache."""
    return bool(list(tmp_path.glob("tfguard-*")))


def test_sigkill_of_terraform_gives_its_signal_and_releases(begin) -> None:
    made, run = begin()

    run.terraform.kill()
    code, _ = run.end()

    assert code == 137
    assert made.locks() == []


def test_a_closed_stdout_does_not_kill_terraform(begin) -> None:
    made, run = begin()

    run.process.stdout.close()
    run.front.send_signal(signal.SIGINT)
    run.process.stdout = None
    _, err = run.process.communicate(timeout=patience(20))

    assert run.process.returncode == -2, err
    assert_clean(made, err)


def test_a_shell_that_dies_without_passing_its_signal_on_is_noticed(begin) -> None:
    words = " ".join([*TFGUARD, *APPLY])
    made, run = begin(argv=["bash", "-c", f"{words}; true"])

    run.process.kill()
    run.all_gone()

    assert_clean(made)


def test_a_stopped_front_does_not_stop_the_heart(begin) -> None:
    made, run = begin(TFGUARD_LOCK_LEASE=SHORT_LEASE)

    run.front.suspend()
    first = _beat(made)
    eventually(lambda: _beat(made) > first + 20, 30, "heartbeats while the front is stopped")
    rival = made.tfguard("--lock-timeout=0s", "plan")
    run.front.resume()
    run.front.send_signal(signal.SIGINT)
    _, printed = run.end()

    assert rival.code == 75
    assert_clean(made, printed)


def _beat(made: Stage) -> int:
    item = made.dynamodb.item(made.table, f"{made.bucket}/{made.key}")
    return int(item["TfguardBeat"]["N"]) if item else 0


def test_a_stopped_keeper_is_noticed_by_the_front_which_freezes_terraform(begin) -> None:
    made, run = begin(TFGUARD_LOCK_LEASE=SHORT_LEASE)

    run.keeper.suspend()
    eventually(lambda: run.terraform.status() == psutil.STATUS_STOPPED, 20, "Terraform's freeze")
    run.keeper.resume()
    eventually(lambda: run.terraform.status() != psutil.STATUS_STOPPED, 20, "Terraform's thaw")
    run.front.send_signal(signal.SIGINT)
    _, printed = run.end()

    assert_clean(made, printed)


def test_a_signal_while_waiting_ends_the_wait_and_touches_nothing(stage: Callable[..., Stage]) -> None:
    made = stage("dynamodb")
    holder = made.start_afresh(*APPLY, **LONG)
    made.wait_for_log("begin")
    held = made.locks()
    waiter = made.start_afresh("plan")
    eventually(lambda: "is held by" in (waiter.stderr.readline() or ""), 20, "the waiting message")

    waiter.send_signal(signal.SIGTERM)
    began = time.monotonic()
    waiter.communicate(timeout=patience(20))
    took = time.monotonic() - began

    assert waiter.returncode == -15
    assert took < patience(5)
    assert [each["ID"] for each in made.locks()] == [each["ID"] for each in held]
    holder.send_signal(signal.SIGINT)
    holder.communicate(timeout=patience(20))
    assert_clean(made)


def test_the_run_timeout_stops_terraform_once(stage: Callable[..., Stage]) -> None:
    made = stage("dynamodb")

    # By then it is at work, on a busy machine too.
    result = made.tfguard(*APPLY, TFGUARD_RUN_TIMEOUT="15s", **LONG)

    assert result.code == 124, str(result)
    assert result.out.count("Interrupt received") == 1
    assert "run_timeout" in result.err
    assert_clean(made, result.out)


def test_nothing_of_ours_outlives_the_orphan_timeout(begin) -> None:
    made, run = begin(TFGUARD_TEST_ORPHAN_TIMEOUT="2", TFGUARD_LOCK_LEASE=SHORT_LEASE)
    run.terraform.suspend()  # It will not stop by itself.

    run.front.kill()
    run.all_gone()

    eventually(lambda: made.locks() == [], 15, "the lock's release")


def test_a_stop_key_that_nobody_pressed_does_not_stop_the_front(begin) -> None:
    made, run = begin()

    run.front.send_signal(signal.SIGTSTP)
    time.sleep(0.5)
    state = run.front.status()
    run.front.send_signal(signal.SIGINT)
    _, printed = run.end()

    assert state != psutil.STATUS_STOPPED
    assert_clean(made, printed)


def test_sigkill_of_everything_is_healed_by_the_next_run(begin) -> None:
    made, run = begin(TFGUARD_LOCK_LEASE=SHORT_LEASE)

    for process in _family(run):
        with contextlib.suppress(psutil.Error):
            process.kill()
    run.all_gone()
    left = made.locks()
    result = made.tfguard(*APPLY, TF_VAR_hold="0")

    assert len(left) == 1
    assert result.code == 0, str(result)
    assert "The state may miss what that run created" in result.err
    assert made.locks() == []


def test_two_more_signals_are_not_passed_on(begin) -> None:
    made, run = begin()
    run.terraform.suspend()

    for _ in range(3):
        run.front.send_signal(signal.SIGINT)
        time.sleep(0.3)
    run.terraform.resume()
    code, printed = run.end()

    assert code == -2
    assert printed.count("Interrupt received") == 1
    assert_clean(made, printed)
