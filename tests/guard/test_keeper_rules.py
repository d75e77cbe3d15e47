"""What a keeper decides, one event at a time: hands that only note what is asked of them."""

from __future__ import annotations

import pytest

from tests.simulation.actors import request
from tests.support.fakes import changed
from tfguard.guard import messages
from tfguard.guard.hands import KeeperHands
from tfguard.guard.keeper_rules import KeeperRules
from tfguard.guard.killing import IN_VAIN_SECONDS
from tfguard.guard.one_signal import SHARED_SECONDS
from tfguard.lock import protocol, refusals
from tfguard.lock.deadlines import TICK_SECONDS

#: Warned at 30 s, interrupted at 60 s, frozen at 108 s.
LEASE = 180.0
SPAWN = messages.Spawn(argv=["terraform"], directory="", environ={})
SEEN = messages.Spawn(argv=["terraform"], directory="", environ={}, relayed=["stdout", "stderr"])
STOP = messages.Interrupt(reason="SIGTERM")
SOON = messages.Interrupt(reason="SIGTERM", grace_seconds=1.0)
DENIED = refusals.StoreDenied(message="No credentials.", action="", resource="", is_expired=False)
DONE = protocol.Release(outcome="succeeded", exit_code=0)


class Noted:
    """What the rules have asked of a keeper's hands: `said` to the front, `done` by name for everything else."""

    def __init__(self):
        self.said = []
        self.done = []
        self.is_served = True
        self.is_unsaved = False
        self.running = []
        self.is_signal_free = True
        self.is_anothers = False
        self.push_pauses = []
        self.hands = KeeperHands(
            front=NotingFront(self),
            lease=NotingLease(self),
            child=NotingChild(self),
            rescue=NotingRescue(self),
            record=NotingRecord(),
        )

    def count(self, name):
        return self.done.count(name)

    def told(self, kind):
        return [message for message in self.said if isinstance(message, kind)]


class NotingFront:
    def __init__(self, noted):
        self._noted = noted

    def tell(self, message):
        self._noted.said.append(message)


class NotingLease:
    def __init__(self, noted):
        self._noted = noted

    def free_inner(self):
        self._noted.done.append("free inner")

    def start(self, request, adoption):
        self._noted.done.append("start_session")

    def is_served(self):
        return self._noted.is_served

    def cancel_wait(self):
        self._noted.done.append("cancel_wait")

    def release(self, message, *, errored="", error=""):
        self._noted.done.append(f"release, keeping {errored}" if errored else "release")

    def abandon(self):
        self._noted.done.append("abandon")


class NotingChild:
    def __init__(self, noted):
        self._noted = noted

    def start(self, message):
        self._noted.done.append("start")
        return 4711

    def guard(self):
        self._noted.done.append("guard_child")

    def adopt(self, pid):
        self._noted.done.append("adopt_child")

    def interrupt(self):
        self._noted.done.append("interrupt_child")
        return self._noted.is_signal_free

    def is_anothers(self):
        return self._noted.is_anothers

    def give_up(self):
        self._noted.done.append("give_up")
        return LEFT

    def spare(self):
        self._noted.done.append("spare_child")

    def freeze(self):
        self._noted.done.append("freeze")
        return self._noted.running

    def thaw(self):
        self._noted.done.append("thaw")

    def kill(self):
        self._noted.done.append("kill")

    def watch_relays(self, now):
        pass

    def take_over_relays(self):
        pass


class NotingRescue:
    path = "errored.tfstate"
    error = "the serial is older"

    def __init__(self, noted):
        self._noted = noted

    def begin(self, plan, before):
        pass

    @property
    def is_needed(self):
        return self._noted.is_unsaved

    def start(self):
        self._noted.done.append("push")
        return 4712

    def ended(self, status):
        return self._noted.push_pauses.pop(0) if status and self._noted.push_pauses else None

    def set_aside(self, lock_id):
        self._noted.is_unsaved = False
        return f"errored.tfstate.pushed-{lock_id}"


