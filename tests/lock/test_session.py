"""
One lock's life on a clock that only the test moves: what the thread's tests (`test_worker`) cannot wait for.
"""

from __future__ import annotations

import threading

import pytest

from tests.lock.test_inner_lock import Inner, info
from tests.support.fakes import LEASE, FakeClock, QuietSurroundings, ScriptedStore, acquire, anothers, put, stored
from tfguard.errors import StoreDenied
from tfguard.lock import protocol, queue_record, refusals
from tfguard.lock.guarded import GuardedStore
from tfguard.lock.session import LockSession
from tfguard.lock.store import Holder, QueueRecord


class WaitingClock(FakeClock):
    """Whoever waits by it, makes it go on."""

    sleep = FakeClock.advance

    def event(self):
        return Event(self)


class Event(threading.Event):
    def __init__(self, clock):
        super().__init__()
        self._clock = clock

    def wait(self, timeout):
        if not self.is_set():
            self._clock.advance(timeout)
        return self.is_set()


def serve(
    store,
    clock,
    *,
    is_released=False,
    may_have_left_lock=True,
    meanwhile=lambda: None,
    adopt=None,
    until=object,
    surroundings=None,
    is_watched=lambda: True,
    **facts,
):
    """Serve one lock, and release or abandon it once something (`until`) is said of it; gives all that was said."""
    said, asked = [], acquire(**facts)

    def post(message):
        said.append(message)
        if not isinstance(message, until):
            return
        if not is_released:
            session.abandon()
        elif isinstance(message, protocol.Held):
            meanwhile()
            session.release(protocol.Release(outcome="succeeded", exit_code=0, may_have_left_lock=may_have_left_lock))

    session = LockSession(
        asked.lock,
        clock,
        surroundings or QuietSurroundings(),
        deadlines=asked.deadlines(),
        post=post,
        tell=lambda _: None,
        is_watched=is_watched,
        adopt=adopt,
    )
    session.run([lambda: store])
    return said


def held(store, clock, **facts):
    """Take the lock; gives what was said of it."""
    return next(message for message in serve(store, clock, **facts) if isinstance(message, protocol.Held))


def test_each_acquisition_is_counted():
    store, clock = ScriptedStore(), WaitingClock()
    first = held(store, clock)
    put(store.table, None)

    assert (first.token, held(store, clock).token) == (1, 2)


def test_who_was_asleep_until_others_could_take_over_is_given_no_token_unless_a_beat_lands():
    clock = WaitingClock()
    store = ScriptedStore(clock=clock)

    def sleep_and_be_taken_over():
        clock.advance(LEASE)
        put(store.table, anothers(token=1))
        counted = queue_record.QueueState().with_token(0)
        store.inner.write_queue(None, QueueRecord(text=queue_record.encode(counted), revision=1))
        store.always("replace", "before")
        store.always("read", "before")

    store.before_next("write_queue", sleep_and_be_taken_over)

    assert held(store, clock).token == 0


def test_who_counted_within_his_lease_has_his_token_even_if_the_next_beat_is_not_heard_of():
    clock = WaitingClock()
    store = ScriptedStore(clock=clock)
    store.always("replace", "before")

    assert held(store, clock).token == 1


def test_an_unlock_while_the_acquisition_could_not_be_counted_is_noticed_at_once():
    clock = WaitingClock()
    store = ScriptedStore(clock=clock)

    def be_unlocked_and_wait_in_vain():
        put(store.table, None)
        clock.advance(1.0)  # Two heartbeats.

    store.before_next("write_queue", be_unlocked_and_wait_in_vain)
    store.on("write_queue", "before")
    started = clock.boottime()

    said = serve(store, clock, until=protocol.Lost)

    assert [type(message) for message in said] == [protocol.Held, protocol.Lost]
    assert clock.boottime() == started + 1.0


def join(store):
    """Somebody's ticket and, behind it, another's."""
    line = queue_record.QueueState()
    for name in ("me", "another"):
        line = line.joined(queue_record.Ticket(id=name, holder=Holder(who=name)))
    store.inner.write_queue(None, QueueRecord(text=queue_record.encode(line), revision=1))


