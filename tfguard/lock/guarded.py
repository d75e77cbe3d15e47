"""
A lock that the child has to take by itself (*guarded*): our record stands beside Terraform's own lock.

Terraform's own lock, the *inner* one, keeps every plain Terraform out, and the server accepts no state from anybody
else. Our record, the *guard*, brings the line, the lease and the takeover among tfguards. All that is particular to
this is here:

* Where there is no guard, the inner lock is what stands in the way: whoever holds it is shown, and waited for.
* A guard is taken over from a dead holder only if the inner lock is free or the dead one's; if anybody else has it,
  that one is in the way (`Conflict.record`). The new guard names the dead one's inner lock until that is freed, so that
  it is never forgotten, whoever dies next.
* Before a guard is deleted, by whomever, the inner lock that belongs to it is freed: exactly that ID, or nothing.
* A Terraform that finds no state locks it to make one, and forgets that lock if another has made it meanwhile (its
  `StateMgr` of azurerm): it then waits for itself, and leaves the lock behind. So one of the child's that stands for a
  while over a state that is there is freed under it (`inner_watch`).

*Belongs*: the guard names it, or it has the guard's own ID (of a lock held without a child). If the guard names none,
its keeper died before it could learn the ID: then one of the same user, host, version and operation which is not older
than the guard; under `exec` of any operation, and a plan under an apply, since `run` has both. Not certain: a plain
Terraform of the same user on the same host looks the same. Freed wrongly, its next write is refused: it fails, and
overwrites nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec

from tfguard.clock import parse_created
from tfguard.errors import Conflict, StoreUnavailable
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.store import LockRecord, QueueRecord, Store

#: What Terraform calls its own lock while it creates a state that is not there, whatever the command.
IMPLICIT = "init"
_PLAN, _APPLY, _ANY = "OperationTypePlan", "OperationTypeApply", "exec"
_INNER = "inner/"


class InnerLock(Protocol):
    """Terraform's own lock. Every method raises as a store does."""

    def read(self) -> LockInfo | None:
        """Return who has it, None if it is free. Somebody who cannot be read has at least the ID `?`."""
        ...

    def has_state(self) -> bool:
        """Whether there is a state, that nobody needs to make."""
        ...

    def take(self, info: LockInfo) -> None:
        """Take it as Terraform would. Raises Conflict where it is held."""
        ...

    def free(self, lock_id: str) -> None:
        """Free exactly this lock. Raises Conflict where it is another's, or free."""
        ...


