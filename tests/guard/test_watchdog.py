"""What is done to the child, by the lease's silence alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfguard.guard.watchdog import Action, Watchdog
from tfguard.lock.deadlines import Deadlines

#: Lease 180 s: warning 30, interrupt 60, freeze 108.
BASE = 1000.0


@pytest.fixture
def dog():
    return Watchdog(Deadlines.of(180.0), BASE)


def after(dog, seconds):
    return dog.decide(BASE + seconds)


def test_a_fresh_lease_leaves_the_child_alone(dog):
    assert after(dog, 29.9) == []


def test_silence_is_warned_of_once(dog):
    """R2"""
    assert after(dog, 30) == [Action.WARN]
    assert after(dog, 31) == []


def test_a_beat_that_lands_makes_the_next_silence_worth_a_warning(dog):
    """R2"""
    after(dog, 30)
    dog.landed(BASE + 30)

    assert after(dog, 59.9) == []
    assert after(dog, 60) == [Action.WARN]


def test_a_third_of_the_lease_in_silence_interrupts_exactly_once(dog):
    """R2"""
    after(dog, 30)

    assert after(dog, 60) == [Action.INTERRUPT]
    assert after(dog, 61) == []
    dog.landed(BASE + 60)
    assert Action.INTERRUPT not in after(dog, 130)


def test_a_child_that_has_had_its_signal_gets_no_other(dog):
    dog.is_interrupted = True

    assert Action.INTERRUPT not in after(dog, 60)


def test_the_one_signal_can_be_claimed_once(dog):
    assert dog.interrupt_once()
    assert not dog.interrupt_once()


def test_from_safe_until_on_the_child_is_frozen(dog):
    """R3: decided from the clock, whatever the heartbeat's request does."""
    assert dog.safe_until == BASE + 108
    assert Action.FREEZE not in after(dog, 107.9)
    assert after(dog, 108) == [Action.FREEZE]


def test_a_frozen_child_is_frozen_anew_at_every_look(dog):
    """A stranger's SIGCONT, or `fg` after Ctrl-Z, would let it go on."""
    assert [after(dog, seconds) for seconds in (108, 108.25, 500)] == [[Action.FREEZE]] * 3


def test_for_how_long_a_child_may_stay_frozen_counts_from_its_freeze():
    dog = Watchdog(Deadlines.of(180.0), BASE, freeze_timeout=60.0)
    assert dog.frozen_until == float("inf")

    after(dog, 120)
    after(dog, 150)

    assert dog.frozen_until == BASE + 180


def test_a_child_that_goes_on_may_be_frozen_for_as_long_again():
    dog = Watchdog(Deadlines.of(180.0), BASE, freeze_timeout=60.0)
    after(dog, 120)
    dog.landed(BASE + 130)

    after(dog, 131)

    assert dog.frozen_until == float("inf")


def test_nothing_is_killed_while_nobody_knows_whose_the_lock_is(dog):
    after(dog, 108)

    assert all(Action.KILL not in after(dog, seconds) for seconds in (180, 500, 5000))


def test_a_beat_that_lands_at_last_lets_a_frozen_child_go_on(dog):
    """R5"""
    after(dog, 108)
    dog.landed(BASE + 150)

    assert after(dog, 151) == [Action.THAW]
    assert after(dog, 152) == []


def test_waking_past_safe_until_freezes_and_does_nothing_else(dog):
    """P3"""
    assert after(dog, 3600) == [Action.FREEZE]


def test_waking_past_safe_until_and_finding_the_lease_ours_goes_on_unharmed(dog):
    """P3"""
    after(dog, 3600)
    dog.landed(BASE + 3600.5)

    assert after(dog, 3601) == [Action.THAW]
    assert not dog.is_interrupted


def test_a_beat_too_old_to_be_safe_thaws_nothing(dog):
    after(dog, 108)
    dog.landed(BASE + 5)

    assert after(dog, 114) == [Action.FREEZE]


def test_an_older_beat_never_takes_the_lease_back(dog):
    dog.landed(BASE + 20)
    dog.landed(BASE + 10)

    assert dog.safe_until == BASE + 128


def test_a_lock_that_is_gone_interrupts_once_and_lets_the_child_stop(dog):
    """L1"""
    dog.lose("gone")

    assert after(dog, 10) == [Action.INTERRUPT]
    assert after(dog, 20) == []


def test_a_lock_that_is_gone_ends_the_child_at_safe_until(dog):
    """L1"""
    dog.lose("gone")
    after(dog, 10)

    assert after(dog, 107.9) == []
    assert after(dog, 108) == [Action.FREEZE, Action.KILL]


def test_nothing_extends_a_lease_that_is_lost(dog):
    """L1"""
    dog.lose("gone")
    dog.landed(BASE + 100)

    assert dog.safe_until == BASE + 108


def test_anothers_lock_freezes_then_kills_at_once(dog):
    """L3"""
    dog.lose("another's")

    assert after(dog, 1) == [Action.FREEZE, Action.KILL]


def test_what_is_to_be_dead_is_killed_anew_at_every_look(dog):
    """It may have forked just then."""
    dog.lose("another's")

    assert [after(dog, seconds) for seconds in (1, 1.25)] == [[Action.FREEZE, Action.KILL]] * 2


