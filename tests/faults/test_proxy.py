"""The fault proxy itself: what lands, and what is heard."""

from __future__ import annotations

import threading

import pytest

from tests.contract.kinds import lease, record
from tests.faults.proxy import HANGS, LATE, LOST, PASSES, TWICE, UNHEARD, Fate, failed, refused, slow
from tests.faults.scene import Scene
from tests.support.eventually import eventually
from tfguard.errors import ActionDenied, StoreUnavailable
from tfguard.lock.store import QueueRecord


@pytest.mark.parametrize(
    ("fate", "heard", "has_landed"),
    [
        (PASSES, None, True),
        (TWICE, None, True),
        (slow(0.01), None, True),
        (LOST, StoreUnavailable, False),
        (UNHEARD, StoreUnavailable, True),
        (LATE, StoreUnavailable, False),
        (refused("500"), StoreUnavailable, False),
        (refused("throttled"), StoreUnavailable, False),
        (refused("denied"), ActionDenied, False),
        (failed("500"), StoreUnavailable, True),
    ],
)
def test_a_fate_says_what_lands_and_what_is_heard(
    scene: Scene, fate: Fate, heard: type[Exception] | None, *, has_landed: bool
) -> None:
    scene.proxy.on("create", fate)

    answered = None
    try:
        scene.through().create(record(lease=lease()))
    except Exception as error:  # noqa: BLE001 - which one it is, is the claim
        answered = type(error)

    assert answered is heard
    assert (scene.record() is not None) == has_landed
    assert len(scene.proxy.landed("create")) == has_landed


def test_what_was_held_back_lands_when_the_test_says_so(scene: Scene) -> None:
    scene.proxy.on("create", LATE)
    with pytest.raises(StoreUnavailable):
        scene.through().create(record(lease=lease()))

    assert scene.proxy.land_late() == [200]
    assert scene.record() is not None


def test_healing_ends_a_silence_and_nothing_of_it_lands(scene: Scene) -> None:
    scene.proxy.on("create", HANGS)
    healer = threading.Thread(target=lambda: (eventually(lambda: scene.proxy.asked("create")), scene.proxy.heal()))
    healer.start()

    with pytest.raises(StoreUnavailable, match="closed"):
        scene.through().create(record(lease=lease()))
    healer.join()

    assert scene.record() is None


def test_requests_are_known_by_what_they_do(scene: Scene) -> None:
    store = scene.through()
    first = store.create(record(lease=lease(0)))
    store.delete(store.replace(first, record(first.text, lease=lease(1))))
    store.write_queue(store.read_queue(), QueueRecord(text="{}", revision=1))

    for operation in ("create", "replace", "delete", "read_queue", "write_queue"):
        assert len(scene.proxy.asked(operation)) == 1, operation
    assert scene.proxy.beats() == [1]
    assert all(request.is_ours for request in scene.proxy.asked("create"))
