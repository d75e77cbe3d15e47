"""One lock in a scripted store, on a clock that only the test moves."""

from __future__ import annotations

import pytest

from tests.support.fakes import FakeClock, ScriptedStore, draft
from tfguard.errors import StoreUnavailable
from tfguard.lock.acquire import Acquirer
from tfguard.lock.lease import HeldLock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return ScriptedStore(clock=clock)


@pytest.fixture
def acquirer(store, clock):
    return Acquirer([store], draft(), clock)


@pytest.fixture
def held(acquirer, store):
    lock = acquirer.try_acquire()
    store.log.clear()
    return lock


def beat_unheard(lock: HeldLock, store: ScriptedStore) -> None:
    """Send a beat that lands, and that its sender can learn nothing of."""
    store.on("replace", "after")
    store.on("read", "before")
    with pytest.raises(StoreUnavailable):
        lock.renew()
