"""
The lock of a workspace. HCP Terraform knows who has locked it, and for what reason: one text, which has our lock's ID.

Not promised: nothing here is conditional on that ID. Between a look at the reason and an unlock somebody of the same
token could unlock and lock again. All tfguards are ordered by the guard; for a plain Terraform that uses the same token
it is a window of one request, as wide as its own unlock has it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from tfguard.backends.hcp.client import Client, Workspace
from tfguard.errors import Conflict, StoreMisconfigured
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.store import BaseStore, LockRecord, QueueRecord
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.backends.hcp.spec import HcpSpec

_OURS = re.compile(r"tfguard ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}): (.*)", re.DOTALL)
_TERRAFORMS = "Locked by Terraform"
_MAX_REASON = 400


class HcpLockStore(BaseStore):
    """One workspace's lock. What is written here loses its lease."""

    has_leases = True

    def __init__(self, spec: HcpSpec) -> None:
        self._spec = spec
        self._client = Client(spec.hcp)

    @property
    def needs_guard(self) -> bool:
        return True

    @property
    def place(self) -> str:
        return f"{self._spec.hcp.host}/{self._name}"

    @property
    def date(self) -> datetime | None:
        return self._client.date

    def close(self) -> None:
        self._client.close()

    def read(self) -> LockRecord | None:
        return self._record(self._workspace())

    def create(self, record: LockRecord) -> LockRecord:
        self._client.lock(self._workspace().id, _reason(record))
        return msgspec.structs.replace(record, lease=None, version="", force_unlock_id=self._name)

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        if record.id == seen.id:
            return msgspec.structs.replace(seen, lease=None)
        self.delete(seen)
        return self.create(record)

    def delete(self, seen: LockRecord) -> None:
        workspace = self._workspace()
        found = self._record(workspace)
        if found is None or found.id != seen.id:
            raise Conflict(f"{self.place}: another's, or nobody's")
        if seen.id != self._name:
            with suppress(Conflict):
                self._client.unlock(workspace.id)
                return
            workspace = self._workspace()
            found = self._record(workspace)
            if found is None or found.id != seen.id:
                raise Conflict(f"{self.place}: another's, or nobody's")
        # Another token's: whoever unlocks it needs the right to do so by force.
        self._client.unlock(workspace.id, is_forced=True)

    def read_queue(self) -> QueueRecord | None:
        return None

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        raise StoreMisconfigured(f"{self.place} has no room for a queue record.")

    @property
    def _name(self) -> str:
        """What `terraform force-unlock` takes."""
        return f"{self._spec.organization}/{self._spec.workspace}"

    def _workspace(self) -> Workspace:
        return self._client.workspace(self._spec.organization, self._spec.workspace)

    def _record(self, workspace: Workspace) -> LockRecord | None:
        if not workspace.attributes.locked:
            return None
        reason = workspace.attributes.locked_reason or ""
        ours = _OURS.fullmatch(reason)
        who = ours[2].partition(",")[0] if ours else ": ".join(filter(None, [workspace.holder, _said(reason)]))
        info = LockInfo(id=ours[1] if ours else self._name, who=printable(who, 80), info=printable(reason, _MAX_REASON))
        return LockRecord(text=info.encode(), info=info, force_unlock_id=self._name)


def _said(reason: str) -> str:
    """Why a person, a team or a run has locked it; Terraform itself says no more than that it has."""
    return "" if reason == _TERRAFORMS else reason


def _reason(record: LockRecord) -> str:
    words = [record.info.who if record.info else ""]
    if record.lease is not None:
        holder = record.lease.holder
        held = f"until {record.lease.hold_until}: {record.lease.reason}" if record.lease.hold_until else ""
        words = [holder.who, holder.command, holder.run, holder.link, held]
    said = printable(", ".join(word for word in words if word), _MAX_REASON)
    return f"tfguard {record.id}: {said}"
