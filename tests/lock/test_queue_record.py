"""The line as a record: order, signs of life, bounds, garbage."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfguard.lock import queue_record
from tfguard.lock.queue_record import KEPT_RUNS, MAX_BYTES, QueueState, Run, Ticket, View, decode, encode
from tfguard.lock.store import Holder

ANA = Holder(who="ana@ci-7", command="apply")


def line(*names: str) -> QueueState:
    """A line in which these have joined, in this order."""
    state = QueueState()
    for name in names:
        state = state.joined(Ticket(id=name, holder=ANA))
    return state


def names(state: QueueState) -> list[str]:
    return [ticket.id for ticket in state.tickets]


def run(held: float = 60.0, **facts: object) -> Run:
    return msgspec.structs.replace(Run(holder=ANA, ended_at="2026-11-21T12:00:00Z", held_s=held), **facts)


def test_who_comes_later_stands_further_back():
    assert names(line("a", "b", "c")) == ["a", "b", "c"]


def test_who_joins_twice_keeps_his_place():
    assert names(line("a", "b").joined(Ticket(id="a", holder=ANA))) == ["a", "b"]


def test_who_was_dropped_by_mistake_comes_back_to_his_old_place():
    state = line("a", "b", "c")
    dropped = state.ticket("b")

    back = state.without(["b"]).joined(dropped)

    assert names(back) == ["a", "b", "c"]


def test_numbers_go_on_when_the_line_has_been_empty():
    state = line("a", "b").without(["a", "b"]).joined(Ticket(id="c", holder=ANA))

    assert state.tickets[0].number == 3


def test_who_comes_back_to_a_lost_record_stays_ahead_of_newcomers():
    veteran = line("a", "b").ticket("b")

    state = QueueState().joined(veteran).joined(Ticket(id="new", holder=ANA))

    assert [(each.id, each.number) for each in state.tickets] == [("b", 2), ("new", 3)]


def test_a_full_record_takes_no_more_tickets_and_loses_none():
    crowd = Holder(who="ä" * 500, command="x" * 500, run="r" * 500, link="https://ci/" + "p" * 200)
    state = QueueState()
    for number in range(1200):
        state = state.joined(Ticket(id=f"{number:036d}", holder=crowd))

    assert 100 < len(state.tickets) < 1200
    assert len(encode(state).encode()) <= MAX_BYTES
    assert names(state) == [f"{number:036d}" for number in range(len(state.tickets))]


def test_a_record_of_unreasonable_size_is_not_read():
    many = '{"token":7,"errored":"%s"}'

    assert decode(many % ("\U0001f600" * (MAX_BYTES // 4))).token == 7
    assert decode(many % ("\U0001f600" * (MAX_BYTES // 2))) == QueueState()


def test_a_hundred_waiters_and_the_history_fit_into_a_quarter_of_an_item():
    holder = Holder(who="w" * 500, command="c" * 500, run="r" * 500, link="https://ci/" + "p" * 200)
    state = line()
    for number in range(100):
        state = state.joined(Ticket(id=f"{number:036d}", holder=holder, since="2026-11-21T12:00:00.000000Z"))
    for _ in range(50):
        state = state.with_run(run(holder=holder, reason="z" * 5000, outcome="succeeded"))

    assert len(encode(state).encode()) < 100_000
    assert len(state.runs) == KEPT_RUNS


def test_a_link_too_long_is_left_out_rather_than_cut():
    assert queue_record.bounded(Holder(who="a", link="https://ci/" + "x" * 300)).link == ""


def test_the_estimate_is_a_median_and_needs_three_runs():
    two = QueueState().with_run(run(60)).with_run(run(3000))

    assert two.usual_seconds() is None
    assert two.with_run(run(180)).usual_seconds() == 180


def test_who_shows_no_new_sign_for_three_times_is_dead():
    view = View()
    view.see(line("a", "b"), now=0)
    view.see(line("a", "b").signed("b"), now=view.sign_seconds * 2)

    silent = view.silent(now=view.sign_seconds * 3)

    assert silent == [("a", 0)]
    assert [ticket.id for ticket in view.living(view.sign_seconds * 3)] == ["b"]


def test_only_ones_own_clock_counts():
    """A ticket that is a year old by its own words is alive as long as it has just been seen for the first time."""
    view = View()
    view.see(QueueState().joined(Ticket(id="a", holder=ANA, since="1999-01-01T00:00:00Z")), now=1e9)

    assert view.silent(now=1e9 + 1) == []


def test_what_is_forgiven_is_left_out_of_a_silence():
    view = View()
    view.see(line("a"), now=0)

    view.forgive(1000, now=1000 + view.sign_seconds)

    assert view.silent(now=1000 + view.sign_seconds * 2.9) == []
    assert view.silent(now=1000 + view.sign_seconds * 3) == [("a", 0)]


def test_nobody_has_signed_later_than_now():
    view = View()
    view.see(line("a"), now=0)

    view.forgive(float("inf"), now=1000)

    assert view.silent(now=1000 + view.sign_seconds * 2.9) == []
    assert view.silent(now=1000 + view.sign_seconds * 3) == [("a", 0)]


def test_who_has_signed_since_is_not_dropped():
    dead = [("a", 0), ("b", 0)]

    assert names(line("a", "b").signed("b").without_signs(dead)) == ["b"]


@pytest.mark.parametrize(("length", "seconds"), [(1, 20), (30, 20), (100, 60), (500, 300)])
def test_a_long_line_writes_no_more_often_than_a_short_one(length: int, seconds: float):
    view = View()
    view.see(line(*(str(number) for number in range(length))), now=0)

    assert view.sign_seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", "\x00", '{"token": {}}', '"' + "x" * 700_000 + '"', "[" * 5000]
)
def test_garbage_reads_as_an_empty_record(text: str):
    assert decode(text) == QueueState()


def test_one_part_that_is_garbage_does_not_spoil_the_others():
    text = '{"token": 41, "runs": "none", "tickets": [{"id": 5}, {"id": "b", "holder": {"who": "bob"}, "number": 7}]}'

    state = decode(text)

    assert state.token == 41
    assert names(state) == ["b"]


@given(st.lists(st.sampled_from("abcdefgh"), max_size=30), st.lists(st.sampled_from("abcdefgh"), max_size=5))
def test_what_is_written_is_read_back_and_stays_in_order(joining: list[str], leaving: list[str]):
    state = line(*joining).without(leaving).with_token(3).with_run(run())

    assert decode(encode(state)) == state
    assert [ticket.number for ticket in state.tickets] == sorted({ticket.number for ticket in state.tickets})
