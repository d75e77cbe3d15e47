"""What is said while waiting and while stopping: the right message, once."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tfguard.guard import messages
from tfguard.guard.front_rules import KeeperDied, ThreadDied
from tfguard.guard.signals import Received
from tfguard.lock import protocol
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.store import Holder, Lease, LockRecord
from tfguard.report.messages.phrases import Subject
from tfguard.report.narrator import Narrator
from tfguard.report.reporter import Reporter

START = datetime(2026, 11, 20, 21, 0, tzinfo=timezone.utc)


class FakeClock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def boottime(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds - 1000)


class Recorder(Reporter):
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str, dict[str, Any]]] = []

    def say(self, level: str, event: str, text: str, **facts: Any) -> None:
        self.said.append((level, event, text, facts))

    def detail(self, event: str, **facts: Any) -> None:
        pass

    @property
    def texts(self) -> list[str]:
        return [text for _, _, text, _ in self.said]

    @property
    def events(self) -> list[str]:
        return [event for _, event, _, _ in self.said]


class Scene:
    def __init__(self, subject: Subject | None = None) -> None:
        self.report = Recorder()
        self.clock = FakeClock()
        self.narrator = Narrator(self.report, subject or Subject("app"), self.clock)

    def wait_for(self, record: LockRecord | None, *, seconds: float, trouble: str = "", seen: float = 0.0) -> None:
        """Hear of a busy lock twice a second, for so long."""
        for _ in range(round(seconds * 2)):
            self.narrator.hear(
                protocol.Waiting(
                    record=record, seen_seconds=seen, expires_in_seconds=60, remaining_seconds=600, trouble=trouble
                )
            )
            self.clock.seconds += 0.5

    def receive(self, number: int, *, is_from_terminal: bool = False) -> None:
        self.narrator.hear(Received(number, is_from_terminal=is_from_terminal))


def held_by(who: str, *, lock_id: str = "") -> LockRecord:
    info = LockInfo(id=lock_id or f"id-of-{who}", who=who, created="2026-11-20T20:58:00Z")
    lease = Lease(beat=1, duration_ms=180_000, holder=Holder(who=who, command="apply", link=f"https://ci/{who}"))
    return LockRecord(text=info.encode(), info=info, lease=lease)


def test_waiting_is_said_at_once_and_then_every_30_seconds():
    scene = Scene()

    scene.wait_for(held_by("ana"), seconds=29.5)
    before = len(scene.report.said)
    scene.wait_for(held_by("ana"), seconds=61)

    assert before == 1
    assert scene.report.events == ["lease.awaited"] * 4


def test_each_change_of_holder_is_said_at_once():
    scene = Scene()

    scene.wait_for(held_by("ana"), seconds=2)
    scene.wait_for(None, seconds=1)
    scene.wait_for(held_by("bob"), seconds=2)
    scene.wait_for(held_by("bob", lock_id="the-second-of-bob"), seconds=2)

    assert ["ana" in text for text in scene.report.texts] == [True, False, False]
    assert len(scene.report.said) == 3


def test_waiting_tells_machines_who_where_and_how_long():
    scene = Scene()

    scene.wait_for(held_by("ana"), seconds=0.5)

    [(level, event, text, facts)] = scene.report.said
    assert (level, event) == ("info", "lease.awaited")
    assert text.startswith("app is held by ana (apply, 2m00s, ")
    assert (facts["holder"]["who"], facts["holder"]["link"], facts["remaining_s"]) == ("ana", "https://ci/ana", 600)
    assert facts["label"] == "app"


def test_a_plain_lock_is_told_to_machines_as_one_without_heartbeat():
    scene = Scene()
    info = LockInfo(id="x", who="ana", created="2026-11-20T20:58:00Z", operation="OperationTypePlan")

    scene.wait_for(LockRecord(text=info.encode(), info=info), seconds=0.5)

    [(_, _, text, facts)] = scene.report.said
    assert "plain Terraform, no heartbeat" in text
    assert facts["holder"]["has_heartbeat"] is False


def test_a_takeover_is_announced_once_the_holder_has_been_silent_for_long():
    scene = Scene()

    scene.wait_for(held_by("ana"), seconds=30)
    scene.wait_for(held_by("ana"), seconds=1, seen=31)

    assert ["taken over in" in text for text in scene.report.texts] == [False, True]


def test_a_store_that_fails_is_said_when_it_begins_and_when_the_holder_is_seen_again():
    scene = Scene()

    scene.wait_for(held_by("ana"), seconds=2)
    scene.wait_for(held_by("ana"), seconds=5, trouble="No answer to dynamodb:GetItem on DynamoDB table t: reset")
    scene.wait_for(held_by("ana"), seconds=2)

    assert scene.report.events == ["lease.awaited", "store.failed", "lease.awaited"]


def test_a_local_lock_without_a_name_is_said_too():
    scene = Scene(Subject("app", is_local=True))

    scene.wait_for(None, seconds=1)

    assert scene.report.texts[0].startswith("app is held by a program that does not say who it is.")


def test_a_signal_while_waiting_promises_nothing_of_terraform():
    scene = Scene()
    scene.narrator.is_interactive = True

    scene.receive(signal.SIGINT, is_from_terminal=True)
    scene.receive(signal.SIGINT, is_from_terminal=True)

    assert scene.report.said == []


def test_the_terminals_interrupts_are_told_by_what_they_do():
    scene = Scene()
    scene.narrator.is_interactive = True
    scene.narrator.hear(messages.Started(pid=1))

    scene.receive(signal.SIGINT, is_from_terminal=True)
    scene.narrator.hear(messages.Told(event="child.signalled", reason="SIGINT"))
    scene.receive(signal.SIGINT, is_from_terminal=True)
    scene.receive(signal.SIGINT, is_from_terminal=True)

    assert [text.splitlines()[0] for text in scene.report.texts] == [
        "app: interrupt: Terraform is stopping; the lock is kept until it has.",
        "app: second interrupt: Terraform aborts; what it was creating may be missing from the state.",
        "app: SIGINT: still waiting for Terraform to stop; it is not signalled again.",
    ]


def test_a_runners_signals_are_told_once_each():
    scene = Scene()
    scene.narrator.hear(messages.Started(pid=1))

    scene.receive(signal.SIGINT)
    scene.narrator.hear(messages.Told(event="child.signalled", reason="SIGINT"))
    scene.receive(signal.SIGTERM)

    assert [text.partition(": ")[2][:22] for text in scene.report.texts] == [
        "SIGINT: Terraform is a",
        "SIGTERM: still waiting",
    ]


def test_a_silence_is_warned_of_once_with_its_cause_and_again_after_a_heartbeat():
    scene = Scene()

    def silence() -> None:
        scene.narrator.hear(protocol.Troubled(during="holding", error="No answer: reset"))
        scene.narrator.hear(messages.Told(event="lease.warned", silence_seconds=31))
        scene.narrator.hear(protocol.Troubled(during="holding", error="No answer: reset"))
        scene.narrator.hear(messages.Told(event="lease.warned", silence_seconds=32))

    silence()
    scene.narrator.hear(protocol.Beaten(beat=2, base=0))
    silence()

    assert scene.report.events == ["lease.warned"] * 2
    assert scene.report.texts[0].startswith("app: no heartbeat has landed for 31s. No answer: reset")


@pytest.mark.parametrize(("kind", "level"), [("gone", "error"), ("another's", "error")])
def test_a_lost_lock_is_an_error_with_its_reason(kind, level):
    scene = Scene()

    scene.narrator.hear(protocol.Lost(kind=kind, record=held_by("bob") if kind != "gone" else None))

    [(said_level, event, _, facts)] = scene.report.said
    assert (said_level, event, facts["reason"]) == (level, "lease.lost", kind)


@pytest.mark.parametrize(("is_changed", "events"), [(False, []), (True, ["state.changed_unlocked"])])
def test_a_lock_that_is_taken_again_is_news_only_if_the_state_was_written_meanwhile(is_changed, events):
    scene = Scene()

    scene.narrator.hear(protocol.Retaken(is_state_changed=is_changed))

    assert scene.report.events == events


# --- a keeper that dies ---------------------------------------------------------------------------------------------


def test_a_keepers_death_is_said_with_what_becomes_of_terraform():
    scene = Scene()

    for is_last, leaves_child in ((False, False), (False, True), (True, True)):
        scene.narrator.hear(KeeperDied(is_last=is_last, leaves_child=leaves_child))

    assert "\n".join(scene.report.texts).splitlines() == [
        "app: the keeper process died; another takes its place.",
        "app: the keeper process died; another takes its place.",
        "Terraform has been asked once to stop; the lock is kept until it has.",
        "app: the keeper process died again and again: nobody renews or releases the lock any more.",
        "Terraform has been asked once to stop; what still runs three fifths into the lease is killed.",
    ]


def test_terraform_under_a_local_lock_without_a_keeper_is_not_threatened():
    """The front holds that lock too, and its kernel ends it: nothing expires."""
    scene = Scene(Subject("app", is_local=True))

    scene.narrator.hear(KeeperDied(is_last=True, leaves_child=True))

    assert scene.report.texts[0].splitlines()[1:] == [
        "Terraform has been asked once to stop; the lock is kept until it has."
    ]


def test_the_last_keepers_death_that_ends_the_run_is_left_to_the_runs_own_error():
    scene = Scene()

    scene.narrator.hear(KeeperDied(is_last=True, leaves_child=False))

    assert scene.report.said == []


def test_a_defect_of_the_keepers_is_said_to_be_one():
    scene = Scene()

    scene.narrator.hear(messages.Told(event="keeper.broken", error="RuntimeError: dictionary changed size"))

    assert scene.report.texts == [
        "app: the keeper broke down. RuntimeError: dictionary changed size\nThis is a defect of tfguard's."
    ]


def test_a_defect_that_ends_a_thread_of_the_fronts_is_said_to_be_one():
    scene = Scene()

    scene.narrator.hear(ThreadDied(error="RuntimeError: no memory\nand more"))

    assert scene.report.texts == [
        "app: a part of tfguard broke down; the run goes on. RuntimeError: no memory\nThis is a defect of tfguard's."
    ]


def test_a_first_signal_after_a_keepers_death_is_said_not_to_be_passed_on():
    """The dead keeper's sentinel has given Terraform its one SIGINT."""
    scene = Scene()
    scene.narrator.hear(messages.Started(pid=1))
    scene.narrator.hear(KeeperDied(is_last=True, leaves_child=True))

    scene.receive(signal.SIGTERM)

    assert scene.report.texts[1:] == ["app: SIGTERM: still waiting for Terraform to stop; it is not signalled again."]


def test_a_ctrl_c_after_a_keepers_death_is_terraforms_second():
    scene = Scene()
    scene.narrator.is_interactive = True
    scene.narrator.hear(messages.Started(pid=1))
    scene.narrator.hear(KeeperDied(is_last=False, leaves_child=True))

    scene.receive(signal.SIGINT, is_from_terminal=True)

    assert "second interrupt: Terraform aborts" in scene.report.texts[1]
