"""
A guard and what it guards, on real servers: each request of a lock's life lost, unheard, refused or doubled, in turn.

What one operation is made of (on GitLab a write, a look and a deletion) is broken in each of its parts. Decisions
about the two halves are in `tests/lock/test_guarded.py`, real Terraforms in `tests/e2e`.
"""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.conftest import Azure, Gcs, States
from tests.support.authority import Authority
from tests.support.fakes import FakeClock, T, draft
from tests.support.hcp_server import hcp_serving
from tfguard.backends.azurerm.spec import AzureAccess, AzureSpec
from tfguard.backends.azurerm.store import StateLease
from tfguard.backends.gcs.spec import GcsAccess, GcsSpec
from tfguard.backends.hcp.spec import HcpAccess, HcpSpec
from tfguard.backends.http.spec import GitLabGuardSpec, HttpSpec
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.transport import Request, Response
from tfguard.clock import created
from tfguard.errors import LeaseLost, StoreUnavailable
from tfguard.lock.acquire import Acquirer, Busy
from tfguard.lock.guarded import GuardedStore
from tfguard.lock.inner_watch import InnerWatch
from tfguard.lock.lease import HeldLock
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.store import Store

pytestmark = pytest.mark.emulator

#: What becomes of one request: it lands and nobody hears; it never arrives; it is answered 500; it lands twice.
Fate = Literal["unheard", "lost", "refused", "twice"]
FATES: tuple[Fate, ...] = ("unheard", "lost", "refused", "twice")
#: Gives the specs of one lock that nobody has used, each time another.
Pairs = Callable[[], Sequence[Any]]
_TRIES = 40


@dataclass
class Network:
    """Counts the requests of stores once it is `armed`, and breaks the one whose turn it is."""

    turn: int = 0
    fate: Fate = "lost"
    count: int = 0
    is_armed: bool = False
    has_broken: str = ""
    opened: list[Store] = field(default_factory=list)

    def stores(self, specs: Sequence[Any]) -> list[Store]:
        """Open another process's stores of this lock."""
        made = [spec.open() for spec in specs]
        self.opened += made
        for store in made:
            guard: Any = store._guard if isinstance(store, GuardedStore) else store
            transport = (guard.client if hasattr(guard, "client") else guard._client).transport
            transport.send = self._before(transport.send)
        return made

    def _before(self, send: Callable[[Request, int], Response]) -> Callable[[Request, int], Response]:
        def sent(request: Request, limit: int) -> Response:
            self.count += self.is_armed
            if not self.is_armed or self.count != self.turn:
                return send(request, limit)
            self.has_broken = f"{self.fate} {request.method} {request.url}"
            if self.fate == "refused":
                return Response(500, {}, b"")
            answer = send(request, limit) if self.fate != "lost" else None
            if self.fate == "twice":
                send(request, limit)
            if answer is None or self.fate == "unheard":
                raise NoAnswer("it took too long")
            return answer

        return sent


@dataclass
class Life:
    """A lock's life, on a clock of its own; `specs` say where."""

    specs: Sequence[Any]
    network: Network
    clock: FakeClock = field(default_factory=FakeClock)
    #: Another network, of those who look on.
    beside: Network = field(default_factory=Network)

    def __post_init__(self) -> None:
        self.stores = self.network.stores(self.specs)
        self.acquirer = Acquirer(self.stores, draft(), self.clock)

    def acquire(self, acquirer: Acquirer | None = None) -> HeldLock:
        """Try until it is held, as who waits does."""
        for _ in range(_TRIES):
            try:
                return (acquirer or self.acquirer).try_acquire()
            except (Busy, StoreUnavailable):
                self.clock.advance(5.0)
        raise AssertionError(f"never held after: {self.network.has_broken}")

    def beat(self, lock: HeldLock) -> None:
        """Try until a heartbeat has landed."""
        before = lock.base
        for _ in range(_TRIES):
            self.clock.advance(1.0)
            with contextlib.suppress(StoreUnavailable):
                lock.renew()
            if lock.base > before:
                return
        raise AssertionError(f"never beaten after: {self.network.has_broken}")

    def release(self, lock: HeldLock) -> None:
        """Try until it is given back."""
        for _ in range(_TRIES):
            try:
                lock.release()
            except StoreUnavailable:
                continue
            return
        raise AssertionError(f"never released after: {self.network.has_broken}")

    def lock_as_a_child(self) -> LockInfo | None:
        """Take Terraform's own lock as the child of this run, where that is the child's."""
        for store in self.beside.stores(self.specs):
            if isinstance(store, GuardedStore):
                assert isinstance(store._inner, StateLease)
                now = created(self.clock.now())
                theirs = draft().info
                info = LockInfo(
                    id=str(uuid.uuid4()),
                    operation=theirs.operation,
                    who=theirs.who,
                    version=theirs.version,
                    created=now,
                )
                store._inner.take(info)
                return info
        return None

    def inner(self) -> str:
        """The ID of Terraform's own lock, empty where it is free, or is not the child's."""
        found = [each._inner.read() for each in self.beside.stores(self.specs) if isinstance(each, GuardedStore)]
        return found[0].id if found and found[0] else ""

    def ids(self) -> list[str]:
        """Which lock is in each of the stores, as somebody else sees it."""
        found = [store.read() for store in self.beside.stores(self.specs)]
        return [record.id for record in found if record is not None]


