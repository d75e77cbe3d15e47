"""
A queue record that somebody has made up costs a moment and a place in line, never the lock, and not for long.

Whoever may write to the table can put any line there: one of the dead, counters at their end, one waiter twice.
"""

from __future__ import annotations

import json

import pytest

from tests.lock.test_session import WaitingClock, serve
from tests.support.fakes import FakeClock, ScriptedStore
from tfguard.lock import protocol
from tfguard.lock.queue import Queue
from tfguard.lock.queue_record import QueueState, Ticket, View, decode, encode
from tfguard.lock.store import Holder, QueueRecord
from tfguard.lock.turn import Turn

MAX_COUNT = 2**53
#: A free lock is taken within so many seconds, whatever the line says.
SOON_SECONDS = 30.0
WHO = Holder(who="nobody")


def tickets(count: int, **facts: object) -> list[dict[str, object]]:
    return [{"id": f"d{number}", "holder": {"who": "x"}, "number": number + 1, **facts} for number in range(count)]


LINES: dict[str, dict[str, object]] = {
    "1,500 dead": {"last_number": 1500, "tickets": tickets(1500)},
    "no room left": {"last_number": 4, "tickets": [{"id": "d", "holder": {"who": "x" * 299_900}, "number": 1}]},
    "numbers at their end": {"last_number": MAX_COUNT, "tickets": tickets(40, sign=MAX_COUNT)},
    "numbers beyond their end": {"last_number": 10**40, "token": 10**400, "tickets": tickets(40)},
    "one waiter many times": {"tickets": [{**ticket, "id": "d"} for ticket in tickets(40)]},
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def put_line(store: ScriptedStore, line: dict[str, object]) -> None:
    store.write_queue(None, QueueRecord(text=json.dumps(line), revision=1))


def looked_until_ours(line: Turn, clock: FakeClock) -> float:
    """Look at a free lock until it is our turn; gives how long that took, in seconds."""
    since = clock.boottime()
    while not line.may_try():
        clock.advance(line.pause())
        assert clock.boottime() - since < 10 * SOON_SECONDS
    return clock.boottime() - since


@pytest.mark.parametrize("has_waited", [False, True])
@pytest.mark.parametrize("name", LINES)
def test_a_free_lock_is_taken_soon_whatever_the_line_says(clock: FakeClock, name: str, has_waited: bool) -> None:
    store = ScriptedStore()
    put_line(store, LINES[name])
    queue = Queue(store, clock, clock.advance)
    line = Turn(queue, Ticket(id="me", holder=WHO), clock)
    if has_waited:
        line.see_busy("first")
        clock.advance(line.pause())

    waited = looked_until_ours(line, clock)
    queue.count_acquisition(0, line.leaving)

    assert waited <= SOON_SECONDS
    assert decode(store.read_queue().text).tickets == ()  # Who did not take it is not there.


@pytest.mark.parametrize("name", LINES)
def test_who_does_not_sign_while_somebody_watches_leaves_the_line(name: str) -> None:
    made_up = decode(json.dumps(LINES[name]))
    view, now = View(), 0.0

    while view.see(made_up, now) is None and not view.silent(now):
        now += 60.0
        assert now <= 3600.0

    assert len(view.silent(now)) == len(made_up.tickets)
    assert made_up.without_signs(view.silent(now)).tickets == ()


@pytest.mark.parametrize("name", LINES)
def test_who_joins_signs_and_counts_in_such_a_line_can_be_read_by_others(name: str) -> None:
    state = decode(json.dumps(LINES[name])).without(["d0"])

    for _ in range(3):
        state = state.joined(Ticket(id="me", holder=WHO)).with_token(0)
        signed = decode(encode(state.signed("me")))
        assert [each.id for each in signed.tickets] == [each.id for each in state.tickets]
        assert signed == state.signed("me")
        assert state.ticket("me") is None or signed.ticket("me") != state.ticket("me")
        state = signed


# --- the fencing token ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [MAX_COUNT, MAX_COUNT + 1, 10**30, 10**400, 1e300])
def test_a_token_beyond_its_end_stays_there_and_is_nobodys(clock: FakeClock, bad: float) -> None:
    store = ScriptedStore()
    put_line(store, {"token": bad})
    queue = Queue(store, clock, clock.advance)

    tokens = [queue.count_acquisition(7) for _ in range(3)]

    assert tokens == [0, 0, 0]
    assert queue.read().token == MAX_COUNT


@pytest.mark.parametrize(
    ("line", "read"),
    [('{"token": 7, "tickets": 3}', 7), ('{"token": 7.0}', 7), ('{"token": -5}', 0), ('{"token": 7, "runs": [1]}', 7)],
)
def test_a_token_is_what_the_record_says_though_the_rest_is_garbage(line: str, read: int) -> None:
    assert decode(line).token == read


# --- a plan that waits for nobody -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_changing", [False, True])
def test_a_plan_that_waits_for_nobody_leaves_no_queue_record_where_there_was_none(is_changing: bool) -> None:
    store, clock = ScriptedStore(), WaitingClock()

    said = serve(store, clock, is_released=True, until=protocol.Held, is_changing=is_changing)

    held = next(word for word in said if isinstance(word, protocol.Held))
    assert held.token == (1 if is_changing else 0)
    assert (store.read_queue() is not None) == is_changing


def test_a_plan_counts_on_where_there_is_a_record() -> None:
    store, clock = ScriptedStore(), WaitingClock()
    store.write_queue(None, QueueRecord(text=encode(QueueState(token=41)), revision=1))

    said = serve(store, clock, is_released=True, until=protocol.Held, is_changing=False)

    assert next(word for word in said if isinstance(word, protocol.Held)).token == 42
    assert len(decode(store.read_queue().text).runs) == 1