class NotingRecord:
    def begin(self, request):
        pass

    def note_held(self, lock):
        self.held_as = (lock.lock_id, lock.force_unlock_id)

    def note_outcome(self, outcome, exit_code):
        pass

    def note_released(self, result, held_seconds):
        pass


class Keeper:
    """A rules and its clock. It holds the lock since 0 unless told otherwise."""

    def __init__(self):
        self.noted = Noted()
        self.rules = KeeperRules(self.noted.hands, 0.0)
        self.now = 0.0

    def ask(self, message):
        self.rules.on_front(message, self.now)
        return self

    def hear(self, message):
        self.rules.on_session(message, self.now)
        return self

    def wait(self, seconds):
        self.now += seconds
        self.rules.enforce(self.now)
        return self

    def acquiring(self, **facts):
        return self.ask(asked(**facts))

    def holding(self, **facts):
        return self.acquiring(**facts).hear(protocol.Held(lock_id="ours", beat=0, base=self.now))

    def running(self, **facts):
        return self.holding(**facts).ask(SPAWN)

    def signalled(self):
        self.rules.on_signalled(self.now)
        return self

    def beat(self):
        return self.hear(protocol.Beaten(beat=1, base=self.now))

    def exits(self, status=0):
        self.rules.on_exit(status, self.now)
        return self

    def front_dies(self):
        self.rules.on_front_gone(self.now)
        return self


def asked(**facts):
    return changed(request("ana", lease=LEASE, timeout=60.0, stores=1), **facts)


def adopting(stage="held", child=4711, **facts):
    lock = protocol.Adoption(stage=stage, lock_id="ours")
    return messages.Adopt(acquire=asked(), lock=lock, child=child, **facts)


@pytest.mark.parametrize(
    "begin",
    [
        lambda made, ids: made.acquiring().hear(protocol.Held(**ids, beat=0, base=0.0)),
        lambda made, ids: made.ask(messages.Adopt(acquire=asked(), lock=protocol.Adoption(stage="held", **ids))),
    ],
    ids=["acquired", "adopted"],
)
def test_the_record_has_the_id_that_terraform_knows_the_lock_by(keeper, begin):
    ids = {"lock_id": "ours", "force_unlock_id": "1764380000000001"}

    begin(keeper, ids)

    assert keeper.noted.hands.record.held_as == ("ours", "1764380000000001")


@pytest.fixture
def keeper():
    return Keeper()


# --- the child ------------------------------------------------------------------------------------------------------


def test_a_child_gets_one_sigint_whoever_asks_how_often(keeper):
    keeper.running().ask(STOP).wait(1).ask(STOP).wait(1).wait(61).front_dies()

    assert keeper.noted.count("interrupt_child") == 1


def test_a_signal_that_somebody_else_has_delivered_is_not_sent_again(keeper):
    keeper.running().ask(messages.Interrupt(reason="SIGINT", is_delivered=True)).wait(61)

    assert keeper.noted.count("interrupt_child") == 0
    assert keeper.noted.count("spare_child") == 1


@pytest.mark.parametrize("is_first", [True, False])
def test_a_child_that_we_cannot_see_is_not_signalled_with_everybody_and_by_us_too(keeper, is_first):
    keeper.running()
    if is_first:
        keeper.signalled().wait(0.1).ask(SOON)
    else:
        keeper.ask(SOON).wait(0.1).signalled()

    keeper.wait(1).wait(SHARED_SECONDS)

    assert keeper.noted.count("interrupt_child") == 0
    assert keeper.noted.count("spare_child") == 1


def test_a_child_that_we_see_is_waited_for_and_signalled_if_it_says_nothing(keeper):
    keeper.holding().ask(SEEN).signalled().ask(SOON).wait(1)
    assert keeper.noted.count("interrupt_child") == 0

    keeper.wait(SHARED_SECONDS)

    assert keeper.noted.count("interrupt_child") == 1


