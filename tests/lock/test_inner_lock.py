"""A record of ours beside a lock that the child takes by itself: whose that lock is, who frees it, and when."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from tests.support.memory import MemoryStore, MemoryTable
from tfguard.errors import Conflict, StoreUnavailable
from tfguard.lock.guarded import GuardedStore, belongs
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.store import Holder, Lease, LockRecord

_SERIAL = itertools.count(1)
APPLY = "OperationTypeApply"


class Inner:
    """Terraform's own lock, in memory."""

    def __init__(self) -> None:
        self.held: LockInfo | None = None
        self.freed: list[str] = []
        self.loses_answers = False
        self.is_made = True

    def read(self) -> LockInfo | None:
        return self.held

    def has_state(self) -> bool:
        return self.is_made

    def take(self, info: LockInfo) -> None:
        if self.held is not None:
            raise Conflict("held")
        self.held = info

    def free(self, lock_id: str) -> None:
        if self.held is None or self.held.id != lock_id:
            raise Conflict("another's")
        self.held = None
        self.freed.append(lock_id)
        if self.loses_answers:
            raise StoreUnavailable("lost")


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable()


@pytest.fixture
def store(inner: Inner, table: MemoryTable) -> GuardedStore:
    return GuardedStore(MemoryStore(table), inner)


def info(**changes: str) -> LockInfo:
    values = {"operation": APPLY, "who": "ana@ci-7", "version": "1.11.4", "created": "2026-11-20T10:00:01Z"}
    return LockInfo(**{"id": f"lock-{next(_SERIAL)}", **values, **changes})


def guard(inner: str = "", **changes: str) -> LockRecord:
    made = info(**{"created": "2026-11-20T10:00:00Z", **changes})
    lease = Lease(beat=1, duration_ms=180_000, holder=Holder(who="ana"), inner=inner)
    return LockRecord(text=made.encode(), info=made, lease=lease)


OTHERS = {
    "another user's": {"who": "bob@ci-7"},
    "another host's": {"who": "ana@ci-8"},
    "another version's": {"version": "1.9.0"},
    "another command's": {"operation": "state-mv"},
    "older than the guard": {"created": "2026-11-20T09:59:59Z"},
    "of no time": {"created": ""},
}


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_a_lock_that_does_not_look_like_the_childs_is_not_its(changes: dict[str, str]) -> None:
    assert not belongs(info(**changes), guard())


@pytest.mark.parametrize("operation", [APPLY, "init"])
def test_what_looks_like_the_childs_lock_is_its_as_long_as_none_is_named(operation: str) -> None:
    found = info(operation=operation)

    assert belongs(found, guard())
    assert not belongs(found, guard(inner="another"))
    assert belongs(found, guard(inner=found.id))


@pytest.mark.parametrize("ours", [APPLY, "exec"])
def test_under_a_lock_for_several_commands_each_of_them_is_its(ours: str) -> None:
    found = info(operation="OperationTypePlan")

    assert belongs(found, guard(operation=ours))
    assert not belongs(found, guard(operation=ours, who="bob@ci-7"))


def test_where_there_is_no_record_whoever_has_the_inner_lock_is_shown_and_can_be_unlocked(store, inner):
    inner.held = info()

    shown = store.read()
    assert (shown.id, shown.lease) == (inner.held.id, None)
    with pytest.raises(Conflict):
        store.replace(shown, guard())
    store.delete(shown)

    assert inner.held is None


def test_a_release_frees_exactly_what_belongs_to_it_first(store, inner):
    held = store.create(guard())
    inner.held = info()
    childs = inner.held.id

    store.delete(held)

    assert inner.freed == [childs]
    assert store.read() is None


def test_a_release_leaves_a_strangers_lock_alone(store, inner):
    held = store.create(guard(inner="ours-was-freed"))
    inner.held = info()

    store.delete(held)

    assert inner.held is not None
    assert inner.freed == []


def test_a_release_after_a_child_that_has_left_nothing_frees_no_lock_by_its_looks_nor_by_its_name(store, inner):
    """A plain Terraform of the same user on the same host got in before the child, which was refused for it."""
    store.may_be_left = False
    for inner_id in ("", "plain"):
        inner.held = info(id="plain")

        store.delete(store.create(guard(inner=inner_id)))

        assert inner.held is not None
        assert inner.freed == []


def test_what_a_dead_one_has_left_is_freed_whatever_our_own_child_has_left(store, inner):
    dead = store.create(guard())
    inner.held = info()
    left = inner.held.id
    ours = store.replace(dead, guard(who="bob@ci-9"))
    store.may_be_left = False

    store.delete(ours)

    assert inner.freed == [left]


def test_a_lock_that_we_have_taken_ourselves_is_freed_though_no_child_has_left_one(store, inner):
    held = store.create(guard())
    store.take_inner(held)
    store.may_be_left = False

    store.delete(held)

    assert inner.held is None


def test_a_release_that_comes_late_does_not_free_by_looks(store, inner):
    """The record is another run's by now, of the same user on the same host, and so is the lock."""
    held = store.create(guard())
    store.replace(held, guard())
    inner.held = info()

    with pytest.raises(Conflict):
        store.delete(held)

    assert inner.held is not None


def test_a_takeover_names_the_dead_ones_lock_until_it_is_freed(store, inner):
    dead = store.create(guard())
    inner.held = info()
    left = inner.held.id

    ours = store.replace(dead, guard(who="bob@ci-9"))
    assert ours.lease.inner == left
    store.delete(ours)

    assert inner.freed == [left], "whoever dies next, it is not forgotten"


def test_a_takeover_is_refused_while_somebody_else_has_the_inner_lock(store, inner):
    dead = store.create(guard(inner="unlocked-by-a-person"))
    inner.held = info()

    with pytest.raises(Conflict) as refused:
        store.replace(dead, guard())

    assert refused.value.record is not None
    assert refused.value.record.id == inner.held.id
    assert store.read().id == dead.id


def test_a_heartbeat_asks_nobody_about_the_inner_lock(store, inner):
    held = store.create(guard())
    inner.held = info(who="bob@ci-9")

    beaten = store.replace(held, msgspec.structs.replace(held, lease=msgspec.structs.replace(held.lease, beat=2)))

    assert beaten.beat == 2


def test_a_freeing_whose_answer_was_lost_is_done_at_the_next_try(store, inner):
    held = store.create(guard())
    inner.held, inner.loses_answers = info(), True

    with pytest.raises(StoreUnavailable):
        store.delete(held)
    store.delete(held)

    assert store.read() is None


def test_a_lock_held_without_a_child_keeps_every_terraform_out_until_it_is_released(store, inner):
    held = store.create(guard())

    store.take_inner(held)
    assert inner.held.id == held.id
    store.delete(held)

    assert inner.held is None


def test_a_second_lock_of_the_childs_is_found_though_the_first_is_named(store, inner):
    """Where there is no state yet, a Terraform locks to create it, unlocks, and locks for its command."""
    inner.held = info()

    assert store.find_inner(guard(inner="the-implicit-one")) == inner.held
