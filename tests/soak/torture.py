"""
Torture: runs whose processes are stopped, continued and killed at random, with a rival behind each that waits to write.

What must hold: nobody writes beside the next (the log to which both append tells), whoever was asked to stop is asked
once and stops, and each run comes to its end. One of front, keeper and sentinel is left awake all the time: that any
two are stopped or dead is promised to do no harm.

Excused, and measured: the moment that the work writes when somebody else lets it go on, until ours have looked.
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

from tests.e2e.conftest import TFGUARD
from tests.e2e.running import Running
from tests.faults.proxy import HANGS
from tests.faults.scene import UNREAD, WORK, Scene, family
from tests.support.eventually import patience, within

LEASE_SECONDS = 6.0
#: Until one who was let go on by somebody else is stopped again: two looks at the clock, on a busy machine.
WINDOW_SECONDS = 1.0
#: One run in so many says more than anybody reads.
_UNREAD_ONE_IN = 4
WHOM = ("front", "keeper", "sentinel", "work")


@dataclass
class Figures:
    """What a torture came to; `+` joins those of two."""

    rounds: int = 0
    acts: Counter[str] = field(default_factory=Counter)
    cancels: int = 0
    takeovers: int = 0
    overlaps: list[str] = field(default_factory=list)
    lost_cancels: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    longest_window: float = 0.0

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.rounds + other.rounds,
            self.acts + other.acts,
            self.cancels + other.cancels,
            self.takeovers + other.takeovers,
            self.overlaps + other.overlaps,
            self.lost_cancels + other.lost_cancels,
            self.doubled + other.doubled,
            self.hung + other.hung,
            max(self.longest_window, other.longest_window),
        )

    @property
    def is_good(self) -> bool:
        return not (self.overlaps or self.lost_cancels or self.doubled or self.hung)

    def __str__(self) -> str:
        acts = ", ".join(f"{count} × {act}" for act, count in sorted(self.acts.items()))
        return (
            f"{self.rounds} runs under {sum(self.acts.values())} acts ({acts}), {self.takeovers} takeovers, "
            f"{self.cancels} cancels: {len(self.overlaps)} overlaps, {len(self.lost_cancels)} lost cancels, "
            f"{len(self.doubled)} asked twice, {len(self.hung)} hung; who was let go on by others wrote for "
            f"{self.longest_window * 1000:.0f} ms at most"
        )


class Ours:
    """A run's own processes, as they are at this moment."""

    def __init__(self, run: Running) -> None:
        self.found: dict[str, list[psutil.Process]] = {whom: [] for whom in WHOM}
        parents = []
        for process in family(run.pid):
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                whom = self._whom(process.pid == run.pid, words)
                if whom and process.status() != psutil.STATUS_ZOMBIE:
                    self.found[whom].append(process)
                    parents += [process.ppid()] if whom == "sentinel" else []
        # One that has no sentinel yet has not come to its run: it guards nothing.
        self._guards = [
            *self.found["front"],
            *(each for each in self.found["keeper"] if each.pid in parents),
            *self.found["sentinel"],
        ]

    @staticmethod
    def _whom(is_front: bool, words: Sequence[str]) -> str:
        if is_front:
            return "front" if "exec" in words else ""
        if "tfguard-keeper" in words:
            return "keeper"
        if any("sentinel" in word for word in words):
            return "sentinel"
        return "work" if str(WORK) in words else ""

    def are_guarded_without(self, process: psutil.Process) -> bool:
        """Whether one of them is awake, this one aside, who enforces the deadlines."""
        return any(each != process and is_awake(each) for each in self._guards)