def test_a_child_that_we_see_and_that_says_so_in_time_is_not_signalled(keeper):
    keeper.holding().ask(SEEN).signalled().ask(SOON).wait(1).ask(messages.ChildHeard()).wait(SHARED_SECONDS)

    assert keeper.noted.count("interrupt_child") == 0


def test_an_orphan_that_everybody_was_signalled_with_is_waited_for_too(keeper):
    keeper.holding().ask(SEEN).signalled().front_dies()
    assert keeper.noted.count("interrupt_child") == 0

    keeper.wait(SHARED_SECONDS)

    assert keeper.noted.count("interrupt_child") == 1


@pytest.mark.parametrize("when", ["before it started", "long ago", "never"])
def test_a_signal_of_ours_that_the_child_has_not_had_counts_for_nothing(keeper, when):
    keeper.holding()
    if when == "before it started":
        keeper.signalled()
    keeper.ask(SPAWN)
    if when == "long ago":
        keeper.signalled().wait(SHARED_SECONDS)

    keeper.ask(SOON).wait(1)

    assert keeper.noted.count("interrupt_child") == 1


def test_each_child_has_a_sigint_of_its_own(keeper):
    keeper.running().wait(61).beat().exits().ask(SPAWN).wait(61)

    assert keeper.noted.count("interrupt_child") == 2


def test_nothing_starts_once_asked_to_stop(keeper):
    keeper.holding().ask(STOP).ask(SPAWN)

    assert "start" not in keeper.noted.done
    assert keeper.noted.told(protocol.Failed)[0].why == refusals.Interrupted()


@pytest.mark.parametrize("kind", ["gone", "another's"])
def test_nothing_starts_without_a_lock_and_the_loss_is_the_reason(keeper, kind):
    keeper.holding().hear(protocol.Lost(kind=kind)).ask(SPAWN)

    assert "start" not in keeper.noted.done
    why = keeper.noted.told(protocol.Failed)[0].why
    assert isinstance(why, refusals.LeaseLost)
    assert why.kind == kind
    assert why.message


def test_one_child_at_a_time(keeper):
    keeper.running().ask(SPAWN)

    assert keeper.noted.count("start") == 1


def test_a_child_that_starts_when_nobody_knows_whose_the_lock_is_starts_frozen(keeper):
    keeper.holding().wait(109).ask(SPAWN)

    assert keeper.noted.done[-3:] == ["start", "guard_child", "freeze"]


def test_a_beat_that_lands_lets_a_frozen_child_go_on(keeper):
    keeper.running().wait(109).beat().wait(0)

    assert keeper.noted.done[-1] == "thaw"


def test_another_holder_ends_the_child_at_once(keeper):
    keeper.running().hear(protocol.Lost(kind="another's")).wait(0)

    assert keeper.noted.done[-2:] == ["freeze", "kill"]


def events(keeper):
    return [told.event for told in keeper.noted.told(messages.Told)]


def test_a_child_is_said_to_be_frozen_when_all_of_it_has_stopped_and_once(keeper):
    keeper.running()
    keeper.noted.running = ["terraform (4711)"]
    keeper.wait(108)
    assert "child.frozen" not in events(keeper)

    keeper.noted.running = []
    keeper.wait(0.25).wait(0.25)

    assert events(keeper).count("child.frozen") == 1
    assert keeper.noted.count("freeze") == 3


def test_what_cannot_be_stopped_is_named_as_loudly_as_a_lost_lock_and_once(keeper):
    keeper.running()
    keeper.noted.running = ["sudo (4712)"]

    keeper.wait(108).wait(1).wait(1).wait(1)

    assert [told.reason for told in keeper.noted.told(messages.Told) if told.event == "child.unstoppable"] == [
        "sudo (4712)"
    ]
    assert "child.frozen" not in events(keeper)


def test_a_child_that_is_frozen_again_is_said_to_be_again(keeper):
    keeper.running().wait(108).beat().wait(0).wait(108)

    assert events(keeper).count("child.frozen") == 2


