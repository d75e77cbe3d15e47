"""What a successor is told of how far its predecessor had come."""

from __future__ import annotations

import pytest

from tests.simulation.actors import request
from tfguard.guard.handover import Handover
from tfguard.lock import protocol

REQUEST = request("ana", lease=180.0, timeout=60.0, stores=1)
HELD = protocol.Held(lock_id="ours", beat=0, base=1.0, token=7, waited_seconds=12.0)


@pytest.fixture
def journal():
    """Of a keeper that holds the lock."""
    made = Handover()
    made.note(protocol.Trying(lock_id="ours", base=1.0))
    made.note(HELD)
    return made


def test_before_anything_was_tried_a_successor_begins_anew():
    assert Handover().handover(REQUEST, child=0) is REQUEST


def test_a_successor_goes_on_from_the_last_beat_that_had_landed(journal):
    journal.note(protocol.Beaten(beat=3, base=31.0))

    told = journal.handover(REQUEST, child=4711)

    assert (told.lock.stage, told.lock.lock_id, told.lock.token, told.child) == ("held", "ours", 7, 4711)
    assert (told.lock.beat, told.lock.base) == (3, 31.0)
    assert (told.lock.held_at, told.lock.waited_seconds) == (1.0, 12.0)


def test_a_successor_is_told_that_what_carried_the_lock_has_ended(journal):
    journal.note(protocol.Doubted(at=31.0))

    assert journal.handover(REQUEST, child=4711).lock.doubted_at == 31.0


def test_what_lay_there_before_the_first_program_is_told_however_many_follow(journal):
    journal.begin("an old state")
    journal.begin("what the first program has left")

    assert journal.handover(REQUEST, child=0).errored_before == "an old state"


def test_before_any_program_nothing_is_known_to_be_old(journal):
    assert journal.handover(REQUEST, child=0).errored_before is None


def test_a_successor_inside_another_tfguard_is_told_that_the_lock_is_not_ours():
    journal = Handover()
    journal.note(protocol.Held(lock_id="outer", beat=0, base=0.0, is_nested=True))

    told = journal.handover(REQUEST, child=4711)

    assert (told.lock.stage, told.lock.lock_id, told.lock.is_nested) == ("held", "outer", True)


def test_a_successor_is_told_by_which_other_id_terraform_knows_the_lock():
    journal = Handover()
    journal.note(protocol.Held(lock_id="ours", force_unlock_id="1764380000000001", beat=0, base=0.0))

    assert journal.handover(REQUEST, child=4711).lock.force_unlock_id == "1764380000000001"
