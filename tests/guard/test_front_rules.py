"""The front's own watch: what it does in the keeper's place, and when it takes the keeper for frozen."""

from __future__ import annotations

import pytest

from tfguard.guard import messages
from tfguard.guard.front_rules import FROZEN_KEEPER_SECONDS, FrontRules
from tfguard.guard.watchdog import Action
from tfguard.lock import protocol
from tfguard.lock.deadlines import Deadlines

#: Frozen at 108 s.
DEADLINES = Deadlines.of(180.0)
FREEZE = 108.0


@pytest.fixture
def rules():
    """Over a run that holds its lock since 0, with a Terraform that has had its SIGINT."""
    made = FrontRules(0.0)
    made.hold(DEADLINES, 0.0)
    made.hear(messages.Started(pid=4711), 0.0)
    made.hear(messages.Told(event="child.signalled"), 0.0)
    return made


def test_terraform_is_frozen_though_the_keeper_says_nothing(rules):
    before = rules.decide(FREEZE - 1)

    assert Action.FREEZE not in before
    assert rules.decide(FREEZE) == [Action.FREEZE]


def test_a_beat_that_lands_lets_terraform_go_on(rules):
    rules.decide(FREEZE)

    rules.hear(protocol.Beaten(beat=1, base=FREEZE), FREEZE + 1)

    assert rules.decide(FREEZE + 1) == [Action.THAW]


def test_what_was_done_to_terraform_was_not_done_to_the_push_after_it(rules):
    rules.decide(FREEZE)
    rules.hear(protocol.Beaten(beat=1, base=FREEZE), FREEZE + 1)

    rules.hear(messages.Pushing(pid=4712), FREEZE + 2)

    assert Action.FREEZE not in rules.decide(FREEZE + 3)
    assert rules.decide(2 * FREEZE) == [Action.FREEZE]


def test_a_silent_keeper_is_let_be_while_terraform_may_run(rules):
    rules.decide(FREEZE - 1)

    assert not rules.is_keeper_frozen(FREEZE - 1)


@pytest.mark.parametrize("woken_at", [FREEZE, FREEZE + 3600], ids=["no suspension", "an hour of suspension"])
def test_a_silent_keeper_has_its_time_from_the_freeze_on(rules, woken_at):
    """However long before that it has said its last word: who was suspended with us needs time to wake up."""
    rules.decide(woken_at)

    is_frozen = [rules.is_keeper_frozen(woken_at + after) for after in (0.0, FROZEN_KEEPER_SECONDS, 10.1)]

    assert is_frozen == [False, False, True]


def test_a_keeper_that_speaks_while_terraform_is_frozen_has_its_time_from_its_last_word(rules):
    rules.decide(FREEZE)

    rules.hear(protocol.Troubled(during="holding", error="No answer"), FREEZE + 8)

    assert not rules.is_keeper_frozen(FREEZE + 8 + FROZEN_KEEPER_SECONDS)
    assert rules.is_keeper_frozen(FREEZE + 8.1 + FROZEN_KEEPER_SECONDS)


def test_a_successor_has_its_time_from_its_start(rules):
    rules.decide(FREEZE)

    rules.start_keeper(FREEZE + 15)

    assert not rules.is_keeper_frozen(FREEZE + 20)


def test_without_a_keeper_terraform_is_ended_at_safe_until(rules):
    rules.resign()

    assert rules.decide(FREEZE - 1) == []
    assert rules.decide(FREEZE) == [Action.FREEZE, Action.KILL]


def test_without_a_keeper_a_frozen_terraform_is_ended_at_once(rules):
    rules.decide(FREEZE)

    rules.resign()

    assert rules.decide(FREEZE + 1) == [Action.KILL]


def test_an_inherited_terraform_is_not_signalled_again():
    rules = FrontRules(0.0)
    rules.hold(DEADLINES, 0.0)
    rules.hear(messages.Started(pid=4711), 0.0)

    rules.inherit_child()
    rules.resign()

    assert rules.decide(1.0) == []