def test_a_child_that_stays_frozen_for_too_long_is_killed_and_its_lock_is_lost(keeper):
    keeper.running(freeze_timeout_seconds=600.0).wait(108).wait(599)
    assert keeper.noted.count("kill") == 0

    keeper.wait(1)
    keeper.wait(0.25).exits(-9).ask(DONE)

    assert "child.frozen_too_long" in events(keeper)
    assert keeper.noted.told(protocol.Lost) == [protocol.Lost(kind="expired")]
    assert keeper.noted.count("kill") >= 1
    assert keeper.noted.done[-1] == "abandon"
    assert keeper.rules.is_done


def test_one_that_froze_for_its_connection_is_not_said_to_have_been_silent(keeper):
    """A beat may have landed since; it was sent before the connection ended."""
    keeper.running(freeze_timeout_seconds=600.0).wait(5)
    keeper.hear(protocol.Doubted(at=4.0)).hear(protocol.Beaten(beat=1, base=3.0)).wait(0.25).wait(600)

    told = [each for each in keeper.noted.told(messages.Told) if each.event == "child.frozen_too_long"]
    assert [each.reason for each in told[:1]] == ["connection ended"]


def test_a_signal_that_was_not_sent_is_not_said_to_have_been(keeper):
    """The child is gone, is another user's, or has had it from a sentinel."""
    keeper.noted.is_signal_free = False

    keeper.running().ask(STOP).wait(0)

    assert keeper.noted.count("interrupt_child") == 1
    assert "child.signalled" not in events(keeper)


def test_a_run_that_takes_too_long_is_asked_to_stop_and_said_to_be(keeper):
    keeper.running(run_timeout_seconds=20.0).wait(19)
    assert keeper.noted.count("interrupt_child") == 0

    keeper.wait(1)

    assert keeper.noted.count("interrupt_child") == 1
    assert "run.timed_out" in [told.event for told in keeper.noted.told(messages.Told)]


# --- the end --------------------------------------------------------------------------------------------------------


def test_a_release_that_meets_a_loss_is_answered_all_the_same(keeper):
    """The thread hears of both at once, and says only that the lock is lost."""
    keeper.running().exits().ask(DONE)

    keeper.hear(protocol.Lost(kind="another's"))

    assert keeper.noted.told(protocol.Released) == [protocol.Released(result="another's")]
    assert keeper.rules.is_done


def test_a_release_whose_thread_fails_is_answered_all_the_same(keeper):
    keeper.running().exits().ask(DONE)

    keeper.hear(protocol.Failed(why=refusals.Unexpected(message="Unexpected")))

    assert keeper.noted.told(protocol.Released) == [protocol.Released(result="failed")]


def test_what_is_lost_is_not_released(keeper):
    keeper.running().hear(protocol.Lost(kind="gone")).exits().ask(DONE)

    assert "release" not in keeper.noted.done
    assert keeper.noted.told(protocol.Released) == [protocol.Released(result="gone")]


def test_an_orphan_is_stopped_then_killed_and_its_lock_is_released_when_it_is_gone(keeper):
    keeper.running(orphan_timeout_seconds=40.0).front_dies()
    assert keeper.noted.count("interrupt_child") == 1
    keeper.wait(20).beat().wait(20)
    assert "kill" in keeper.noted.done
    assert "release" not in keeper.noted.done

    keeper.exits(-9)

    assert "release" in keeper.noted.done


def test_a_lock_that_comes_when_the_front_is_gone_is_released(keeper):
    keeper.acquiring().front_dies().hear(protocol.Held(lock_id="ours", beat=0, base=0.0))

    assert "cancel_wait" in keeper.noted.done
    assert keeper.noted.done[-1] == "release"


def test_a_keeper_with_nothing_to_hold_goes_with_its_front(keeper):
    keeper.front_dies()

    assert keeper.rules.is_done


# --- a state that could not be saved --------------------------------------------------------------------------------


def test_a_state_is_pushed_before_the_lock_is_released(keeper):
    keeper.running().exits(1)
    keeper.noted.is_unsaved = True
    keeper.ask(DONE)
    assert "release" not in keeper.noted.done

    keeper.exits(0)

    assert keeper.noted.done[-2:] == ["push", "release"]