def tickets(store):
    return [ticket.id for ticket in queue_record.decode(store.inner.read_queue().text).tickets]


def test_who_has_the_lock_is_out_of_the_line():
    store = ScriptedStore()
    join(store)

    held(store, WaitingClock(), ticket="me")

    assert tickets(store) == ["another"]


def test_who_could_not_leave_the_line_as_he_took_the_lock_leaves_it_as_he_releases():
    store = ScriptedStore()
    join(store)
    store.on("write_queue", "before")

    held(store, WaitingClock(), is_released=True, ticket="me")

    assert tickets(store) == ["another"]
    assert len(queue_record.decode(store.inner.read_queue().text).runs) == 1


def test_who_was_throttled_while_he_waited_is_counted_all_the_same():
    store, clock = ScriptedStore(), WaitingClock()
    put(store.table, anothers())
    store.on("read", "throttled")
    store.before_next("read", lambda: None)
    store.before_next("read", lambda: put(store.table, None))

    assert held(store, clock).token == 1


def test_to_a_successor_in_held_a_first_write_that_came_again_is_no_lock():
    """Unlocked by a person; then a late copy of the predecessor's create landed."""
    store, clock = ScriptedStore(), WaitingClock()
    before = held(store, clock)
    revived = stored(store.table)

    adopt = protocol.Adoption(stage="held", lock_id=before.lock_id, beat=before.beat + 3, base=before.base + 1)
    said = serve(store, clock, adopt=adopt)

    assert [message.kind for message in said] == ["gone"]
    assert stored(store.table) == revived


def test_the_history_has_a_run_whole_though_its_keeper_died():
    store, clock = ScriptedStore(), WaitingClock()
    before = held(store, clock)
    clock.advance(5)

    adopt = protocol.Adoption(
        stage="releasing",
        lock_id=before.lock_id,
        beat=before.beat,
        base=before.base,
        held_at=before.base,
        waited_seconds=3.0,
    )
    serve(store, clock, adopt=adopt)

    run = queue_record.decode(store.inner.read_queue().text).runs[-1]
    assert (run.waited_s, run.held_s) == (3.0, pytest.approx(5.0, abs=1))


# --- the state and its workspace ------------------------------------------------------------------------------------


class Surroundings(QuietSurroundings):
    """A state that a run might find in trouble."""

    def __init__(self, *, is_there=True, workspace=True, differs=None):
        self.is_there = lambda place: is_there
        self.workspace_exists = workspace if callable(workspace) else lambda: workspace
        self.digest_mismatch = lambda: differs


def leave_errored(store, place="s3://b/k.errored.1"):
    state = queue_record.QueueState().with_errored(place)
    store.inner.write_queue(None, QueueRecord(text=queue_record.encode(state), revision=1))


def failure(said):
    return next(message.why for message in said if isinstance(message, protocol.Failed))


def test_a_state_that_waits_to_be_pushed_keeps_others_out():
    store = ScriptedStore()
    leave_errored(store)

    said = serve(store, WaitingClock())

    assert failure(said) == refusals.UnsavedState(place="s3://b/k.errored.1")
    assert stored(store.table) is None


def test_a_state_that_somebody_has_taken_away_is_forgotten():
    store = ScriptedStore()
    leave_errored(store)

    assert held(store, WaitingClock(), surroundings=Surroundings(is_there=False))

    assert queue_record.decode(store.inner.read_queue().text).errored == ""


def test_a_missing_workspace_is_found_before_anything_is_written():
    store = ScriptedStore()

    assert failure(serve(store, WaitingClock(), surroundings=Surroundings(workspace=False))) == refusals.NoWorkspace()
    assert store.log == []


def refuse(*, is_expired):
    def workspace_exists():
        raise StoreDenied("no", action="s3:ListBucket", resource="bucket", is_expired=is_expired)

    return workspace_exists


@pytest.mark.parametrize(("is_expired", "kind"), [(False, refusals.Unlisted), (True, refusals.StoreDenied)])
def test_workspaces_that_cannot_be_listed_are_told_from_credentials_that_have_expired(is_expired, kind):
    surroundings = Surroundings(workspace=refuse(is_expired=is_expired))

    why = failure(serve(ScriptedStore(), WaitingClock(), surroundings=surroundings))

    assert (type(why), why.action, why.resource) == (kind, "s3:ListBucket", "bucket")