class Round:
    """One run and what is done to it, with a rival that waits for its lock."""

    def __init__(self, scene: Scene, name: str, dice: random.Random) -> None:
        self.figures = Figures(rounds=1)
        self._scene = scene
        self._name = name
        self._dice = dice
        self._told: list[str] = []
        self._let_go_on: list[float] = []
        self._is_cancelled = False
        self._stopped: list[psutil.Process] = []
        self._seen: set[psutil.Process] = set()

    def play(self, seconds: float) -> Figures:
        scene, dice = self._scene, self._dice
        launcher = UNREAD if not dice.randrange(_UNREAD_ONE_IN) else TFGUARD
        self._ours = ours = scene.run(manner=dice.choice(("stubborn", "")), launcher=launcher)
        if dice.random() < 0.4:
            self._cancel_early()
        within(patience(5), lambda: scene.lines("a", "begin") or ours.process.poll() is not None)
        rival = scene.rival("b")
        until = time.monotonic() + seconds
        while time.monotonic() < until and ours.process.poll() is None:
            time.sleep(dice.uniform(0.0, 0.8))
            dice.choices((self._harm, self._resume_one, self._cut, self._heal, self._cancel), (6, 1.5, 1.5, 0.5, 0.2))[
                0
            ]()
        self._end(rival)
        self._judge()
        return self.figures

    # --- what is done to it -------------------------------------------------------------------------------------

    def _cancel_early(self) -> None:
        """In the first moments of the program, or of ourselves."""
        if self._dice.random() < 0.7:
            within(patience(4), lambda: self._processes().found["work"] or self._ours.process.poll() is not None)
            time.sleep(self._dice.uniform(0.0, 0.3))
        else:
            time.sleep(self._dice.uniform(0.0, 1.5))
        self._cancel()

    def _cancel(self) -> None:
        number = self._dice.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        front = self._processes().found["front"]
        if front and not self._is_cancelled:
            self._is_cancelled = True
            self.figures.cancels += 1
            self._note(f"cancel by {number.name}", front[0])
            _send(front[0], number)

    def _harm(self) -> None:
        ours = self._processes()
        whom = self._dice.choice(WHOM)
        verb = self._dice.choice(("stop", "stop", "kill"))
        if not ours.found[whom] or (verb == "kill" and whom == "work" and self._dice.random() < 0.8):
            return
        target = self._dice.choice(ours.found[whom])
        if whom != "work" and not ours.are_guarded_without(target):
            return
        self._note(f"{verb} {whom}", target)
        if verb == "kill":
            _send(target, signal.SIGKILL)
        else:
            _send(target, signal.SIGSTOP)
            self._stopped.append(target)

    def _resume_one(self) -> None:
        if self._stopped:
            self._resume(self._stopped.pop(self._dice.randrange(len(self._stopped))))

    def _resume(self, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.Error):
            if str(WORK) in process.cmdline():
                self._let_go_on.append(self._scene.clock.boottime())
        self._note("continue", process)
        _send(process, signal.SIGCONT)

    def _cut(self) -> None:
        self._note("store hangs", None)
        self._scene.proxy.always("all", HANGS)

    def _heal(self) -> None:
        self._scene.proxy.heal()

    def _processes(self) -> Ours:
        ours = Ours(self._ours)
        self._seen.update(*ours.found.values())
        return ours

    def _note(self, act: str, process: psutil.Process | None) -> None:
        self.figures.acts[act] += 1
        pid = process.pid if process is not None else ""
        self._told.append(f"{self._scene.clock.boottime():.3f} {act} {pid}")

    # --- its end ------------------------------------------------------------------------------------------------

    def _end(self, rival: Running) -> None:
        """Nobody is harmed any more: whoever was cancelled stops by itself, whoever was not when its gate opens."""
        scene, ours = self._scene, self._ours
        scene.proxy.heal()
        while self._stopped:
            self._resume(self._stopped.pop())
        if self._is_cancelled:
            self._wait_for_stop()
        scene.let_end("a")
        for name, run in (("a", ours), ("b", rival)):
            if not within(patience(30), lambda run=run: run.process.poll() is not None):  # type: ignore[misc]
                self.figures.hung.append(self._story(name))
            scene.let_end("b")
        if not within(patience(15), lambda: not self._work("a", "b")):
            self.figures.hung.append(self._story("work"))
        if not within(patience(30), lambda: not any(is_left(each) for each in self._seen)):
            left = [each for each in self._seen if is_left(each)]
            self.figures.hung.append(self._story(f"left behind: {left}"))

    def _wait_for_stop(self) -> None:
        """A stubborn one notes that it was asked, and works on."""

        def has_stopped() -> bool:
            is_over = self._ours.process.poll() is not None and not self._work("a")
            return is_over or bool(self._scene.lines("a", "asked"))

        if not within(patience(4), has_stopped):
            self.figures.lost_cancels.append(self._story("cancel"))

    def _work(self, *names: str) -> list[psutil.Process]:
        """The work of these that is left, whether it has lost its parents or not."""
        return [each for each in psutil.process_iter() if any(_is_work_of(each, name, self._scene) for name in names)]

    def _judge(self) -> None:
        scene, figures = self._scene, self.figures
        began = scene.lines("b", "begin")
        ours_began = scene.lines("a", "begin")
        if began and ours_began:
            late = [line.at for line in scene.lines("a") if line.at > began[0].at > ours_began[0].at]
            for at in late:
                window = at - max((since for since in self._let_go_on if since <= at), default=float("-inf"))
                if window > WINDOW_SECONDS:
                    figures.overlaps.append(self._story(f"overlap at {at:.3f}, the rival since {began[0].at:.3f}"))
                    break
                figures.longest_window = max(figures.longest_window, window)
        figures.takeovers += "took the lock over" in "".join(each.err for each in scene.started)
        if scene.times("a", "asked") > 1:
            figures.doubled.append(self._story("asked twice"))

    def _story(self, what: str) -> str:
        return "\n  ".join([f"{self._name}: {what}", *self._told, *self._ours.err.splitlines()[-12:]])


def play(scenes: Callable[[str], Scene], *, lanes: int, seconds: float, round_seconds: float, seed: int) -> Figures:
    """Torture in so many lanes at once, round after round, until time is up."""
    until = time.monotonic() + seconds
    totals: list[Figures] = []
    broken: list[BaseException] = []

    def run(lane: int) -> None:
        number = 0
        try:
            while time.monotonic() < until or not number:
                name = f"{lane}-{number}"
                scene = scenes(name)
                dice = random.Random(f"{seed}/{name}")
                totals.append(Round(scene, name, dice).play(dice.uniform(0.4, 1.0) * round_seconds))
                scene.close()
                number += 1
        except BaseException as error:  # noqa: BLE001 - told where the test is
            broken.append(error)

    threads = [threading.Thread(target=run, args=(lane,), daemon=True) for lane in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]
    return sum(totals, Figures())


def is_awake(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def is_left(process: psutil.Process) -> bool:
    """Whether it is there, awake or stopped."""
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


def _is_work_of(process: psutil.Process, name: str, scene: Scene) -> bool:
    """Whether it writes to this log under that name, or is about to."""
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()
        is_it = [str(WORK), name, str(scene.log)] in [words[at : at + 3] for at in range(len(words))]
        return is_it and "tfguard" not in words and process.status() != psutil.STATUS_ZOMBIE
    return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
