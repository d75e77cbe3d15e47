"""The register on GitLab: whatever the order of requests, each write has either happened, or never."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence

import pytest

from tests.support.interleaving import Client, every_order
from tfguard.backends.http.gitlab import GitLabGuardStore
from tfguard.backends.http.spec import GitLabGuardSpec
from tfguard.backends.net.transport import Request, Response
from tfguard.errors import Conflict
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.store import Holder, Lease, LockRecord

ADDRESS = "https://gitlab.example.com/api/v4/projects/7/terraform/state/app"
#: What a client changes: from whose lock to whose, "" is free.
Change = tuple[str, str]
RELEASE, UNLOCK = ("H", ""), ("H", "")
TAKE, TAKE_TOO = ("", "A"), ("", "B")
STEAL, STEAL_TOO = ("H", "S"), ("H", "T")
BEAT = ("H", "H'")
#: Looks first, then frees what it has seen.
SEEN = "*"
UNLOCK_LATER = (SEEN, "")


class Versions:
    """GitLab's rules for the versions of a state: the greatest serial is read, and none is taken twice."""

    def __init__(self) -> None:
        self.kept: dict[int, bytes] = {}

    def send(self, request: Request, _limit: int) -> Response:
        deleted = re.search(r"/versions/(\d+)$", request.url)
        if request.method == "GET":
            return Response(200, {}, self.kept[max(self.kept)]) if self.kept else Response(404, {}, b"")
        if deleted:
            return Response(200 if self.kept.pop(int(deleted[1]), None) else 404, {}, b"")
        serial = json.loads(request.body)["serial"]
        if serial in self.kept:
            return Response(422, {}, b"")
        self.kept[serial] = request.body
        return Response(200, {}, b"")

    def store(self, before: Callable[[], None] = lambda: None) -> GitLabGuardStore:
        store = GitLabGuardStore(GitLabGuardSpec(address=ADDRESS))

        def send(request: Request, limit: int) -> Response:
            before()
            return self.send(request, limit)

        store._client.transport.send = send  # type: ignore[method-assign]
        return store

    def holder(self) -> str:
        record = self.store().read()
        return record.id if record else ""


def record(lock_id: str) -> LockRecord:
    info = LockInfo(id=lock_id, operation="apply", who="ana@ci", created="2026-11-20T10:00:00Z")
    return LockRecord(text=info.encode(), info=info, lease=Lease(beat=0, duration_ms=1, holder=Holder(who="ana")))


def changing(versions: Versions, change: Change) -> Client:
    """One who has seen what the lock is, and changes that; returns whether it was told that it has."""
    before, after = change
    turns: list[Callable[[], None]] = []
    store = versions.store(lambda: turns[0]() if turns else None)
    held = store.read() if before == "H" else None

    def client(await_turn: Callable[[], None]) -> bool:
        turns.append(await_turn)
        seen = held or store.read()
        if (seen is None) != (before == ""):
            return False
        try:
            if seen is None:
                store.create(record(after))
            elif after:
                store.replace(seen, record(after))
            else:
                store.delete(seen)
        except Conflict:
            return False
        return True

    return client


def is_explained(changes: Sequence[Change], told: Sequence[bool], end: str) -> bool:
    """Whether they can have happened one after another, so that each was told the truth, and this is the end."""
    for order in itertools.permutations(range(len(changes))):
        now = "H"
        for number in order:
            before, after = changes[number]
            if before == SEEN:  # It may have seen something else by the time that it writes.
                can_be = not told[number] or now != ""
            else:
                can_be = (before == now) is told[number]
            if not can_be:
                break
            now = after if told[number] else now
        else:
            if now == end:
                return True
    return False


@pytest.mark.parametrize(
    "changes",
    [
        (RELEASE, TAKE),
        (RELEASE, UNLOCK),
        (BEAT, UNLOCK),
        (BEAT, STEAL),
        (STEAL, STEAL_TOO),
        (UNLOCK, STEAL),
        (BEAT, UNLOCK_LATER),
        (RELEASE, UNLOCK_LATER),
        pytest.param((RELEASE, TAKE, TAKE_TOO), marks=pytest.mark.long),
        pytest.param((BEAT, UNLOCK, TAKE), marks=pytest.mark.long),
        pytest.param((BEAT, UNLOCK_LATER, STEAL), marks=pytest.mark.long),
    ],
    ids=lambda changes: " ".join(f"{before or '-'}>{after or '-'}" for before, after in changes),
)
def test_in_every_order_of_requests_each_is_told_what_has_happened(changes: tuple[Change, ...]) -> None:
    def begin() -> tuple[list[Client], Versions]:
        versions = Versions()
        versions.kept[7] = json.dumps({"serial": 7, "content": None}).encode()
        store = versions.store()
        store.read()
        store.create(record("H"))
        return [changing(versions, change) for change in changes], versions

    orders = 0
    for order, told, versions in every_order(begin):
        orders += 1
        assert is_explained(changes, told, versions.holder()), (order, told, versions.kept)

    assert orders > 5
