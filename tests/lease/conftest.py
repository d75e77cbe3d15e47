"""One lock in a scripted store, on a clock that only the test moves."""

from __future__ import annotations

import pytest

from tests.fakes import FakeClock, ScriptedStore, draft
from tfguard.lease import Acquirer


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