def acquired(life: Life) -> Iterator[None]:
    """A free lock is taken, and is one lock."""
    yield
    lock = life.acquire()

    assert life.ids() == [lock.id] * len(life.specs)
    assert life.clock.seconds - 1000.0 < T, "it has waited for itself"
    life.release(lock)


def beaten(life: Life) -> Iterator[None]:
    """A heartbeat is made again, and no loss is seen."""
    lock = life.acquire()
    child = life.lock_as_a_child()
    yield
    life.beat(lock)

    assert life.ids() == [lock.id] * len(life.specs)
    assert life.inner() == (child.id if child else "")
    life.release(lock)


def learnt(life: Life) -> Iterator[None]:
    """The child's lock is named, or looked for again."""
    lock = life.acquire()
    child = life.lock_as_a_child()
    watch = InnerWatch(life.stores, may_be_left=True)
    yield
    for _ in range(_TRIES):
        if (found := watch.learn(lock)) is not None:
            with contextlib.suppress(StoreUnavailable):
                lock.renew(inner=found)

    lease = lock.leases[0].record.lease
    assert lease is not None and lease.inner == (child.id if child else "")
    life.release(lock)


def released(life: Life) -> Iterator[None]:
    """What a killed child has left goes with the rest."""
    lock = life.acquire()
    life.lock_as_a_child()
    yield
    life.release(lock)


def taken_over(life: Life) -> Iterator[None]:
    """Of a dead run all goes, and only once its lease is over; if it wakes up, it knows."""
    dead = life.acquire()
    life.lock_as_a_child()
    heir = Life(life.specs, life.network, life.clock, life.beside)
    with pytest.raises(Busy):
        heir.acquirer.try_acquire()
    life.clock.advance(T + 1)
    yield
    lock = heir.acquire()
    for _ in range(_TRIES):
        with contextlib.suppress(StoreUnavailable):
            InnerWatch(heir.stores).clear_after_dead(lock)
            break

    life.network.is_armed = False
    assert lock.id != dead.id, life.network.has_broken
    assert lock.dead is not None, life.network.has_broken
    assert life.ids() == [lock.id] * len(life.specs)
    assert life.inner() == ""
    with pytest.raises(LeaseLost):
        dead.renew()
    life.release(lock)


PHASES = (acquired, beaten, released, taken_over)
#: Only Azure's lock is the child's own, and to be learnt.
ROWS = [("azurerm", learnt), *itertools.product(("azurerm", "gitlab", "strict", "hcp"), PHASES)]


@pytest.fixture
def pairs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pairs]:
    with contextlib.ExitStack() as stack:
        yield _made(request, tmp_path, monkeypatch, stack)


def _made(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: contextlib.ExitStack
) -> Pairs:
    serial = itertools.count()
    if request.param == "azurerm":
        azure: Azure = request.getfixturevalue("azure")
        for name, value in azure.environ.items():
            monkeypatch.setenv(name, value)
        container, access = azure.container(), AzureAccess(account=azure.account, access_key=azure.key)

        def of_azure() -> Sequence[Any]:
            key = f"prod-{next(serial)}.tfstate"
            return (AzureSpec(container=container, key=f".tfguard/{key}.lock", azure=access, state_key=key),)

        return of_azure
    states: States = request.getfixturevalue("states")
    if request.param == "gitlab":

        def of_gitlab() -> Sequence[Any]:
            address = states.gitlab()
            lock = {"lock_address": f"{address}/lock", "unlock_address": f"{address}/lock"}
            how = {"lock_method": "POST", "unlock_method": "DELETE"}
            return GitLabGuardSpec(address=address), HttpSpec(address=address, is_gitlab=True, **lock, **how)

        return of_gitlab
    gcs: Gcs = request.getfixturevalue("gcs")
    bucket, way = gcs.bucket(), GcsAccess(access_token="token", endpoint=gcs.endpoint)
    guard = lambda: GcsSpec(bucket=bucket, key=f"{next(serial)}.tflock", gcs=way, is_guard=True)  # noqa: E731
    if request.param == "strict":

        def of_strict() -> Sequence[Any]:
            address = states.other("strict")
            return guard(), HttpSpec(address=address, lock_address=address, unlock_address=address)

        return of_strict
    hcp = stack.enter_context(hcp_serving(Authority(tmp_path)))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))

    def of_hcp() -> Sequence[Any]:
        name = hcp.add(f"app-{next(serial)}").name
        return guard(), HcpSpec(organization="acme", workspace=name, hcp=HcpAccess(host=hcp.host, token="token-of-ana"))

    return of_hcp


@pytest.mark.parametrize("fate", ["unheard", *(pytest.param(fate, marks=pytest.mark.long) for fate in FATES[1:])])
@pytest.mark.parametrize(("pairs", "phase"), ROWS, indirect=["pairs"])
def test_no_single_fault_loses_doubles_or_leaves_a_lock(
    pairs: Pairs, phase: Callable[[Life], Iterator[None]], fate: Fate
) -> None:
    for turn in itertools.count(1):
        network, beside = Network(turn, fate), Network()
        try:
            _live(Life(pairs(), network, beside=beside), phase)
        finally:
            for store in (*network.opened, *beside.opened):
                store.close()
        if not network.has_broken:
            break


def _live(life: Life, phase: Callable[[Life], Iterator[None]]) -> None:
    steps = phase(life)
    next(steps)
    life.network.is_armed = True
    assert next(steps, "over") == "over", "a phase has two steps"

    assert life.ids() == [], f"left after: {life.network.has_broken}"
    assert life.inner() == "", f"left after: {life.network.has_broken}"
