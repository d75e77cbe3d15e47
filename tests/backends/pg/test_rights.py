"""What a role is told that may do a part only of what a lock needs: at once, and which part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.conftest import Postgres
from tests.contract.kinds import PgKind, lease, record
from tfguard.errors import ActionDenied
from tfguard.lock.store import QueueRecord

LOCK = "SELECT, INSERT, UPDATE (lock, beat, lease)"


@pytest.fixture
def kind(postgres: Postgres) -> Iterator[PgKind]:
    made = PgKind(postgres, is_terraforms=True)
    with contextlib.closing(made):
        store: Any = made.open()
        store.write_queue(None, QueueRecord(text="{}"))
        yield made


def opened_by_a_role(kind: PgKind, rights: str) -> Any:
    """The lock as a role opens it that has these rights on our table, and all on Terraform's."""
    role = f"r{kind.database}"
    kind.server.ask(
        kind.database,
        f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA tf TO {role}; GRANT ALL ON tf.states TO {role};"
        f" GRANT {rights} ON tf.tfguard TO {role}",
    )
    kind.spec = msgspec.structs.replace(kind.spec, pg=msgspec.structs.replace(kind.spec.pg, user=role))
    return kind.open()


@pytest.mark.emulator
@pytest.mark.parametrize("rights", ["SELECT", "SELECT, INSERT", "SELECT, INSERT, UPDATE (queue, revision)"])
def test_who_may_not_hold_a_lock_is_told_before_anything_is_held(kind: PgKind, rights: str) -> None:
    """A claim says what a beat says: who may not beat does not get as far."""
    store = opened_by_a_role(kind, rights)

    assert store.read() is None
    with pytest.raises(ActionDenied, match=r"permission denied for table tfguard \(42501\)"):
        store.create(record(lease=lease()))

    assert store.read() is None


@pytest.mark.emulator
def test_who_may_not_write_the_line_holds_the_lock_all_the_same(kind: PgKind) -> None:
    store = opened_by_a_role(kind, LOCK)

    held = store.create(record(lease=lease()))
    with pytest.raises(ActionDenied, match=r"permission denied for table tfguard \(42501\)"):
        store.write_queue(store.read_queue(), QueueRecord(text="{}", revision=1))

    assert held.lease is not None
    beaten = msgspec.structs.replace(held, lease=msgspec.structs.replace(held.lease, beat=held.beat + 1))
    store.delete(store.replace(held, beaten))
    assert store.read() is None
