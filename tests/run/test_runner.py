"""How a run ends: judged from all that is known once the lock has been given back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tfguard.errors import Outcome, ProgramNotExecutable
from tfguard.guard.signals import Received
from tfguard.lock import protocol
from tfguard.report.messages.phrases import Subject
from tfguard.run.runner import Runner

HELD = protocol.Held(lock_id="our-id", beat=1, base=0.0)


class Front:
    """A front whose keeper says, while it releases, what `meanwhile` names."""

    def __init__(self, result, meanwhile=None):
        self.lost = None
        self.is_timed_out = False
        self.stopped_by = None
        self.is_interactive = False
        self.last_words = ""
        self._released = protocol.Released(result=result)
        self._meanwhile = meanwhile
        self.outcomes = []

    def release(self, outcome, exit_code):
        self.outcomes.append((outcome, exit_code))
        self.lost = self._meanwhile or self.lost
        return self._released

    def close(self):
        pass


class Report:
    """Keeps the events that are said."""

    page = None

    def __init__(self):
        self.said = []

    def say(self, level, event, text, **facts):
        self.said.append(event)

    def detail(self, event, **facts):
        pass

    def fail(self, error, subject, **facts):
        pass

    def finish(self, ended):
        pass


def run(front, status=0, held=HELD):
    """Run a body that ends so, or raises it, and give how the run has ended and what was said."""
    report = Report()
    runner = Runner(front, report, SimpleNamespace())
    runner._run_body = lambda task, held, look, body: body()
    terms = SimpleNamespace(run_timeout_seconds=None, lease_seconds=180.0, timeout_seconds=0.0)
    target = SimpleNamespace(path="b/k", backend="s3", workspace="default")
    task = SimpleNamespace(
        **dict.fromkeys(("operation", "binary", "directory", "state_directory", "pushed_file"), ""),
        subject=Subject("app"),
        target=target,
        terms=terms,
        success_codes=frozenset({0}),
    )

    def body():
        if isinstance(status, Exception):
            raise status
        return status

    return runner._run_held(task, held, None, body), report.said


@pytest.mark.parametrize("status", [0, 1, -9, ProgramNotExecutable("no such program")], ids=repr)
@pytest.mark.parametrize(
    ("result", "kind"), [("gone", "gone"), ("another's", "another's"), ("failed", "expired"), ("released", "gone")]
)
def test_a_loss_that_becomes_known_after_the_programs_end_is_exit_76(status, result, kind):
    ended, said = run(Front(result, protocol.Lost(kind=kind)), status)

    assert (ended.outcome, ended.exit_code, ended.signal) == (Outcome.LOCK_LOST, 76, 0)
    assert "lease.lost" not in said, "the narrator has told of it, as soon as it was known"


@pytest.mark.parametrize("result", ["gone", "another's"])
def test_a_loss_that_only_the_release_finds_is_said_and_is_exit_76(result):
    ended, said = run(Front(result))

    assert (ended.outcome, ended.exit_code) == (Outcome.LOCK_LOST, 76)
    assert said == ["lease.lost"]


@pytest.mark.parametrize("result", ["released", "failed", "nothing"])
def test_a_run_that_lost_nothing_ends_as_its_program_did(result):
    ended, _ = run(Front(result), 1)

    assert (ended.outcome, ended.exit_code) == (Outcome.FAILED, 1)


def test_a_signal_that_comes_after_the_programs_end_does_not_change_it():
    front = Front("released")
    release = front.release

    def signalled(outcome, exit_code):
        front.stopped_by = Received(15)
        return release(outcome, exit_code)

    front.release = signalled

    assert run(front, 1)[0].exit_code == 1


def test_how_a_run_ended_names_the_lock_as_terraform_does_too_where_that_is_another_id():
    held = protocol.Held(lock_id="our-id", force_unlock_id="1764380000000001", beat=1, base=0.0)

    ended, _ = run(Front("released"), held=held)

    assert (ended.lock_id, ended.force_unlock_id) == ("our-id", "1764380000000001")
    assert ended.as_event()["force_unlock_id"] == "1764380000000001"
    assert "force_unlock_id" not in run(Front("released"))[0].as_event()