def test_a_push_that_fails_for_good_leaves_a_copy(keeper):
    keeper.running().exits(1)
    keeper.noted.is_unsaved, keeper.noted.push_pauses = True, [1.0]
    keeper.ask(DONE).exits(1).wait(1.0).exits(1)

    assert keeper.noted.count("push") == 2
    assert keeper.noted.done[-1] == "release, keeping errored.tfstate"


def test_the_front_knows_each_push_while_it_runs(keeper):
    """It has to freeze it, should the keeper be frozen."""
    keeper.running().exits(1)
    keeper.noted.is_unsaved, keeper.noted.push_pauses = True, [1.0]

    keeper.ask(DONE).exits(1).wait(1.0).exits(0)

    assert [message.pid for message in keeper.noted.told(messages.Pushing)] == [4712, 0, 4712, 0]


def test_a_push_waits_while_nobody_knows_whose_the_lock_is(keeper):
    keeper.running().exits(1)
    keeper.noted.is_unsaved = True

    keeper.wait(109).ask(DONE).wait(10)
    assert "push" not in keeper.noted.done

    keeper.beat().wait(TICK_SECONDS)
    assert "push" in keeper.noted.done


def test_a_push_is_given_up_when_the_lease_is_over(keeper):
    keeper.running().exits(1)
    keeper.noted.is_unsaved = True

    keeper.wait(109).ask(DONE).wait(72)

    assert "push" not in keeper.noted.done
    assert keeper.noted.done[-1] == "release, keeping errored.tfstate"


def test_nothing_is_pushed_once_the_lock_is_being_released_whoever_dies(keeper):
    keeper.running().exits(1)
    keeper.noted.is_unsaved = True
    keeper.ask(DONE).exits(1)
    keeper.front_dies()

    assert keeper.noted.count("push") == 1
    assert keeper.noted.done.count("release, keeping errored.tfstate") == 1


def test_a_successor_in_releasing_pushes_nothing_though_the_front_dies(keeper):
    keeper.ask(adopting(stage="releasing", child=0))
    keeper.noted.is_unsaved = True
    keeper.front_dies()

    assert "push" not in keeper.noted.done


# --- a successor ----------------------------------------------------------------------------------------------------


def test_a_successor_counts_from_what_its_predecessor_last_knew(keeper):
    keeper.now = 100.0
    keeper.rules = KeeperRules(keeper.noted.hands, 100.0)

    keeper.ask(adopting()).wait(8)

    assert keeper.noted.done[-1] == "freeze"


def test_a_successor_that_cannot_beat_lets_terraform_stop_until_it_is_unsafe_and_ends_it_then(keeper):
    """Its store cannot even be opened. To the front that is a lost lock, not one that could not be had."""
    keeper.ask(adopting()).hear(protocol.Failed(why=DENIED))

    keeper.wait(107)
    assert keeper.noted.count("kill") == 0
    keeper.wait(1)

    assert keeper.noted.done[-2:] == ["freeze", "kill"]
    assert keeper.noted.told(protocol.Lost) == [protocol.Lost(kind="expired")]
    assert not keeper.noted.told(protocol.Failed)
    assert keeper.noted.count("interrupt_child") == 0


def test_a_successor_that_cannot_beat_leaves_the_lock_to_its_lease(keeper):
    keeper.ask(adopting()).hear(protocol.Failed(why=DENIED)).exits(-9)

    keeper.ask(DONE)

    assert keeper.noted.told(protocol.Released) == [protocol.Released(result="failed")]
    assert "release" not in keeper.noted.done
    assert keeper.rules.is_done


def test_a_successor_does_not_signal_again(keeper):
    keeper.ask(adopting()).front_dies()

    assert keeper.noted.count("interrupt_child") == 0


