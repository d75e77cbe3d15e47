# ruff: noqa: E501  (an edit quotes the source as it stands)
"""
Deliberate faults in what decides, most of them somebody's real bug; the simulation has to find each.

A fault is an edit of the source of one of `code.MODULES`, applied to a copy; or, where what is wrong is the machine or
the front, which are modelled, a `wrong` of the simulated world.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.simulation import trial
from tests.simulation.code import Edit
from tests.simulation.schedule import Simulation
from tests.simulation.world import Violation
from tests.support.parts import PartMissing

#: Schedules in which one rare thing meets another: most faults that take long to find are found in one of these.
TRAPS = (105, 154, 160, 201, 212, 235, 284, 297, 312, 323, 441, 536, 598, 768, 3528, 7656)
#: The same, where the lock is a connection's.
CARRIED_TRAPS = (15, 21, 117, 337, 479, 600, 756, 890, 1330, 1619, 3955)
#: What shows the promises of one lease, one after another.
LEASE_TESTS = tuple(f"tests/lock/test_{name}.py" for name in ("acquire", "pair", "release", "renew", "takeover"))
LOOK_TESTS = ("tests/run/test_look.py",)
CARRIER_TESTS = ("tests/backends/pg/test_carrier.py",)
SENTINEL_TESTS = ("tests/process/test_sentinel_watch.py",)
LOCAL_TESTS = tuple(
    f"tests/backends/test_local.py::{name}"
    for name in (
        "test_the_lock_of_a_state_file_that_was_removed_meanwhile_is_none",
        "test_a_release_frees_the_lock_though_somebody_keeps_a_duplicate",
        "test_a_store_that_is_closed_frees_its_lock_though_somebody_keeps_a_duplicate",
    )
)
_ROOT = Path(__file__).parents[2]
#: How a pytest says that a test was skipped for what this machine lacks (`tests.support.parts.summary`).
_LACKING = re.compile(r"^\d+ skipped: (no \S+ on PATH)", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """
    One fault. `wrong` names a fault of the simulated world instead.

    `is_carried`: it is of a lock that is a connection's.
    `tests`: the dice come upon it too rarely; these unit tests find it.
    """

    name: str
    edits: tuple[Edit, ...] = ()
    wrong: str = ""
    tests: tuple[str, ...] = ()
    is_carried: bool = False

    def killed_by(self, seeds: range) -> int | None:
        """Give the first seed whose schedule breaks a promise, the traps before the others; None if all hold."""
        simulation = Simulation(self.edits, wrong=self.wrong, is_carried=self.is_carried)
        for seed in (*(CARRIED_TRAPS if self.is_carried else TRAPS), *seeds):
            try:
                simulation.play(seed)
            except Violation:
                return seed
        return None

    def is_killed_by_tests(self, tests: tuple[str, ...], folder: Path) -> bool:
        """
        Run unit tests against a copy of the package with this fault in it; says whether any fails.

        Raises PartMissing where none did, and one was skipped for what this machine lacks.
        """
        # With what was compiled before: to compile it all again takes longer than the tests do. What is changed below
        # has another time than the file that was compiled, and so is compiled anew.
        shutil.copytree(_ROOT / "tfguard", folder / "tfguard")
        for edit in self.edits:
            edit.apply(folder / "tfguard")
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environ["TFGUARD_TESTS_BUSY"] = "1"  # It is to fail, and mostly by waiting for what never comes.
        copy_first = ["-c", str(_ROOT / "pyproject.toml"), "-o", f"pythonpath={folder} {_ROOT}"]
        plugins = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest"]
        plugins += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # Of what is imported already.
        words = ["-x", "-q", *copy_first, *plugins, *(str(_ROOT / test) for test in tests)]
        code, printed = trial.run(words, folder, environ)
        if code not in {0, 1}:
            raise RuntimeError(printed)
        if code == 0 and (lacking := _LACKING.search(printed)):
            raise PartMissing(lacking[1])
        return code == 1


def _carried(name: str, *edits: Edit, wrong: str = "") -> Mutant:
    return Mutant(name, edits, wrong=wrong, is_carried=True)


def _in(module: str, name: str, *changes: tuple[str, str], tests: tuple[str, ...] = ()) -> Mutant:
    return Mutant(name, tuple(Edit(module, old, new) for old, new in changes), tests=tests)


MUTANTS = (
    _in(
        "lock.acquire",
        "a new lease is counted from the answer",
        ("HeldLease(store, stored, sent_at, self._clock)", "HeldLease(store, stored, self._clock.boottime(), self._clock)"),
    ),
    _in(
        "lock.lease",
        "a beat is counted from the answer",
        ("self.base = max(self.base, sent_at)", "self.base = self._clock.boottime()"),
    ),
    _in(
        "lock.lease",
        "a beat is assumed landed after a failed condition",
        ("        except Conflict:\n            self.look()", "        except Conflict:\n            self.base = sent_at"),
    ),
    _in(
        "lock.lease",
        "a heartbeat re-creates what somebody unlocked",
        (
            "        if found is None:\n            raise LeaseLost(",
            "        if found is None:\n            with contextlib.suppress(Conflict):\n                found = self.store.create(self.record)\n        if found is None:\n            raise LeaseLost(",
        ),
        tests=LEASE_TESTS,
    ),
    _in(
        "lock.lease",
        "a release deletes whatever is there",
        (
            "                self.store.delete(self.record)\n",
            "                there = self.store.read()\n                self.store.delete(there or self.record)\n",
        ),
    ),
    _in(
        "lock.acquire",
        "a takeover replaces whatever is there",
        ("store.replace(seen, record) if seen", "store.replace(store.read() or seen, record) if seen"),
    ),
    _in(
        "lock.lease",
        "our own conflict is taken for a loss",
        (
            "        except Conflict:\n            self.look()",
            "        except Conflict as error:\n            raise LeaseLost('', kind=\"another's\") from error",
        ),
    ),
    _in(
        "lock.acquire",
        "our own record is taken for another's",
        ("elif (index, record.id) in self._sent:", "elif index < 0:"),
        ("(index, record.id) in self._sent or self._dies", "self._dies"),
        ("if record is None or record.id != self._id:", "if True:"),
    ),
    _in(
        "lock.acquire",
        "an observation is timed from the question",
        ("        record = store.read()\n        self.watches", "        asked = self._clock.boottime()\n        record = store.read()\n        self.watches"),
        ("see(record, self._clock.boottime(), store.date", "see(record, asked, store.date"),
    ),
    _in("lock.acquire", "a lock is taken over before its lease is over", ("self.expires_in(now) <= 0", "self.expires_in(now) <= 5")),
    _in(
        "lock.acquire",
        "a waiter goes by its own lease",
        (
            "if not self.watches[index].is_expired(self._clock.boottime()):",
            "if self.watches[index].since + self._draft.duration_ms / 1000 > self._clock.boottime():",
        ),
    ),
    _in("lock.acquire", "a plain lock expires too", ('return 0.0 if self._is_over else float("inf")', "return self.since + 30 - now"), tests=LEASE_TESTS),
    _in(
        "lock.lease",
        "a beat number is used twice",
        ("self._next_beat = self._next_beat, self._next_beat + 1", "self._next_beat = self.record.beat + 1, 0"),
        (" and record.lease is not None and record.lease.sent == sent_at", ""),
    ),
    _in("lock.lease", "a successor starts below its predecessor's beats", (" and record.lease is not None and record.lease.sent == sent_at", ""), ("self._next_beat = max(self._next_beat, upto)", "pass"), tests=LEASE_TESTS),
    _in("lock.acquire", "a takeover uses its ID again", ("if seen is not None and index == 0:", "if index < 0:"), tests=LEASE_TESTS),
    _in("lock.acquire", "a successor goes on with an ID that is being deleted", ("            self._sent[index, lock_id] = base\n", "            self._id = lock_id\n            self._sent[index, lock_id] = base\n"), tests=LEASE_TESTS),
    _in("lock.acquire", "half a lock is not given back", ("self._undo(held or self._leftovers())", "pass"), tests=LEASE_TESTS),
    _in(
        "lock.lease",
        "of two records only the first is beaten",
        ("        for lease in self.leases:\n            try:\n                lease.renew", "        for lease in self.leases[:1]:\n            try:\n                lease.renew"),
    ),
    _in("lock.lease", "of two deadlines the later counts", ("return min((lease.base for", "return max((lease.base for")),
    _in("lock.lease", "a lost answer to a delete is never looked after", ("                self._may_be_deleted = True\n                found = self.store.read()\n", "                return 'released'\n"), tests=LEASE_TESTS),
    _in("guard.watchdog", "nobody freezes", ("        if is_unsafe:\n            return self._freeze(now)", "        if is_unsafe:\n            return []")),
    _in("guard.watchdog", "another's lock is no reason to stop", ('if self.lost == "another\'s":', "if not self:"), tests=("tests/guard/test_watchdog.py",)),
    _in("guard.watchdog", "a lost lease is extended", ("if self.lost is None and base > self.base:", "if base > self.base or True:"), tests=("tests/guard/test_watchdog.py",)),
    _in("guard.watchdog", "an unlocked child may go on", ("return [*self._freeze(now), Action.KILL] if is_unsafe else self._thaw() + self._interrupt()", "return []")),
    _in("guard.watchdog", "a second signal is sent", ("claimed = not self.is_interrupted", "claimed = True"), tests=("tests/guard/test_watchdog.py",)),
    _in("guard.watchdog", "a child is frozen once, whoever thaws it", ("= True, now\n        return [Action.FREEZE]", "= True, now\n            return [Action.FREEZE]\n        return []"), tests=("tests/guard/test_watchdog.py",)),
    _in("guard.watchdog", "safe_until is the takeover itself", ("self.base + self.deadlines.freeze", "self.base + self.deadlines.takeover")),
    Mutant(
        "the clock does not count suspension",
        (Edit("clock", "getattr(time, \"CLOCK_BOOTTIME\", None) or time.CLOCK_MONOTONIC", "time.CLOCK_MONOTONIC"),),
        tests=("tests/test_clock.py",),
    ),
    _in("guard.front_rules", "who slept with us is taken for frozen", ("_OWN_GAP_SECONDS = 2.0", "_OWN_GAP_SECONDS = 1e9"), tests=("tests/guard/test_front_rules.py",)),
    _in("guard.front_rules", "without a keeper nothing ends a child", ('self.watchdog.lose("expired")', "pass"), tests=("tests/guard/test_front_rules.py",)),
    Mutant("the keeper is stopped and nobody watches", wrong="front sleeps"),
    _in("guard.keeper_rules", "a successor counts from its own start", ("self._watch(message.acquire, message.lock.base)", "self._watch(message.acquire, self.watchdog.base)")),
    _in("lock.session", "who has the lock stays in line", ("dead.token if dead else 0, self._gone)", "dead.token if dead else 0)"), tests=("tests/lock/test_session.py",)),
    _in("lock.session", "who is counted too late has a token all the same", ("if self._clock.boottime() > lock.base + deadlines.freeze:", "if not deadlines:"), tests=("tests/lock/test_session.py",)),
    _in("lock.session", "the first heartbeat is counted from the last request", ("self._lock.base + jittered(deadlines.heartbeat) - self._clock.boottime()", "jittered(deadlines.heartbeat)"), tests=("tests/lock/test_session.py",)),
    _in("lock.session", "a loss is kept from the main thread", ("            self._post(protocol.Lost(kind=lost.kind, record=lost.record))\n", "")),
    _in("lock.session", "a lock that may be another's is released as lost", ("        for store in self._stores:\n            record = self._insist(store.read, adopt.base, lambda: self._must_release)", "        for store in self._stores[:1]:\n            record = self._insist(store.read, adopt.base, lambda: self._must_release)")),
    _in("lock.protocol", "a successor takes a late copy for its lock", ("record.lease.sent < self.base", "record.lease.sent < 0"), tests=("tests/lock/test_session.py",)),
    _in("guard.one_signal", "the child is signalled by everyone who asks", ("        if self._watchdog().interrupt_once():\n", "        if self:\n"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.keeper_rules", "a child starts after all", ("if self._is_stopping or self.watchdog.lost or self._has_child:", "if self._has_child:"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.keeper_rules", "what a dead keeper was pushing is forgotten", ("        if self._has_child:  # A push", "        if not self:  # A push"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.keeper_rules", "a push starts whosever the lock is", ("self.watchdog.lost is None and self.watchdog.safe_until <= now < self.watchdog.expires_at", "not self"), ("is_safe = self.watchdog.lost is None and now < self.watchdog.safe_until", "is_safe = True"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.keeper_rules", "a push starts though the lock is being released", ("self._closing is not None or self._releasing is not None", "self._closing is not None"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.keeper_rules", "nobody but the keeper knows of a push", ("            self._hands.front.tell(messages.Pushing(pid=pid))", "            self"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.keeper_rules", "a successor signals once more", ("self.watchdog.is_interrupted = message.is_interrupted", "self.watchdog.is_interrupted = False"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.keeper_rules", "a lock that nobody can beat is taken for none", ("case protocol.Failed() if self._lock_id:", "case protocol.Failed() if not self:"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.keeper_rules", "an orphan's lock is kept", ("        elif not self._is_front_alive:\n            self._release_orphaned(now)\n", "")),
    _in("guard.keeper_rules", "an inherited child is reported twice", ("        if not self._is_child_inherited:  # Of that", "        if self:  # Of that"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.keeper_rules", "the watchdog is asked, and not obeyed", ("            running = self._hands.child.freeze()\n", "            running = ()\n"), ("            self._killing.kill(now)\n            self._telling", "            self._telling"), ("            self._hands.child.thaw()\n", ""), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.keeper_rules", "a program's end is its family's", ("        self._outlived.note(left, now)\n", "        self.on_exit(0, now)\n")),
    _in("guard.keeper_rules", "a family without end keeps the lock for ever", ("self._outlived.limit(now + self._orphan_timeout_seconds)", "pass"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("lock.session", "who abandons a lock lets go of it", ("            if not self._is_abandoned:\n                self._let_go()", "            self._let_go()"), tests=("tests/lock/test_session.py",)),
    _in("guard.killing", "who cannot be killed is waited for, for ever", ("return self._spent_seconds >= IN_VAIN_SECONDS", "return False"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.killing", "a machine's sleep counts as time to kill in", ("min(now - self._last, _LONGEST_SECONDS)", "now - self._last"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.keeper_rules", "who cannot be killed is reckoned to be gone", ("        if self.watchdog.lost is None:\n            self.on_session(protocol.Lost(kind=\"expired\"), now)\n        self._is_child", "        self._is_child"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.one_signal", "another user's program has no bound", ("if self._child.is_anothers():", "if not self:"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.outlived", "nobody hears who is waited for", ("        elif now >= self._told_at:\n", "        elif not self:\n"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("process.relatives", "another program's daemon is taken for family", ("return not _is_unborn(pid) if shown is None else is_within(kin.nest, shown)", "return True"), tests=("tests/process/test_relatives.py::test_what_another_program_has_left_behind_is_none_of_it",)),
    _in("process.relatives", "who shows no nest is nobody's", ("return not _is_unborn(pid) if shown is None else is_within(kin.nest, shown)", "return shown is not None and is_within(kin.nest, shown)"), tests=("tests/process/test_relatives.py::test_who_shows_no_nest_belongs_to_the_family",)),
    _in("process.relatives", "a successor knows only its own children", ("        if not self._is_scattered:\n", "        if self:\n"), tests=("tests/process/test_relatives.py::test_after_a_keepers_death_the_family_is_known_by_its_nest",)),
    _in("process.relatives", "Terraform's daemons hold its lock", ("        if kin.waits_for != \"writers\":\n", "        if self:\n"), tests=("tests/process/test_relatives.py::test_of_a_terraform_only_who_writes_under_our_lock_is_waited_for",)),
    _in("process.relatives", "an exit status of ours is reaped", ("pid not in kept and not is_ours(pid) and ", ""), tests=("tests/process/test_relatives.py::test_orphans_are_reaped_and_no_exit_status_of_ours_is_lost",)),
    _in("process.nest", "all are let in", ("fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB"), tests=("tests/process/test_nest.py",)),
    _in("process.nest", "a removed nest's lock counts", ("if not self._is_in_place(descriptor):", "if not self:"), tests=("tests/process/test_nest.py",)),
    _in("lock.inside", "nobody looks again once it is his turn", ("        outer = self._find_outer()  # Again: it may have been lost meanwhile.\n        if outer is None:", "        if False:"), ("        if self._find_outer() is None:\n            return None\n        if self._nest is None:", "        outer = self._find_outer()\n        if outer is None:\n            return None\n        if self._nest is None:"), tests=("tests/lock/test_inside.py",)),
    _in("lock.inside", "a lock of another boot is our parent's", ("record.lease.boot == boot_id() and ", ""), tests=("tests/lock/test_inside.py",)),
    _in("lock.inside", "a dead parent's lock is enough", (" and silence < deadlines.interrupt", ""), tests=("tests/lock/test_inside.py",)),
    _in("guard.handover", "a successor inside takes the lock for its own", ("                is_nested=self.is_nested,\n", ""), tests=("tests/guard/test_handover.py",)),
    _in("guard.one_signal", "who is signalled with everybody is signalled once more", ("if now >= self._signalled_at + SHARED_SECONDS:", "if self:"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.one_signal", "what the keeper has heard is taken for the child's, whatever that says", ("        elif self._is_child_seen:\n", "        elif not self:\n"), tests=("tests/guard/test_keeper_rules.py",)),
    Mutant(
        "a signal from before the child's start counts as its own",
        (
            Edit("guard.keeper_rules", "        if self._has_child:\n            self._signal.note_own(now)\n", "        self._signal.note_own(now)\n"),
            Edit("guard.one_signal", "is_child_seen = is_child_seen\n        self._signalled_at = float(\"-inf\")\n", "is_child_seen = is_child_seen\n"),
        ),
        tests=("tests/guard/test_keeper_rules.py",),
    ),
    _in("process.words", "words count at a line's start only", ('    rb"|Interrupt received\\."', '    rb"|Never said\\."'), tests=("tests/process/test_relay.py",)),
    _in("process.family", "a stopped child whose signal waits gets another", ("return has_pending_stop(pid) or _send", "return _send"), tests=("tests/process/test_family.py",)),
    _in("process.program", "what the sentinel alone is sent is taken for the program's", ("heard.beside == pid and ", ""), tests=("tests/process/test_program.py",)),
    _in("process.program", "a program that ignores a signal has had it", (" and not family.ignores(pid, heard.number)", ""), tests=("tests/process/test_program.py",)),
    _in("process.sentinel", "nobody of ours is in the job that a shell signals", ("self._page.group if pid else 0)", "0)"), tests=SENTINEL_TESTS),
    _in("process.sentinel", "a dead run's folder is left behind", ("                    self._page.remove_folder()\n", "                    pass\n"), tests=SENTINEL_TESTS),
    _in("process.child", "a program is born in the keeper's group", ("os.setpgid(0, group)", "os.getpgid(0)"), tests=("tests/process/test_child.py",)),
    Mutant(
        "a program is born deaf, as its keeper is",
        (
            Edit("process.child", "signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)", "signal.pthread_sigmask(signal.SIG_BLOCK, [])"),
            Edit("process.keeper", "signal.signal(number, lambda *_: None)\n        signal.siginterrupt", "signal.signal(number, signal.SIG_IGN)\n        signal.siginterrupt"),
        ),
        tests=("tests/process/test_child.py",),
    ),
    _in("process.signals", "nohup is overruled", (" and not self._inherited.is_hangup_ignored", ""), tests=("tests/process/test_signals.py",)),
    _in("process.inherited", "a closed stream stays closed", ("    _open_streams()\n    _forget", "    _forget"), tests=("tests/process/test_inherited.py",)),
    _in("threads", "nobody hears of a thread's end", ("            on_defect(error)", "            pass"), tests=("tests/test_threads.py",)),
    _in("process.relay", "a relay with a defect passes nothing on", ("        self._copy(self._write)\n", ""), tests=("tests/process/test_relay.py",)),
    _in("backends.environ", "a variable without a name is set", ("        del os.environ[name]\n    os.environ.update(named(environ))", "        del os.environ[name]\n    os.environ.update(environ)"), tests=("tests/backends/test_environ.py",)),
    _in("run.runner", "how a run ended is judged before its release", ("if self.front.lost is not None or released.result in", "if released.result in"), tests=("tests/run/test_runner.py",)),
    _in("guard.handover", "a successor is not told of the child", ("child=child,", "child=0,"), tests=("tests/guard/test_handover.py",)),
    _in("guard.handover", "whose errored state lies there is forgotten", ("errored_before=self.errored_before,", "errored_before=None,"), tests=("tests/guard/test_handover.py",)),
    _in("guard.handover", "a release is not announced", ('self.stage = "releasing"', "pass")),
    _in("lock.queue", "the queue record is overwritten", ("self._store.write_queue(seen, ", "self._store.write_queue(self._store.read_queue(), ")),
    _in("lock.queue_record", "tokens are counted in the queue record alone", ("max(self.token, at_least) + 1", "self.token + 1")),
    _in("lock.queue_record", "a token is given twice", ("max(self.token, at_least) + 1", "max(self.token, at_least, 1)")),
    _in("lock.queue_record", "who comes back goes to the end of the line", ("number = ticket.number or min(", "number = min(")),
    _in("lock.turn", "nobody cares whose turn it is", ("is_last or not self.is_kept", "True or not self.is_kept")),
    _in("lock.turn", "a newcomer takes what is free", ("        if is_last or not self.is_kept or (", "        if is_last or not self.has_place or (")),
    _in("lock.turn", "a dead head keeps his turn", ("if free_seconds < min(len(ahead) * TURN_SECONDS, PATIENCE_SECONDS):", "if ahead:"), tests=("tests/lock/test_turn.py",)),
    _in("lock.turn", "who is passed over stays in line", ("self.passed = tuple(ticket.id for ticket in ahead)", "pass"), tests=("tests/lock/test_turn.py",)),
    _in("lock.turn", "a number is lost with its answer", ("        self._ticket = state.ticket(self._ticket.id) or self._ticket", "        pass")),
    _in("lock.waiting", "who gives up stays in line", ("        self._line.leave()", "        pass")),
    _in("lock.waiting", "who gives up leaves his lock behind", ("            self._acquirer.withdraw()", "            pass"), tests=("tests/process/test_lease_thread.py",)),
    _in("run.runner", "what the second look finds is ignored", ("return look, task.look.difference(look)", 'return look, ""'), tests=LOOK_TESTS),
    _in("run.look", "Terraform reads the workspace for itself", ("is_pinned = workspace and not is_deleting", "is_pinned = False"), tests=LOOK_TESTS),
    _in("run.look", "Terraform reads the user's plan file", ("if look.copy and invocation.plan_file is not None:", "if not self:"), tests=LOOK_TESTS),
    _in("run.look", "Terraform follows the link for itself", ("    return replace(context, pinned=real)", "    return context"), tests=LOOK_TESTS),
    _in("run.runner", "what could not be saved is pushed where the directory says", ('environ["TF_DATA_DIR"] = self._push_data = task.look.copy_data(self._folder)', "pass"), tests=LOOK_TESTS),
    Mutant("the lock is released before the child is gone", wrong="releases early"),
    Mutant("a sleeping machine's clock stands still", wrong="clock stops"),
    Mutant("the sentinel freezes nothing", wrong="sentinel freezes nothing"),
    Mutant("the sentinel leaves to others what its dead keeper has left", wrong="sentinel is shy"),
    # --- who enforces, and by what: the page, the sentinel, the front ---
    _in("process.sentinel", "the sentinel enforces only for the dead", ("        self._freeze_or_thaw(now)\n        if os", "        if self._is_keeper_gone:\n            self._freeze_or_thaw(now)\n        if os"), tests=SENTINEL_TESTS),
    _in("process.sentinel", "the sentinel freezes once, whoever thaws it", ("            self._frozen_at = now\n        self._relatives.freeze()", "            self._frozen_at = now\n            self._relatives.freeze()"), tests=SENTINEL_TESTS),
    _in("process.sentinel", "the sentinel thaws what others have frozen", ("            if self._frozen_at is not None:  # A beat", "            if self:  # A beat"), tests=SENTINEL_TESTS),
    _in("process.sentinel", "the sentinel dies when its keeper's end is reset", ("        except OSError:\n            data, descriptors = b\"\", []", "        except FileNotFoundError:\n            data, descriptors = b\"\", []"), tests=SENTINEL_TESTS),
    _in("process.sentinel", "a second sentinel signals once more", ("            if pid and self._page.claim_signal():\n", "            if not getattr(self, '_has', 0) and not setattr(self, '_has', 1):\n"), tests=SENTINEL_TESTS),
    _in("process.sentinel", "the sentinel kills though the front lives", ("        if not self._has_ended():\n            return\n", ""), tests=SENTINEL_TESTS),
    _in("process.sentinel", "the sentinel kills the process alone", ("        if self._frozen_at is not None or now - self._left_alone_at >= _LONGEST_SECONDS:\n            self._relatives.kill()", "        if self._frozen_at is not None or now - self._left_alone_at >= _LONGEST_SECONDS:\n            os.kill(self._relatives._program, signal.SIGKILL)"), tests=SENTINEL_TESTS),
    _in("process.sentinel", "the sentinel leaves what outlives all of ours", ("if self._frozen_at is not None or now - self._left_alone_at >= _LONGEST_SECONDS:", "if self._frozen_at is not None:"), tests=SENTINEL_TESTS),
    _in("process.sentinel", "what is frozen stays so for ever", ("now - self._frozen_at >= self._page.freeze_timeout", "self._page is None"), tests=SENTINEL_TESTS),
    _in("process.sentinel", "a keeper waits for a sentinel that was stopped", ("        self._socket.setblocking(False)\n        end", "        self._socket.settimeout(1.0)\n        end"), ("        with contextlib.suppress(OSError):\n            socket.send_fds", "        if self:\n            socket.send_fds"), tests=SENTINEL_TESTS),
    _in("process.page", "a program has had the signal of the one before", ("        self._signalled = 0.0\n", ""), tests=("tests/process/test_page.py",)),
    _in("process.page", "everybody may claim the signal", ("claimed = not self.is_signalled", "claimed = True"), tests=("tests/process/test_page.py",)),
    _in("process.page", "whoever has its PID is the program", ("if not found.pid or family.started_at(found.pid) != found.started_at:", "if not found.pid:"), tests=("tests/process/test_page.py",)),
    _in("process.shim", "a program enters itself too late", ("    Page(page).enter(os.getpid())\n", ""), tests=("tests/process/test_shim.py",)),
    _in("process.shim", "a program starts though its keeper is dead", ("if os.getppid() != parent:", "if not parent:"), tests=("tests/process/test_shim.py",)),
    _in("process.sentinel", "that nobody else is left is seen at a tick", ("            ends.append(self._lifeline)\n", "            pass\n"), tests=SENTINEL_TESTS),
    _in("process.shim", "a frozen group is let go on with its last parent", ("        os.setsid()\n", "        os.setpgid(0, 0)\n"), tests=("tests/process/test_shim.py",)),
    _in("process.bare", "who was started with an option more is not known", ("        if option in (b\"-X\", b\"-c\") and rest:\n            rest.popleft()\n        if", "        rest.popleft()\n        if"), tests=("tests/process/test_relatives.py::test_a_process_of_ours_is_known_by_its_words",)),
    _in("process.relatives", "a sentinel that is being born is family", ("return not _is_unborn(pid) if shown is None", "return True if shown is None"), tests=("tests/process/test_relatives.py::test_whom_a_dead_keeper_was_about_to_start_is_none_of_it",)),
    _in("process.front_watch", "a keeper is dead when its socket says so", ("        if self._keeper.is_dead_unheard:\n", "        if not self:\n"), tests=("tests/process/test_front.py",)),
    _in("process.sentinel", "a sentinel believes the socket alone", ("        if os.getppid() != self._parent:", "        if not self._parent:"), tests=SENTINEL_TESTS),
    _in("process.program", "whoever has lost its parent is family", ("(self._page.front,) if os.getppid() == self._page.front else ()", "(os.getppid(),)"), tests=("tests/process/test_program.py",)),
    _in("process.front_child", "the front knows of what it was told alone", ("program = self._page.program() if not self.pid else None", "program = None"), tests=("tests/process/test_front.py",)),
    _in("process.front", "a successor does not hear of the stop", ("        if interrupt is not None:\n            self._keeper.send(interrupt)\n        if self._last", "        if self._last"), tests=("tests/process/test_front.py",)),
    _in("process.drain", "a frozen front keeps the relay", ("elif now - self._since >= RELAY_SILENCE_SECONDS:", "elif now < 0:"), tests=("tests/process/test_drain.py",)),
    _in("process.channel", "every beat waits for a front that does not read", ("NEWS = (protocol.Beaten, protocol.Waiting, protocol.Troubled)", "NEWS = ()"), tests=("tests/process/test_channel.py",)),
    _in("process.family", "who waits in a vfork for a stopped child is said to run on", (' and not (found.state == "D" and _waits_in_vfork(pid))', ""), tests=("tests/process/test_family.py",)),
    _in("process.family", "a freeze walks the tree once", ("_WALKS = 5", "_WALKS = 1"), tests=("tests/process/test_family.py",)),
    _in("process.family", "a signal that was sent is taken for a process that has stopped", ("return [each for each in sorted(stopped) if _runs(each)]", "return []"), tests=("tests/process/test_family.py",)),
    _in("guard.one_signal", "a signal is said to have been sent", ("        if is_sent:\n", "        if self:\n"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.telling", "what runs on is said to be frozen", ("        if not running:\n            self.say_once(\"child.frozen\"", "        if self:\n            self.say_once(\"child.frozen\""), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.keeper_rules", "a keeper waits for ever for a beat", ("if now >= self.watchdog.frozen_until:", "if not self:"), tests=("tests/guard/test_keeper_rules.py",)),
    _in("guard.front_rules", "a silent keeper is waited for, for ever", ("is_well = self._has_child and not self._is_stop_asked", "is_well = True")),
    _in("guard.front_rules", "the front goes by the keeper's word alone", ("            self.watchdog.landed(instant - self.watchdog.deadlines.freeze)", "            pass"), tests=("tests/guard/test_front_rules.py",)),
    _in("process.lease_thread", "the lease beats on though nobody enforces", ("< UNWATCHED_SECONDS", "< 1e12"), tests=("tests/process/test_lease_thread.py::test_a_keeper_that_goes_round_its_loop_no_more_watches_nothing",)),
    _in("lock.session", "a heartbeat is sent whoever watches", ("        if not self._is_watched():\n            return False\n", ""), tests=("tests/lock/test_session.py",)),
    _in("commands.exec", "what becomes another user's is started", ("if program is not None and _becomes_another_user(program):", "if not name:"), tests=("tests/commands/test_exec.py",)),
    # --- what is locked is what is written; and nothing waits for ever ---
    _in("run.look", "another backend makes no difference", ("if later.backend != self.backend:", "if not self:"), ("if (after.backend, after.path, after.stores) != (before.backend, before.path, before.stores):", "if not self:"), tests=LOOK_TESTS),
    _in("run.look", "another directory makes no difference", ("if later.place != self.place:", "if not self:"), tests=LOOK_TESTS),
    _in("files", "a path behind a link is cleaned by text", ('if ".." not in path.parts:\n        return path.absolute()', 'if path:\n        return Path(os.path.abspath(path))'), tests=("tests/terraform/test_locate.py::test_terraform_locks_the_very_file_under_the_very_path",)),
    _in("run.intended_backend", "what a variable gives to init is not the pipeline's", ("for text in command_line.values_of(_FLAG, _of_variables(context)):", "for text in ():"), tests=("tests/run/test_initialise.py",)),
    _in("process.relatives", "orphans are never reaped", ("                    os.waitpid(pid, os.WNOHANG)\n", "                    pass\n"), tests=("tests/process/test_relatives.py::test_orphans_are_reaped_and_no_exit_status_of_ours_is_lost",)),
    _in("outlet", "what nobody reads is kept without bound", ("if self._kept + len(data) > _KEPT_BYTES:", "if not self._put:"), tests=("tests/test_outlet.py::test_what_nobody_reads_for_long_is_lost_and_the_loss_is_told",)),
    _in("backends.aws.locate", "a workspace that Terraform never finds again is waited for", ('if workspace != "default" and object_key != _listed_key(key, prefix, workspace):', "if not key:"), tests=("tests/terraform/test_locate.py",)),
    _in("run.missing_workspace", "a workspace is created somewhere else", ("directory=task.directory", 'directory="."'), tests=LOOK_TESTS),
    # --- where the lock is a connection's ---
    _carried("the end of a connection is no news", Edit("lock.resting", "        self._post(protocol.Doubted(at=self._clock.boottime()))\n", "")),
    _in("guard.watchdog", "a beat from before ends the doubt", ("self.is_doubted = self.is_doubted and base < self._doubted_at", "self.is_doubted = False"), tests=("tests/guard/test_watchdog.py",)),
    _carried("a beat lands though nothing carries the lock", Edit("backends.pg.store", 'is_carried = f" AND EXISTS (SELECT FROM {_LOCKS} AND a.application_name = $6)"', 'is_carried = ""')),
    _carried("a connection that was lost is not taken again", Edit("backends.pg.store", "or not is_ours or is_anothers:", "or self:")),
    _carried("a beat that finds nothing that carries the lock is no news", Edit("backends.pg.store", "        self._carrier.end()\n", "")),
    _carried(
        "a session that nobody has at our end carries on",
        Edit("backends.pg.store", "if is_carried and self._carrier.is_open and not self._carrier.has_ended:", "if is_carried:"),
        Edit("backends.pg.store", "if self._carrier.has_ended or not (written := self._ask(statement, values)):\n            self.read()", "if not (written := self._ask(statement, values)):\n            self.read()"),
    ),
    _carried("a row is enough", Edit("backends.pg.carrier", "                if time.monotonic() >= until:\n                    raise Conflict(self._place)", "                if time.monotonic() >= until:\n                    break")),
    Mutant("a connection is kept for a row that is another's", (Edit("backends.pg.store", "if not is_ours and self._text is not None and self._carrier.is_open:", "if not self:"),), tests=CARRIER_TESTS),
    _carried("a takeover leaves the dead one's connection", Edit("backends.pg.store", "f\" SELECT (SELECT count(*) FROM claimed), {self._ended('$7', 'claimed')}\"", "f\" SELECT (SELECT count(*) FROM claimed), $7::text IS NULL\"")),
    _in("lock.session", "a new connection is given to nobody", ("if self._carriers.is_another():", "if not self:"), tests=("tests/lock/test_session.py",)),
    # --- what survived once ---
    _in("backends.aws.dynamodb", "what is read may be old", (", ConsistentRead=True", ""), tests=("tests/backends/aws/test_dynamodb.py::test_what_is_read_is_what_was_written_last",)),
    _in("backends.local.store", "the lock of a removed state file counts", ("                if _is_same_file(fd, self._path):\n                    return", "                if self:\n                    return"), tests=LOCAL_TESTS),
    _in("backends.local.store", "a local lock is let go without being unlocked", ("            _set_lock(fd, fcntl.F_UNLCK)\n", "            pass\n"), tests=LOCAL_TESTS),
)  # fmt: skip