class GuardedStore:
    """A guard's store and the inner lock as one `Store`. Records of the inner lock alone have no lease."""

    has_leases = True
    needs_guard = False
    #: A state is written by whoever has the inner lock: to let go of our record early would help nobody.
    refuses_late_writes = False

    def __init__(self, guard: Store, inner: InnerLock) -> None:
        self._guard = guard
        self._inner = inner
        #: Whether the child of the guard that we delete may have left its lock. Of a run that is dead nobody knows.
        self.may_be_left = True
        self._inherited = ""

    @property
    def place(self) -> str:
        return self._guard.place

    @property
    def date(self) -> datetime | None:
        return self._guard.date

    def credentials_expire_at(self) -> datetime | None:
        return self._guard.credentials_expire_at()

    def prove_conditional(self, record: LockRecord) -> None:
        self._guard.prove_conditional(record)

    def fileno(self) -> int:
        return self._guard.fileno()

    def close(self) -> None:
        self._guard.close()

    def read_queue(self) -> QueueRecord | None:
        return self._guard.read_queue()

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        return self._guard.write_queue(seen, record)

    def read(self) -> LockRecord | None:
        guard = self._guard.read()
        if guard is not None and not (guard.lease and not guard.lease.inner):
            return _named(guard)
        info = self._inner.read()
        if guard is None:
            return None if info is None else _alone(info)
        # In a run's first second its record does not name the lock yet that a plain Terraform shows to people.
        if info is None or not belongs(info, guard):
            return guard
        return msgspec.structs.replace(guard, force_unlock_id=info.id)

    def create(self, record: LockRecord) -> LockRecord:
        return _named(self._guard.create(record))

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        if _is_inner(seen):
            raise Conflict("Terraform's own lock cannot be replaced by another's record")
        if record.text != seen.text:
            record = self._inheriting(seen, record)
        return _named(self._guard.replace(seen, record))

    def delete(self, seen: LockRecord) -> None:
        if _is_inner(seen):
            self._inner.free(seen.id)
            return
        info = self._inner.read()
        if info is not None and self._is_to_be_freed(info, seen):
            self._free(info.id)
        self._guard.delete(seen)

    # --- while it is held ---------------------------------------------------------------------------------------

    def take_inner(self, record: LockRecord) -> None:
        """Keep every Terraform out: for a lock that is held without a child. Raises Conflict where somebody is in."""
        if record.info is None:
            return
        try:
            self._inner.take(record.info)
        except Conflict as conflict:
            info = self._inner.read()
            if info is None or info.id != record.id:  # Ours, if the answer was lost before.
                conflict.record = None if info is None else _alone(info)
                raise

    def find_inner(self, record: LockRecord) -> LockInfo | None:
        """Return the inner lock that is held now and belongs to our record, None if there is none."""
        info = self._inner.read()
        # By its looks, whatever the record names: a child has one lock after another, the first while it has no state.
        is_ours = info is not None and (belongs(info, record) or belongs(info, _unnamed(record)))
        return info if is_ours else None

    def free_inner(self, record: LockRecord) -> None:
        """Free the inner lock that belongs to our record, now that no child has it: exactly that, or nothing."""
        if info := self.find_inner(record):
            self._free(info.id)

    def free_forgotten(self, info: LockInfo) -> None:
        """Free the lock under which a child makes a state, unless it still has to be made."""
        if self._inner.has_state():
            self._free(info.id)

    # --- how ----------------------------------------------------------------------------------------------------

    def _inheriting(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        info = self._inner.read()
        if info is None or record.lease is None:
            return record
        if not belongs(info, seen):
            blocker = Conflict("somebody else has Terraform's own lock")
            blocker.record = _alone(info)
            raise blocker
        self._inherited = info.id
        return msgspec.structs.replace(record, lease=msgspec.structs.replace(record.lease, inner=info.id))

    def _is_to_be_freed(self, info: LockInfo, seen: LockRecord) -> bool:
        """One that is known by its looks alone is freed only while the guard is there: else it may be another's."""
        if info.id in (seen.id, self._inherited):
            return True
        if not self.may_be_left or not belongs(info, seen):
            return False
        if info.id in _names(seen):
            return True
        now = self._guard.read()
        return now is not None and now.id == seen.id

    def _free(self, lock_id: str) -> None:
        try:
            self._inner.free(lock_id)
        except Conflict:
            found = self._inner.read()  # Freed meanwhile, by its child or by a person; or the answer was lost before.
            if found is not None and found.id == lock_id:
                raise StoreUnavailable("Terraform's own lock is still held, though we have freed it.") from None


def belongs(info: LockInfo, guard: LockRecord) -> bool:
    """Whether an inner lock is that of a guard's child, as the module says."""
    if guard.info is None or guard.lease is None:
        return False
    if info.id in _names(guard):
        return True
    if guard.lease.inner:
        return False
    taken, guarded = parse_created(info.created), parse_created(guard.info.created)
    return (
        (info.who, info.version) == (guard.info.who, guard.info.version)
        and _runs_under(info.operation, guard.info.operation)
        and taken is not None
        and guarded is not None
        and taken >= guarded
    )


def _runs_under(operation: str, ours: str) -> bool:
    is_same = operation in (ours, IMPLICIT) or ours == _ANY
    return is_same or (operation, ours) == (_PLAN, _APPLY)


def _names(guard: LockRecord) -> tuple[str, ...]:
    return tuple(filter(None, (guard.id, guard.lease.inner if guard.lease else "")))


def _unnamed(record: LockRecord) -> LockRecord:
    assert record.lease is not None
    return msgspec.structs.replace(record, lease=msgspec.structs.replace(record.lease, inner=""))


def _named(guard: LockRecord) -> LockRecord:
    """The guard's record; what a person gives to `terraform force-unlock` is the inner lock's ID."""
    inner = guard.lease.inner if guard.lease else ""
    return msgspec.structs.replace(guard, force_unlock_id=inner) if inner else guard


def _alone(info: LockInfo) -> LockRecord:
    return LockRecord(text=info.encode(), info=info, version=f"{_INNER}{info.id}")


def _is_inner(record: LockRecord) -> bool:
    return record.version.startswith(_INNER)