def test_a_frozen_child_whose_lock_is_gone_is_killed(dog):
    after(dog, 108)
    dog.lose("gone")

    assert after(dog, 109) == [Action.FREEZE, Action.KILL]


def test_a_frozen_child_whose_lock_is_anothers_is_killed(dog):
    after(dog, 108)
    dog.lose("another's")

    assert after(dog, 109) == [Action.FREEZE, Action.KILL]


def test_anothers_outranks_gone(dog):
    dog.lose("gone")
    dog.lose("another's")

    assert dog.lost == "another's"


@pytest.mark.parametrize("second", ["gone", "expired"])
def test_anothers_stands(dog, second):
    dog.lose("another's")
    dog.lose(second)

    assert dog.lost == "another's"


def test_a_lock_that_the_kernel_ends_never_expires():
    dog = Watchdog(None, BASE)

    assert dog.safe_until == float("inf")
    assert after(dog, 1e9) == []


def test_a_lock_without_a_lease_can_still_be_anothers():
    dog = Watchdog(None, BASE)
    dog.lose("another's")

    assert after(dog, 1) == [Action.FREEZE, Action.KILL]


def test_a_lock_without_a_lease_that_is_gone_interrupts():
    dog = Watchdog(None, BASE)
    dog.lose("gone")

    assert after(dog, 1) == [Action.INTERRUPT]
    assert after(dog, 1e9) == []


def test_a_child_that_starts_when_it_is_unsafe_is_frozen_like_any_other(dog):
    """There was none to freeze when the deadline came."""
    after(dog, 108)

    dog.start_child()

    assert after(dog, 109) == [Action.FREEZE]


def test_each_child_has_its_own_signal(dog):
    after(dog, 60)

    dog.start_child()

    assert after(dog, 61) == [Action.INTERRUPT]


EVENTS = st.one_of(
    st.tuples(st.just("pass"), st.floats(0, 400)),
    st.tuples(st.just("land"), st.floats(0, 100)),
    st.tuples(st.just("lose"), st.sampled_from(["gone", "another's"])),
)


@given(st.lists(EVENTS, max_size=30))
def test_whatever_happens_the_child_writes_only_while_it_is_safe(events):
    """And is signalled once at most, killed only when lost, thawed only when frozen."""
    dog, now, done = Watchdog(Deadlines.of(180.0), 0.0), 0.0, []
    for kind, value in events:
        if kind == "pass":
            now += value
        elif kind == "land":
            dog.landed(now - value)
        else:
            dog.lose(value)
        before = dog.is_frozen
        actions = dog.decide(now)
        done += actions

        assert (Action.THAW in actions) <= before
        assert (Action.KILL in actions) <= (dog.lost is not None)
        assert Action.FREEZE in actions or (now < dog.safe_until and dog.lost != "another's")
        assert dog.is_frozen == (Action.FREEZE in actions)
    assert done.count(Action.INTERRUPT) <= 1


# --- a lock that may have ended without a word --------------------------------------------------------------------


def test_a_doubt_freezes_at_once_until_the_next_beat_lands(dog):
    dog.doubt(BASE + 1)
    frozen, unsafe = after(dog, 1), dog.safe_until
    dog.landed(BASE + 2)

    assert frozen == [Action.FREEZE]
    assert unsafe == BASE
    assert after(dog, 3) == [Action.THAW]
    assert dog.safe_until > BASE + 100


def test_a_beat_from_before_that_we_knew_of_ends_no_doubt(dog):
    dog.doubt(BASE + 1)
    dog.landed(BASE)

    assert after(dog, 1) == [Action.FREEZE]


def test_a_beat_that_was_on_its_way_already_ends_no_doubt(dog):
    """It was sent before the lock may have ended, whenever we hear of it."""
    dog.doubt(BASE + 2)
    dog.landed(BASE + 1)
    still = after(dog, 3)
    dog.landed(BASE + 2)

    assert still == [Action.FREEZE]
    assert after(dog, 4) == [Action.THAW]


def test_a_doubt_that_a_later_beat_has_overtaken_is_none(dog):
    """The page tells a front of a beat before the messages come that the keeper sent earlier."""
    dog.landed(BASE + 2)
    dog.doubt(BASE + 1)

    assert after(dog, 3) == []


def test_a_lock_that_was_unlocked_ends_the_doubt_with_the_one_signal(dog):
    """It is asked to stop, as after any unlock, and has to run for that."""
    dog.doubt(BASE + 1)
    after(dog, 1)
    dog.lose("gone")

    assert after(dog, 2) == [Action.THAW, Action.INTERRUPT]


def test_a_doubt_that_nobody_ever_settled_kills(dog):
    """It has been frozen for too long: nothing was found out, so nothing may go on, however young the last beat is."""
    dog.doubt(BASE + 1)
    after(dog, 1)
    dog.lose("expired")

    assert after(dog, 2) == [Action.FREEZE, Action.KILL]


def test_a_doubt_that_proves_true_kills(dog):
    dog.doubt(BASE + 1)
    dog.lose("another's")

    assert after(dog, 1) == [Action.FREEZE, Action.KILL]
