"""What front and keeper say to each other arrives whole, in order, with its descriptors, and never raises."""

from __future__ import annotations

import os
import socket

import pytest

from tests.support.eventually import eventually
from tests.support.fakes import acquire
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec, S3Spec
from tfguard.backends.local.spec import LocalSpec
from tfguard.backends.target import Target
from tfguard.guard import messages
from tfguard.lock import protocol
from tfguard.lock.store import LockRecord
from tfguard.process import channel


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    front, keeper = channel.front_end(one), channel.keeper_end(other)
    yield front, keeper
    front.close()
    keeper.close()


def collect(channel, count, sender=None):
    found = []
    while len(found) < count and channel.is_open:
        if sender is not None:
            sender.flush()
        found += channel.receive()
    return found


def test_messages_arrive_whole_and_in_order(ends):
    front, keeper = ends
    sent = [
        messages.Interrupt(reason="SIGINT\n\"ünï'"),
        messages.ChildHeard(),
        protocol.Release(outcome="failed", exit_code=-9),
    ]

    for message in sent:
        front.send(message)

    assert collect(keeper, 3) == sent


def test_a_message_larger_than_a_read_arrives_whole(ends):
    front, keeper = ends
    message = protocol.Lost(kind="another's", record=LockRecord(text="x" * 60_000, info=None))
    for _ in range(9):
        keeper.send(message)

    assert collect(front, 9, keeper) == [message] * 9


def test_an_end_that_does_not_read_stops_nobody(ends):
    """It was stopped, say: every heartbeat is told, and the last one is what it needs to know."""
    front, keeper = ends
    beats = 5_000

    for beat in range(beats):
        keeper.send(protocol.Beaten(beat=beat, base=float(beat)))

    assert not keeper.flush()
    heard = []
    while not heard or heard[-1].beat < beats - 1:
        keeper.flush()
        heard += front.receive()
    assert len(heard) < beats
    assert [message.beat for message in heard] == sorted(message.beat for message in heard)


def test_what_is_no_mere_news_is_kept_for_an_end_that_does_not_read(ends):
    front, keeper = ends
    filling = protocol.Lost(kind="another's", record=LockRecord(text="x" * 300_000, info=None))
    said = [protocol.Releasing(), protocol.Beaten(beat=1, base=1.0), protocol.Released(result="released")]
    keeper.send(filling)

    for message in said:
        keeper.send(message)

    assert collect(front, 4, keeper) == [filling, *said]


def test_descriptors_arrive_beside_their_message(ends):
    front, keeper = ends
    read, write = os.pipe()
    front.send(messages.Spawn(argv=["x"], directory="/", environ={}), [write])
    collect(keeper, 1)

    (received,) = keeper.take_descriptors(1)

    os.write(received, b"hello")
    assert os.read(read, 5) == b"hello"
    assert not os.get_inheritable(received)
    for end in (read, write, received):
        os.close(end)


def test_more_descriptors_than_the_kernel_takes_at_once_arrive_in_their_order(ends):
    front, keeper = ends
    read, write = os.pipe()
    front.send(messages.Spawn(argv=["x"], directory="/", environ={}), [*[read] * 599, write])
    collect(keeper, 1)

    received = keeper.take_descriptors(700)

    assert len(received) == 600
    os.write(received[-1], b"hello")
    assert os.read(received[0], 5) == b"hello"
    for end in (read, write, *received):
        os.close(end)


def test_a_sender_may_close_its_descriptors_before_they_are_read(ends):
    """The reader was stopped, say: by the time it goes on, their numbers are others'."""
    front, keeper = ends
    filling = messages.Spawn(argv=["x" * 300_000], directory="/", environ={})
    before = len(os.listdir("/dev/fd"))
    read, write = os.pipe()
    front.send(filling)

    front.send(messages.Spawn(argv=["x"], directory="/", environ={}), [write])
    os.close(write)

    collect(keeper, 2, front)
    (received,) = keeper.take_descriptors(1)
    os.write(received, b"hello")
    assert os.read(read, 5) == b"hello"
    for end in (read, received):
        os.close(end)
    assert len(os.listdir("/dev/fd")) == before


def test_the_other_ends_death_is_learnt_by_reading_and_never_raises(ends):
    front, keeper = ends
    keeper.close()

    front.send(messages.ChildHeard())
    eventually(lambda: front.receive() or not front.is_open)

    assert not front.is_open


@pytest.mark.parametrize(
    ("specs", "heartbeat"),
    [
        ((DynamoDBSpec(table="t", lock_id="l", aws=AwsAccess()),), 10.0),
        ((S3Spec(bucket="b", key="k", aws=AwsAccess()),), 15.0),
        ((S3Spec(bucket="b", key="k", aws=AwsAccess()), DynamoDBSpec(table="t", lock_id="l", aws=AwsAccess())), 15.0),
    ],
)
def test_what_a_lock_is_kept_in_decides_how_often_it_beats(specs, heartbeat):
    assert _acquire(specs).deadlines().heartbeat == heartbeat


def test_a_local_lock_has_no_deadlines():
    assert _acquire((LocalSpec(path="/state"),)).deadlines() is None


def _acquire(specs):
    target = Target(label="l", path="p", backend="s3", workspace="default", stores=specs)
    return acquire(target=target, lease_seconds=180.0)