def test_after_a_takeover_a_digest_that_differs_is_told():
    store, clock = ScriptedStore(), WaitingClock()
    differs = protocol.DigestDiffers(table="locks", item="b/k-md5", stored="1", actual="2")
    put(store.table, anothers(lease_seconds=0.1))

    said = serve(store, clock, surroundings=Surroundings(differs=differs))

    assert differs in said


def test_without_a_takeover_nobody_asks_for_the_digest():
    differs = protocol.DigestDiffers(table="locks", item="b/k-md5", stored="1", actual="2")

    assert differs not in serve(ScriptedStore(), WaitingClock(), surroundings=Surroundings(differs=differs))


class SlowStore(ScriptedStore):
    """Answers each question after two seconds."""

    def read(self):
        self._clock.advance(2.0)
        return super().read()


def test_one_try_is_no_wait_however_long_the_answer_takes():
    clock = WaitingClock()
    store = SlowStore(clock=clock)
    put(store.table, anothers())

    failed = serve(store, clock, timeout_seconds=0.0)[-1]

    assert isinstance(failed, protocol.Failed)
    assert isinstance(failed.why, refusals.Busy)
    assert failed.waited_seconds == 0.0


def test_no_heartbeat_claims_that_all_is_well_while_nobody_enforces_the_deadlines():
    looks = []

    def is_watched():
        looks.append(1)
        return len(looks) > 3

    said = serve(ScriptedStore(), WaitingClock(), until=protocol.Beaten, is_watched=is_watched)

    assert sum(isinstance(message, protocol.Beaten) for message in said) == 1
    assert len(looks) == 4


@pytest.mark.parametrize(("is_released", "closed"), [(True, 1), (False, 0)])
def test_who_abandons_a_lock_lets_go_of_nothing(is_released, closed):
    """A local lock is the kernel's, and whoever could not be killed may still write: the sentinel has it as well."""
    store = ScriptedStore()
    store.close = lambda: closings.append(True)
    closings = []

    serve(store, WaitingClock(), is_released=is_released, until=protocol.Held)

    assert len(closings) == closed


class CarriedStore(ScriptedStore):
    """One that is carried by another connection after each write, or by the same."""

    def __init__(self, step):
        super().__init__()
        self.carriers, self._step = 1, step
        self.has_state_changed = False

    def on_end(self, tell):
        pass

    def replace(self, seen, record):
        self.carriers += self._step
        return super().replace(seen, record)


@pytest.mark.parametrize(("step", "told"), [(1, ["Held", "Retaken", "Beaten"]), (0, ["Held", "Beaten"])])
def test_another_carrier_is_told_of_before_anybody_goes_on_and_the_same_is_not(step, told):
    """The acquisition was counted by a write: what carries the lock then goes with `Held`."""
    said = serve(CarriedStore(step), WaitingClock(), until=protocol.Beaten)

    assert [type(message).__name__ for message in said][-len(told) :] == told


@pytest.mark.parametrize("is_changed", [False, True])
def test_that_the_state_was_written_before_another_carried_the_lock_is_told(is_changed):
    store = CarriedStore(1)
    store.has_state_changed = is_changed

    said = serve(store, WaitingClock(), until=protocol.Beaten)

    assert protocol.Retaken(is_state_changed=is_changed) in said


def test_while_a_release_looks_whether_the_child_has_forgotten_a_lock_it_still_beats():
    inner, clock = Inner(), WaitingClock()
    forgotten = info(operation="init", created="2099-01-01T00:00:00Z")

    said = serve(
        GuardedStore(ScriptedStore(clock=clock), inner),
        clock,
        is_released=True,
        may_have_left_lock=False,
        meanwhile=lambda: setattr(inner, "held", forgotten),
    )

    assert inner.freed == [forgotten.id]
    assert [message for message in said if isinstance(message, protocol.Beaten)]
    assert isinstance(said[-1], protocol.Released) and said[-1].result == "released"