def test_nothing_is_released_while_an_inherited_child_runs(keeper):
    """A predecessor that died while it pushed a state: the front asks for the release, and a Terraform still writes."""
    keeper.ask(adopting()).ask(DONE)
    assert "release" not in keeper.noted.done

    keeper.exits()

    assert keeper.noted.done[-1] == "release"


def test_the_end_of_an_inherited_child_is_the_fronts_to_tell(keeper):
    """It reaps it. Told twice, it would take the second for the end of the next program."""
    keeper.ask(adopting()).exits()

    assert not keeper.noted.told(messages.Exited)


# --- a family that outlives its program -----------------------------------------------------------------------------

LEFT = (messages.Relative(name="sleep", pid=4712),)


def outlived(keeper, seconds=0.0):
    keeper.rules.on_outlived(LEFT, keeper.now)
    return keeper.wait(seconds)


def told(keeper):
    return [message.event for message in keeper.noted.told(messages.Told) if message.event.startswith("family.")]


def test_who_outlives_the_program_keeps_the_run_going(keeper):
    outlived(keeper.running()).ask(DONE).ask(SPAWN)

    assert keeper.noted.count("release") == 0
    assert keeper.noted.count("start") == 1
    assert keeper.noted.told(messages.Exited) == []


def test_it_is_said_who_is_waited_for_but_not_of_one_that_follows_at_once(keeper):
    outlived(keeper.running(), 0.5)
    at_once = told(keeper)
    keeper.wait(0.6).beat()
    soon = told(keeper)
    for _ in range(70):
        keeper.wait(10).beat()

    assert (at_once, soon, told(keeper)) == ([], ["family.awaited"], ["family.awaited"] * 2)
    assert keeper.noted.told(messages.Told)[0].left == LEFT


def test_without_a_stop_nobody_is_killed(keeper):
    outlived(keeper.running())
    for _ in range(400):
        keeper.wait(10).beat()

    assert keeper.noted.count("kill") == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_after_a_stop_the_family_has_the_orphan_timeout_to_end(keeper, when):
    keeper.running()
    if when == "before":
        keeper.ask(STOP)
        outlived(keeper)
    else:
        outlived(keeper).ask(STOP)
    for _ in range(179):
        keeper.wait(10).beat()
    in_time = keeper.noted.count("kill")
    keeper.wait(10).wait(TICK_SECONDS)

    assert in_time == 0
    assert keeper.noted.count("kill") == 2, "again and again, for another may have come of it"
    assert told(keeper)[-1:] == ["family.killed"]
    assert told(keeper).count("family.killed") == 1


def test_a_run_timeout_counts_as_a_stop(keeper):
    outlived(keeper.running(run_timeout_seconds=5.0, orphan_timeout_seconds=20.0)).wait(6)
    keeper.beat().wait(10)
    in_time = keeper.noted.count("kill")
    keeper.beat().wait(11)

    assert (in_time, keeper.noted.count("kill")) == (0, 1)
    assert keeper.noted.count("interrupt_child") == 1


def test_who_outlives_a_program_that_had_its_signal_gets_none(keeper):
    keeper.running().ask(STOP).wait(TICK_SECONDS)
    outlived(keeper, 5).ask(STOP).front_dies().wait(5)

    assert keeper.noted.count("interrupt_child") == 1


def test_who_outlives_a_program_under_a_lost_lock_is_killed_again_and_again(keeper):
    outlived(keeper.running()).hear(protocol.Lost(kind="another's")).wait(TICK_SECONDS).wait(TICK_SECONDS)

    assert keeper.noted.count("kill") >= 2


# --- who does not go, whatever is done ------------------------------------------------------------------------------


def unkillable(keeper):
    return [message for message in keeper.noted.told(messages.Told) if message.event == "child.unkillable"]


def kill_in_vain(keeper, seconds=IN_VAIN_SECONDS):
    for _ in range(round(seconds / TICK_SECONDS)):
        keeper.wait(TICK_SECONDS)
    return keeper


