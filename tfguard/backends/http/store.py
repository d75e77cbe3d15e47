"""
Terraform's own lock on a server that speaks its http protocol. It knows an ID, and has no room for a lease.

Nobody can ask who holds it: a lock that is refused tells. So a look is a lock with an ID of a look's own, which is
undone at once where it succeeds. Should whoever looks die in between, that ID tells what it is, and whoever sees it for
long enough takes it over, as any other lock whose holder is dead.
"""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from tfguard.backends.http.addresses import shown
from tfguard.backends.http.client import Client
from tfguard.backends.net.transport import Response
from tfguard.errors import Conflict, StoreMisconfigured, StoreUnavailable
from tfguard.lock import lockinfo
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.store import BaseStore, Holder, Lease, LockRecord, QueueRecord

if TYPE_CHECKING:
    from tfguard.backends.http.spec import HttpSpec

_LOCKED = (409, 423)
_NO_LEASE = "No lease can stand on that. Set in tfguard.yml: lock: {mode: named, name: …, store: …}"
_LOOK = "tfguard-look-"
#: A look is over after one more request: whoever still stands there after so long is dead.
_LOOK_LEASE = Lease(beat=0, duration_ms=30_000, holder=Holder(who="a look of tfguard's"), is_changing=False)
#: Somebody's look is waited for so often, each time so many seconds: it is no lock.
_LOOKS, _LOOK_SECONDS = 6, 0.1


class HttpLockStore(BaseStore):
    """One lock at a server. What is written here loses its lease."""

    has_leases = True

    def __init__(self, spec: HttpSpec) -> None:
        self._spec = spec
        self._client = Client(spec.http)
        self._doubtful: LockRecord | None = None

    @property
    def needs_guard(self) -> bool:
        return True

    @property
    def refuses_late_writes(self) -> bool:
        return True

    @property
    def place(self) -> str:
        return shown(self._spec.lock_address)

    @property
    def date(self) -> datetime | None:
        return self._client.date

    def close(self) -> None:
        self._client.close()

    def prove_conditional(self, record: LockRecord) -> None:
        if self._spec.is_gitlab:
            return
        look = _info(f"{_LOOK}{uuid.uuid4()}")
        with suppress(Conflict):
            self._unlock(look)
            raise StoreMisconfigured(
                f"The server unlocks a lock for whoever asks, whatever its ID: {shown(self._spec.unlock_address)}.",
                _NO_LEASE,
            )
        found = self._lock(look)
        if found is None:  # Ours is gone: that is told by the next look at it.
            with suppress(Conflict):
                self._unlock(look)
        elif found.info is None:
            raise StoreMisconfigured(
                f"The server does not say who holds a lock, which it refuses to others: {self.place}.", _NO_LEASE
            )

    def try_identity(self) -> bool:
        """
        Prove the same where nobody holds the lock, with one of a look's own; return whether that could be tried.

        Raises StoreMisconfigured as `prove_conditional` does, and as a store does.
        """
        look = _info(f"{_LOOK}{uuid.uuid4()}")
        if self._lock(look) is not None:
            return False
        try:
            self.prove_conditional(LockRecord(text=look, info=lockinfo.decode(look)))
        finally:
            with suppress(Conflict):
                self._unlock(look)
        return True

    def read(self) -> LockRecord | None:
        doubtful, self._doubtful = self._doubtful, None
        if doubtful is not None:
            # Again with the same ID: then it cannot land later, when nobody expects it.
            return self._lock(doubtful.text) or doubtful
        look = _info(f"{_LOOK}{uuid.uuid4()}")
        try:
            found = self._lock(look)
        except StoreUnavailable:
            # It may have landed. If so, nobody but us frees it before it is taken for dead.
            with suppress(Conflict, StoreUnavailable):
                self._unlock(look)
            raise
        if found is None:
            with suppress(Conflict):
                self._unlock(look)
        return found

    def create(self, record: LockRecord) -> LockRecord:
        mine = msgspec.structs.replace(record, lease=None, version="")
        for _ in range(_LOOKS):
            try:
                found = self._lock(mine.text)
            except StoreUnavailable:
                self._doubtful = mine
                raise
            if found is None:
                return mine
            if not found.id.startswith(_LOOK):
                break
            time.sleep(_LOOK_SECONDS)
        raise Conflict(f"{self.place}: locked")

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        if record.id == seen.id:
            return msgspec.structs.replace(seen, lease=None)
        self.delete(seen)
        return self.create(record)

    def delete(self, seen: LockRecord) -> None:
        # Whose lock it is, nobody can say: without an ID, as `terraform force-unlock` asks for it.
        self._unlock(seen.text if seen.info is not None else "")

    def read_queue(self) -> QueueRecord | None:
        return None

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        raise StoreMisconfigured(f"{self.place} has no room for a queue record.")

    def _lock(self, text: str) -> LockRecord | None:
        """Try to lock; return who holds it, None if that is we now."""
        response = self._client.ask(self._spec.lock_method, self._spec.lock_address, text.encode(), (200, *_LOCKED))
        return None if response.status == 200 else self._held(response)

    def _unlock(self, text: str) -> None:
        # A server may know no lock to be gone by 404 as well.
        expected = (200, 404, *_LOCKED)
        response = self._client.ask(self._spec.unlock_method, self._spec.unlock_address, text.encode(), expected)
        if response.status != 200:
            raise Conflict(f"{self.place}: another's, or nobody's")

    def _held(self, response: Response) -> LockRecord:
        text = response.body.decode("utf-8", "replace")
        info = lockinfo.decode(text)
        if info is not None and self._spec.is_gitlab:
            # Of what GitLab says, the rest is ours: who asks, and what for.
            info = LockInfo(id=info.id, who=info.who, created=info.created)
            text = info.encode()
        lease = _LOOK_LEASE if info is not None and info.id.startswith(_LOOK) else None
        return LockRecord(text=text, info=info, lease=lease)


def _info(lock_id: str) -> str:
    return LockInfo(id=lock_id, operation="look", info="tfguard", who="tfguard").encode()
