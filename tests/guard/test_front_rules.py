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


def first_frozen(rules, since, until):
    """When the keeper is first taken for frozen, by one who looks twice a second; None if never."""
    looks = [since + step / 2 for step in range(int(2 * (until - since)) + 1)]
    return next((at for at in looks if rules.decide(at) is not None and rules.is_keeper_frozen(at)), None)


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

    rules.hear(messages.Exited(status=1), FREEZE + 2)
    rules.hear(messages.Pushing(pid=4712), FREEZE + 2)

    assert Action.FREEZE not in rules.decide(FREEZE + 3)
    assert rules.decide(2 * FREEZE) == [Action.FREEZE]


def test_a_silent_keeper_is_let_be_while_terraform_may_run(rules):
    assert first_frozen(rules, 0, FREEZE - 1) is None


@pytest.mark.parametrize("message", [messages.Exited(status=0), messages.Pushing(pid=0)], ids=["exited", "pushed"])
def test_where_nothing_runs_a_silent_keeper_is_waited_for_so_long_and_no_longer(rules, message):
    rules.hear(message, 20.0)

    assert first_frozen(rules, 20, 60) == 20.5 + FROZEN_KEEPER_SECONDS


def test_a_keeper_that_is_to_stop_terraform_and_does_nothing_is_replaced(rules):
    rules.ask_stop(20.0)

    assert first_frozen(rules, 20, 60) == 20.5 + FROZEN_KEEPER_SECONDS


def test_a_keeper_that_goes_round_its_loop_need_not_say_so():
    rules = FrontRules(0.0)

    for second in range(60):
        rules.see_keeper(float(second))
        assert not rules.is_keeper_frozen(second + 0.5)


def test_who_was_frozen_together_with_the_keeper_gives_it_its_time():
    rules = FrontRules(0.0)

    assert not rules.is_keeper_frozen(3600.0)
    assert first_frozen(rules, 3600, 3700) == 3600.5 + FROZEN_KEEPER_SECONDS


def test_where_the_keeper_has_come_to_is_known_without_its_word(rules):
    rules.see_safe_until(20.0 + FREEZE)

    assert Action.FREEZE not in rules.decide(FREEZE + 1)


def test_a_page_that_tells_of_no_deadline_extends_none(rules):
    rules.see_safe_until(float("inf"))

    assert rules.decide(FREEZE) == [Action.FREEZE]


def test_a_terraform_that_was_found_before_its_start_was_told_stays_as_it_was_found(rules):
    """Its keeper was stopped between the two, and we have frozen it meanwhile."""
    rules.end_child()
    rules.find_child()
    rules.decide(FREEZE)

    rules.hear(messages.Started(pid=4712), FREEZE + 1)
    rules.see_safe_until(3 * FREEZE)

    assert rules.decide(FREEZE + 1) == [Action.THAW]


@pytest.mark.parametrize("woken_at", [FREEZE, FREEZE + 3600], ids=["no suspension", "an hour of suspension"])
def test_a_silent_keeper_has_its_time_from_the_freeze_on(rules, woken_at):
    """However long before that it has said its last word: who was suspended with us needs time to wake up."""
    assert first_frozen(rules, woken_at, woken_at + 60) == woken_at + FROZEN_KEEPER_SECONDS + 0.5


def test_a_keeper_that_speaks_while_terraform_is_frozen_has_its_time_from_its_last_word(rules):
    rules.decide(FREEZE)

    rules.hear(protocol.Troubled(during="holding", error="No answer"), FREEZE + 8)

    assert first_frozen(rules, FREEZE + 8, FREEZE + 60) == FREEZE + 8.5 + FROZEN_KEEPER_SECONDS


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

    assert rules.decide(FREEZE + 1) == [Action.FREEZE, Action.KILL]


def test_an_inherited_terraform_is_not_signalled_again():
    rules = FrontRules(0.0)
    rules.hold(DEADLINES, 0.0)
    rules.hear(messages.Started(pid=4711), 0.0)

    rules.inherit_child()
    rules.resign()

    assert rules.decide(1.0) == []