@pytest.mark.parametrize("why", ["lost", "front gone", "family", "frozen too long"])
def test_nobody_waits_for_one_that_cannot_be_killed(keeper, why):
    """The run ends, loudly, and without its lock: that is not released, for it may still be written under it."""
    keeper.running(orphan_timeout_seconds=5.0, freeze_timeout_seconds=5.0)
    if why == "lost":
        keeper.hear(protocol.Lost(kind="another's"))
    elif why == "front gone":
        keeper.front_dies().wait(5)
    elif why == "family":
        outlived(keeper).ask(STOP).wait(5)
    else:
        keeper.wait(LEASE).wait(5)
    kill_in_vain(keeper, IN_VAIN_SECONDS - 1)
    in_time = unkillable(keeper)
    kill_in_vain(keeper, 2)
    if why != "front gone":
        keeper.ask(DONE)

    assert (in_time, len(unkillable(keeper)), unkillable(keeper)[0].left) == ([], 1, LEFT)
    assert [keeper.noted.count(what) for what in ("give_up", "abandon", "release")] == [1, 1, 0]
    assert len(keeper.noted.told(messages.Exited)) == 1
    assert keeper.noted.told(protocol.Lost) if why != "front gone" else True
    assert keeper.rules.is_done


def test_a_machine_that_slept_while_it_killed_has_not_killed_for_long(keeper):
    keeper.running().hear(protocol.Lost(kind="another's")).wait(TICK_SECONDS).wait(10 * IN_VAIN_SECONDS)

    assert unkillable(keeper) == []


def test_another_users_program_that_hears_no_signal_of_ours_has_the_orphan_timeout(keeper):
    keeper.noted.is_anothers, keeper.noted.is_signal_free = True, False
    keeper.running(run_timeout_seconds=5.0, orphan_timeout_seconds=20.0).wait(6).beat().wait(10)
    in_time = keeper.noted.count("kill")
    keeper.beat().wait(11)

    assert (in_time, keeper.noted.count("kill")) == (0, 1)


# --- inside another tfguard -----------------------------------------------------------------------------------------


def inside(keeper):
    return keeper.acquiring().hear(protocol.Held(lock_id="outer", beat=0, base=0.0, is_nested=True))


def test_a_run_inside_gives_its_place_back_and_no_lock(keeper):
    inside(keeper).ask(SPAWN).wait(LEASE).exits().ask(DONE)

    assert keeper.noted.count("release") == 1
    assert "freeze" not in keeper.noted.done, "the lock, and its deadlines, are the parent's"


def test_what_a_run_inside_could_not_save_is_for_the_one_around_it(keeper):
    inside(keeper).ask(SPAWN).exits(1)
    keeper.noted.is_unsaved = True

    keeper.ask(DONE)

    assert (keeper.noted.count("push"), keeper.noted.count("release")) == (0, 1)


def test_a_successor_inside_keeps_its_place_until_the_child_is_gone(keeper):
    lock = protocol.Adoption(stage="held", lock_id="outer", is_nested=True)
    keeper.ask(messages.Adopt(acquire=asked(), lock=lock, child=4711)).ask(DONE).wait(LEASE)
    before = keeper.noted.count("release")
    keeper.exits()

    assert (before, keeper.noted.count("release")) == (0, 1)
    assert "freeze" not in keeper.noted.done


def test_without_a_front_a_run_inside_gives_its_place_back(keeper):
    inside(keeper).ask(SPAWN).front_dies().exits()

    assert keeper.noted.count("release") == 1


def test_another_connection_that_carries_the_lock_is_given_to_the_sentinel_before_the_front(keeper):
    keeper.running().noted.done.clear()

    keeper.hear(protocol.Retaken())

    assert keeper.noted.done == ["guard_child"]
    assert keeper.noted.said[-1] == protocol.Retaken()


def test_a_successor_keeps_frozen_what_its_predecessor_doubted(keeper):
    lock = protocol.Adoption(stage="held", lock_id="ours", base=0.0, doubted_at=1.0)

    keeper.ask(messages.Adopt(acquire=asked(), lock=lock, child=4711)).wait(2)

    assert keeper.noted.done[-1] == "freeze"
