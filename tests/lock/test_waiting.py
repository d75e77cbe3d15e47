"""Waiting in line: the real code on a clock moved by hand, waiters by the dozen."""

from __future__ import annotations

import statistics

import pytest

from tests.support.line_world import World
from tfguard.errors import StoreDenied, StoreUnavailable
from tfguard.lock.queue_record import QueueState, Ticket, encode
from tfguard.lock.store import Holder, QueueRecord

DENIED = StoreDenied("no", action="dynamodb:PutItem", resource="table locks")
THROTTLED = StoreUnavailable("slow down", is_throttled=True)


def arrivals(world: World, count: int, *, hold: float = 60.0, every: float = 1.0) -> list[str]:
    return [world.tfguard(f"w{number}", at=number * every, hold=hold).name for number in range(count)]


def test_a_free_lock_costs_no_ticket_and_no_request_beyond_the_token():
    world = World()
    world.tfguard("only", hold=10)

    world.run(until=5)

    assert world.requests.kinds == {"look": 1, "create": 1, "read_queue": 1, "write_queue": 1}
    assert world.queue().last_number == 0


def test_who_came_first_is_served_first():
    world = World()
    names = arrivals(world, 30)

    world.run(until=30 * 65)

    assert world.names == names
    assert world.overlaps == 0
    assert world.queue().tickets == ()


def test_the_lock_is_handed_over_within_one_look_of_the_head():
    world = World()
    arrivals(world, 30)

    world.run(until=30 * 65)

    assert max(world.gaps) <= 0.3
    assert statistics.median(world.gaps) <= 0.25


@pytest.mark.slow
def test_a_newcomer_that_finds_the_lock_free_does_not_overtake():
    world = World()
    world.tfguard("holder", hold=60)
    world.tfguard("veteran", at=1, hold=60)
    for number in range(80):  # All through the moments around the release.
        world.tfguard(f"newcomer-{number}", at=59.5 + number * 0.0125, hold=1)

    world.run(until=400)

    assert world.names[:2] == ["holder", "veteran"]


def test_a_dead_head_stalls_nobody_for_more_than_his_turn():
    world = World()
    world.tfguard("holder", hold=60)
    head = world.tfguard("head", at=1)
    world.tfguard("second", at=2)
    world.kill(head, at=55)

    world.run(until=100)

    assert world.names == ["holder", "second"]
    assert world.gaps[0] <= 2.0  # one turn, and a pause of his own before and after


def test_ten_dead_heads_are_passed_over_once_and_not_again():
    world = World()
    world.tfguard("holder", hold=30)
    for number in range(10):
        world.kill(world.tfguard(f"dead-{number}", at=1 + number), at=20)
    world.tfguard("first", at=12, hold=30)
    world.tfguard("second", at=13, hold=30)

    world.run(until=200)

    # Far back one looks rarely: behind so many dead, who sees first that the lock is free may come first.
    assert sorted(world.names) == ["first", "holder", "second"]
    assert world.gaps[0] <= 10 + 3.5  # ten turns, and the first's own pause before he sees that the lock is free
    assert world.gaps[1] <= 3.0


def test_who_died_long_ago_is_out_of_the_line_before_his_turn():
    world = World()
    world.tfguard("holder", hold=600)
    world.kill(world.tfguard("dead", at=1), at=2)
    second = world.tfguard("second", at=3)

    world.run(until=590)

    assert [ticket.holder.who for ticket in world.queue().tickets] == ["runner@second-abcdef.example"]
    assert second.state == "waiting"


@pytest.mark.slow
def test_who_waits_for_long_is_not_taken_for_dead():
    world = World()
    world.tfguard("holder", hold=7200)
    names = arrivals(world, 7)

    world.run(until=7000)

    assert len(world.queue().tickets) == len(names)


def test_who_was_frozen_and_passed_over_comes_back_to_his_place():
    world = World()
    world.tfguard("holder", hold=60)
    frozen = world.tfguard("frozen", at=1, hold=60)
    world.tfguard("second", at=2, hold=60)
    world.tfguard("third", at=3, hold=60)
    world.kill(frozen, at=50)

    def thaw() -> None:
        frozen.state = "waiting"
        world._look(frozen, 60)

    world.at(80, thaw)
    world.run(until=400)

    assert world.names == ["holder", "second", "frozen", "third"]


def test_giving_up_leaves_no_hole():
    world = World()
    world.tfguard("holder", hold=60)
    impatient = world.tfguard("impatient", at=1, timeout=10)
    world.tfguard("patient", at=2)

    world.run(until=100)

    assert impatient.state == "gave up"
    assert world.names == ["holder", "patient"]
    assert world.gaps[0] <= 0.3


