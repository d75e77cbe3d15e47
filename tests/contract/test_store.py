"""The contract of `tfguard.lock.store.Store`. Whatever passes can carry a lease."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timezone

import msgspec
import pytest

from tests.contract.kinds import Kind, NetworkKind, lease, record
from tfguard.errors import Conflict, StoreUnavailable, TfguardError
from tfguard.lock.lockinfo import MAX_BYTES
from tfguard.lock.store import LockRecord, QueueRecord, Store

GARBAGE = {
    "empty": b"",
    "no JSON": b"locked by Bob",
    "half": b'{"ID":"0aaf',
    "null": b"null",
    "list": b'["ID"]',
    "number as ID": b'{"ID":7}',
    "nested": b"[" * 5_000 + b"]" * 5_000,
    "huge": b'{"ID":"' + b"x" * 300_000 + b'"}',
    "not UTF-8": b'{"ID":"\xff\xfe"}\xff',
    "our key, not our lease": b'{"ID":"","tfguard":7}',
}
THREADS = 50


def plain(record: LockRecord | None) -> LockRecord | None:
    """The record without what only its store understands."""
    return record and msgspec.structs.replace(record, version="", force_unlock_id="")


def expected(kind: Kind, record: LockRecord) -> LockRecord:
    return record if kind.has_leases else msgspec.structs.replace(record, lease=None)


# --- create and read --------------------------------------------------------------------------------------------


def test_nothing_is_there_before_a_create(kind: Kind) -> None:
    assert kind.open().read() is None


def test_says_whether_it_has_leases_and_where_it_is(kind: Kind) -> None:
    store = kind.open()

    assert store.has_leases is kind.has_leases
    assert store.place


def test_a_descriptor_carries_the_lock_where_it_ends_with_its_holders_and_nowhere_else(kind: Kind) -> None:
    store = kind.open()
    before = store.fileno()

    held = store.create(record(lease=lease()))

    assert (before, store.fileno() >= 0) == (-1, kind.has_descriptor)
    store.delete(held)
    assert store.fileno() == -1


def test_a_date_is_the_servers_or_there_is_none(kind: Kind) -> None:
    store = kind.open()
    before = store.date

    store.read()

    assert before is None
    assert store.date is None or abs((datetime.now(timezone.utc) - store.date).total_seconds()) < 600


def test_credentials_that_do_not_end_tell_no_end(kind: Kind) -> None:
    assert kind.open().credentials_expire_at() is None


def test_a_proof_passes_here_and_leaves_the_lock_alone(kind: Kind) -> None:
    store = kind.open()
    held = store.create(record(lease=lease()))

    store.prove_conditional(held)

    assert store.read() == held


@pytest.mark.parametrize("with_lease", [True, False], ids=["lease", "plain"])
def test_what_was_created_is_read_by_everybody(kind: Kind, with_lease: bool) -> None:
    written = record(lease=lease() if with_lease else None)
    store = kind.open()

    created = store.create(written)

    assert plain(created) == expected(kind, written)
    assert store.read() == created
    assert plain(kind.open().read()) == expected(kind, written)


def test_a_second_create_conflicts_and_changes_nothing(kind: Kind) -> None:
    first = kind.open().create(record(lease=lease()))

    with pytest.raises(Conflict):
        kind.open().create(record(lease=lease()))

    assert plain(kind.open().read()) == plain(first)


def test_terraform_reads_its_own_lock_info(kind: Kind) -> None:
    written = record(lease=lease())

    kind.open().create(written)

    assert written.info is not None
    seen = json.loads(kind.info())
    seen.pop("tfguard", None)
    assert json.dumps(seen, separators=(",", ":")) == json.dumps(json.loads(written.text), separators=(",", ":"))
    assert kind.info().startswith(written.text[:-1].encode())


def test_a_plain_record_is_stored_byte_for_byte(kind: Kind) -> None:
    written = record()

    kind.open().create(written)

    assert kind.info() == written.text.encode()


# --- replace ----------------------------------------------------------------------------------------------------


def test_replace_writes_the_next_beat(kind: Kind) -> None:
    store = kind.open()
    seen = store.create(record(lease=lease(1)))

    replaced = store.replace(seen, msgspec.structs.replace(seen, lease=lease(2)))

    assert store.read() == replaced
    assert replaced.text == seen.text
    assert replaced.beat == (2 if kind.has_leases else 0)


def test_replace_takes_another_identity_over(kind: Kind) -> None:
    store = kind.open()
    seen, successor = store.create(record(lease=lease(7))), record(lease=lease(1))

    store.replace(seen, successor)

    assert plain(kind.open().read()) == expected(kind, successor)


def test_replace_conflicts_with_another_identity(kind: Kind) -> None:
    store = kind.open()
    first = store.create(record(lease=lease()))
    second = store.replace(first, record(lease=lease()))

    with pytest.raises(Conflict):
        store.replace(first, record(lease=lease()))

    assert store.read() == second


def test_replace_conflicts_with_another_beat(kind: Kind) -> None:
    if not kind.has_leases:
        pytest.skip("no beats here")
    store = kind.open()
    first = store.create(record(lease=lease(1)))
    second = store.replace(first, msgspec.structs.replace(first, lease=lease(2)))

    with pytest.raises(Conflict):
        store.replace(first, msgspec.structs.replace(first, lease=lease(3)))

    assert store.read() == second


def test_replace_of_a_plain_lock_conflicts_once_it_has_a_lease(kind: Kind) -> None:
    if not kind.has_leases:
        pytest.skip("no leases here")
    store = kind.open()
    first = store.create(record())
    store.replace(first, msgspec.structs.replace(first, lease=lease(1)))

    with pytest.raises(Conflict):
        store.replace(first, msgspec.structs.replace(first, lease=lease(2)))


def test_replace_never_creates(kind: Kind) -> None:
    store = kind.open()
    seen = store.create(record(lease=lease()))
    store.delete(seen)

    with pytest.raises(Conflict):
        store.replace(seen, msgspec.structs.replace(seen, lease=lease(2)))

    assert kind.open().read() is None


# --- delete -----------------------------------------------------------------------------------------------------


def test_delete_frees_the_lock(kind: Kind) -> None:
    store = kind.open()
    seen = store.create(record(lease=lease()))

    store.delete(seen)

    assert store.read() is None
    kind.open().create(record(lease=lease()))  # and it can be had again


def test_delete_of_nothing_conflicts(kind: Kind) -> None:
    store = kind.open()
    seen = store.create(record())
    store.delete(seen)

    with pytest.raises(Conflict):
        store.delete(seen)


def test_delete_spares_anothers_lock(kind: Kind) -> None:
    store = kind.open()
    mine = store.create(record(lease=lease()))
    store.delete(mine)
    theirs = kind.open().create(record(lease=lease()))

    with pytest.raises(Conflict):
        store.delete(mine)

    assert plain(kind.open().read()) == plain(theirs)


def test_a_release_gets_through_between_two_beats_of_another_instance(kind: Kind) -> None:
    """A beat may have landed that the deleter has not seen: delete either ignores it or conflicts, and a read helps."""
    if not kind.is_shared:
        pytest.skip("one holder only")
    store, other = kind.open(), kind.open()
    seen = store.create(record(lease=lease(1)))
    other.replace(seen, msgspec.structs.replace(seen, lease=lease(2)))

    try:
        store.delete(seen)
    except Conflict:
        fresh = store.read()
        assert fresh is not None
        assert fresh.text == seen.text
        store.delete(fresh)

    assert store.read() is None


def test_two_instances_never_bring_a_deleted_lock_back(kind: Kind) -> None:
    """A beat, a takeover and a second release that come after a release: all refused, nothing there."""
    store, other = kind.open(), kind.open()
    mine = store.create(record(lease=lease(1)))
    seen = other.read()
    assert seen is not None
    store.delete(mine)

    for late in (store, other):
        for attempt in (
            lambda late=late: late.replace(mine, msgspec.structs.replace(mine, lease=lease(2))),
            lambda late=late: late.replace(seen, record(lease=lease(1))),
            lambda late=late: late.delete(seen),
        ):
            with pytest.raises(Conflict):
                attempt()

    assert kind.open().read() is None


# --- fifty at once ----------------------------------------------------------------------------------------------


def winners(kind: Kind, attempt: Callable[[Store], LockRecord | QueueRecord]) -> list[LockRecord | QueueRecord]:
    """Let fifty instances make one attempt at the same moment; gives what the winners got."""
    stores = [kind.open() for _ in range(THREADS)]
    barrier = threading.Barrier(THREADS)
    won: list[LockRecord | QueueRecord] = []
    failures: list[TfguardError] = []

    def run(store: Store) -> None:
        barrier.wait()
        try:
            won.append(attempt(store))
        except Conflict:
            pass
        except TfguardError as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    return won


def test_of_fifty_creators_one_wins(kind: Kind) -> None:
    won = winners(kind, lambda store: store.create(record(lease=lease())))

    assert len(won) == 1
    found = kind.open().read()
    assert found is not None
    assert isinstance(won[0], LockRecord)
    assert found.text == won[0].text


def test_of_fifty_thieves_one_wins(kind: Kind) -> None:
    if not kind.is_shared:
        pytest.skip("nobody can steal here")
    seen = kind.open().create(record(lease=lease(5)))

    won = winners(kind, lambda store: store.replace(seen, record(lease=lease(1))))

    assert [plain(kind.open().read())] == [plain(record) for record in won if isinstance(record, LockRecord)]


def test_of_fifty_queue_writers_one_wins(kind: Kind) -> None:
    seen = kind.open().write_queue(None, QueueRecord(text="{}", revision=1))

    won = winners(kind, lambda store: store.write_queue(seen, QueueRecord(text="{}", revision=2)))

    assert len(won) == 1


# --- lost answers -----------------------------------------------------------------------------------------------


def test_a_create_whose_answer_is_lost_has_landed(network_kind: NetworkKind) -> None:
    store, written = network_kind.open(), record(lease=lease())

    with network_kind.lost_answers(store), pytest.raises(StoreUnavailable):
        store.create(written)

    assert plain(store.read()) == written


def test_a_create_that_is_lost_has_not_landed(network_kind: NetworkKind) -> None:
    store = network_kind.open()

    with network_kind.lost_requests(store), pytest.raises(StoreUnavailable):
        store.create(record(lease=lease()))

    assert store.read() is None


def test_a_beat_whose_answer_is_lost_is_found_by_reading(network_kind: NetworkKind) -> None:
    store = network_kind.open()
    seen = store.create(record(lease=lease(1)))

    with network_kind.lost_answers(store), pytest.raises(StoreUnavailable):
        store.replace(seen, msgspec.structs.replace(seen, lease=lease(2)))
    with pytest.raises(Conflict):
        store.replace(seen, msgspec.structs.replace(seen, lease=lease(2)))

    found = store.read()
    assert found is not None
    assert (found.id, found.beat) == (seen.id, 2)
    assert store.replace(found, msgspec.structs.replace(found, lease=lease(3))).beat == 3


def test_a_beat_that_is_lost_can_be_sent_again(network_kind: NetworkKind) -> None:
    store = network_kind.open()
    seen = store.create(record(lease=lease(1)))

    with network_kind.lost_requests(store), pytest.raises(StoreUnavailable):
        store.replace(seen, msgspec.structs.replace(seen, lease=lease(2)))

    assert store.replace(seen, msgspec.structs.replace(seen, lease=lease(2))).beat == 2


def test_a_release_whose_answer_is_lost_spares_the_next_holder(network_kind: NetworkKind) -> None:
    store = network_kind.open()
    mine = store.create(record(lease=lease()))
    with network_kind.lost_answers(store), pytest.raises(StoreUnavailable):
        store.delete(mine)
    theirs = network_kind.open().create(record(lease=lease()))

    with pytest.raises(Conflict):
        store.delete(mine)

    assert store.read() == theirs


def test_a_read_that_is_lost_says_nothing(network_kind: NetworkKind) -> None:
    store = network_kind.open()

    with network_kind.lost_answers(store), pytest.raises(StoreUnavailable):
        store.read()


# --- garbage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_a_record_that_nobody_can_read(kind: Kind, content: bytes) -> None:
    kind.plant(content)

    found = kind.open().read()

    assert found is not None
    assert (found.info, found.lease, found.id, found.beat) == (None, None, "", 0)


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_holds_the_lock_until_it_is_deleted(kind: Kind, content: bytes) -> None:
    if not kind.is_shared:
        pytest.skip("the kernel's lock is its holder's")
    kind.plant(content)
    store = kind.open()

    with pytest.raises(Conflict):
        store.create(record())
    found = store.read()
    assert found is not None
    store.delete(found)

    assert store.read() is None


def test_a_foreign_lock_with_unknown_keys_keeps_its_text(kind: Kind) -> None:
    foreign = '{\n  "ID": "0aaf67c2-0000-0000-0000-000000000000", "Who": "bob@laptop", "Extra": {"tfguard": 1} }'
    kind.plant(foreign.encode())

    found = kind.open().read()

    assert found is not None
    assert (found.text, found.id, found.lease) == (foreign, "0aaf67c2-0000-0000-0000-000000000000", None)


def test_a_record_just_too_large_to_be_terraforms_is_not_parsed(kind: Kind) -> None:
    body = b'{"ID":"a","Info":"%s"}'
    kind.plant(body % (b"x" * (MAX_BYTES - len(body) + 3)))

    found = kind.open().read()

    assert found is not None
    assert found.info is None


# --- the queue --------------------------------------------------------------------------------------------------


def test_no_queue_is_there_at_first(kind: Kind) -> None:
    assert kind.open().read_queue() is None


def test_a_queue_record_is_read_back(kind: Kind) -> None:
    written = QueueRecord(text='{"token":7,"who":"ünï"}', revision=3)
    store = kind.open()

    stored = store.write_queue(None, written)

    assert store.read_queue() == stored == kind.open().read_queue()
    assert (stored.text, stored.revision) == (written.text, written.revision)


def test_a_queue_record_is_replaced_only_if_unchanged(kind: Kind) -> None:
    store = kind.open()
    first = store.write_queue(None, QueueRecord(text="a", revision=1))
    second = store.write_queue(first, QueueRecord(text="b", revision=2))

    for seen in (first, None):
        with pytest.raises(Conflict):
            store.write_queue(seen, QueueRecord(text="c", revision=2))

    assert store.read_queue() == second


def test_a_queue_record_is_not_created_by_a_replace(kind: Kind) -> None:
    seen = QueueRecord(text="a", revision=1, version=kind.queue_version)

    with pytest.raises(Conflict):
        kind.open().write_queue(seen, QueueRecord(text="b", revision=2))

    assert kind.open().read_queue() is None


def test_lock_and_queue_do_not_touch_each_other(kind: Kind) -> None:
    store = kind.open()
    held = store.create(record(lease=lease()))
    queued = store.write_queue(None, QueueRecord(text="{}", revision=1))

    store.delete(held)

    assert store.read_queue() == queued
    assert store.read() is None