def test_at_the_deadline_a_free_lock_is_taken_whatever_the_place():
    world = World()
    ghosts = QueueState()
    for name in ("ghost", "another"):
        ghosts = ghosts.joined(_ticket(name))
    world.table.queues["lock"] = QueueRecord(text=encode(ghosts), revision=1)
    world.tfguard("at-once", timeout=0.0)

    world.run(until=1)

    assert world.names == ["at-once"]


@pytest.mark.parametrize("fault", [DENIED, StoreUnavailable("no answer"), THROTTLED])
def test_without_the_queue_record_everybody_still_gets_the_lock(fault: Exception):
    world = World()
    for number in range(10):
        world.tfguard(f"w{number}", at=number, hold=20, fault=fault)

    world.run(until=10 * 30)

    assert sorted(world.names) == sorted(f"w{number}" for number in range(10))
    assert world.overlaps == 0


def test_one_denial_ends_the_use_of_the_queue_for_the_run():
    world = World()
    world.tfguard("holder", hold=600, fault=DENIED)
    world.tfguard("waiter", at=1, fault=DENIED)

    world.run(until=500)

    assert world.requests.kinds["read_queue"] + world.requests.kinds["write_queue"] == 2


def test_who_cannot_take_a_ticket_still_gets_past_the_dead():
    world = World()
    world.tfguard("holder", hold=60)
    for number in range(3):
        world.kill(world.tfguard(f"dead-{number}", at=1), at=30)
    late = world.tfguard("late", at=50, fault=THROTTLED)
    late.store.only_writes = True

    world.run(until=90)

    assert world.names == ["holder", "late"]
    assert world.gaps[0] <= 3 + 5  # three turns, and the pauses of one who is throttled and has no place


def test_throttling_stops_writing_and_doubles_the_pauses():
    world = World()
    world.tfguard("holder", hold=600)
    for number in range(5):
        world.tfguard(f"w{number}", at=1)
    world.run(until=100)
    calm = _requests_within(world, 20)
    for actor in world.actors:
        actor.store.queue_fault = THROTTLED
        assert actor.queue is not None
        actor.queue.note(THROTTLED)
    writes = world.requests.kinds["write_queue"]

    throttled = _requests_within(world, 20)

    assert throttled <= 0.7 * calm
    assert world.requests.kinds["write_queue"] == writes


@pytest.mark.parametrize("text", ["garbage", "{}", '{"tickets": 5}', "\x00" * 100])
def test_a_spoilt_queue_record_spoils_nothing(text: str):
    world = World()
    names = arrivals(world, 8, hold=20)

    def spoil() -> None:
        stored = world.table.queues.get("lock")
        world.table.queues["lock"] = QueueRecord(text=text, revision=stored.revision + 1 if stored else 1)

    for moment in range(5, 200, 7):
        world.at(moment, spoil)
    world.run(until=260)

    assert sorted(world.names) == sorted(names)
    assert world.overlaps == 0


def test_a_plain_terraform_barges_in_and_the_line_goes_on():
    """Five minutes, mixed: plain Terraforms do not know of the line, the tfguards keep their order among themselves."""
    world = World()
    guards = arrivals(world, 20, hold=10, every=2)
    for number in range(20):
        world.plain(f"plain-{number}", at=1 + number * 2, hold=5)

    world.run(until=300 + 200)

    assert world.overlaps == 0
    assert sorted(name for name in world.names if name.startswith("w")) == sorted(guards)
    assert [name for name in world.names if name.startswith("w")] == guards


def test_order_none_takes_no_tickets():
    world = World()
    for number in range(5):
        world.tfguard(f"w{number}", at=number, hold=20, order="none")

    world.run(until=200)

    assert len(world.names) == 5
    assert world.queue().last_number == 0


@pytest.mark.slow
def test_a_hundred_waiters_ask_for_less_than_sixty_requests_a_second():
    world = World()
    arrivals(world, 101, hold=30, every=0.1)
    world.run(until=60)

    seconds = 150
    rate = _requests_within(world, seconds) / seconds

    assert rate <= 60


def test_requests_grow_more_slowly_than_the_line():
    rates = []
    for count in (25, 100):
        world = World()
        arrivals(world, count + 1, hold=1e6, every=0.1)
        world.run(until=60)
        rates.append(_requests_within(world, 150))

    assert rates[1] < rates[0] * 4 * 0.75


def test_nobody_looks_more_rarely_than_every_five_seconds():
    world = World()
    arrivals(world, 60, hold=1e6, every=0.1)
    world.run(until=60)
    last = world.actors[-1]
    assert last.waiter is not None

    pauses = [last.waiter.pause(None) for _ in range(200)]

    assert 4.0 < max(pauses) <= 5.0


def _requests_within(world: World, seconds: float) -> int:
    before = world.requests.total
    world.run(until=world.clock.seconds + seconds)
    return world.requests.total - before


def _ticket(name: str) -> Ticket:
    return Ticket(id=name, holder=Holder(who=name))
