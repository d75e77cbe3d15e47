"""
The locking set, after Jepsen's: many `tfguard exec` add elements to one unprotected file while a nemesis is at them.

What must hold: every acknowledged element is in the set at the end, nobody was at work beside another, fencing tokens
only grew, and nothing is left. Each run may lose one of its processes, or have it stopped for a while, at a random
instant; and each client has its own path to the store, which hangs, fails, or loses requests or answers for a while.

Not asked of tfguard, since it is not promised: front and keeper both stopped, or one killed and the other stopped, or
both killed over work that does not stop when asked.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from tests.faults.proxy import HANGS, HANGS_AFTER_LANDING, LOST, UNHEARD, FaultProxy, failed, fault_proxy, refused
from tests.support.eventually import eventually, patience

ELEMENT = Path(__file__).with_name("element.py")
LEASE_SECONDS = 6.0
#: In the environment of everything that a play starts, so that what is left of it can be found.
MARK = "TFGUARD_SOAK_PLAY"
#: A process is killed, or stopped for a while.
HARMS = ("kill front", "kill keeper", "kill both", "stop front", "stop keeper")
#: What becomes of every request on one path to the store, for a while.
CUTS = {
    "hang": HANGS,
    "hang after landing": HANGS_AFTER_LANDING,
    "lose": LOST,
    "lose answers": UNHEARD,
    "fail": refused("500"),
    "fail after landing": failed("500"),
}


@dataclass
class Figures:
    """What a play came to."""

    attempted: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)
    stale_tokens: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    takeovers: int = 0
    freezes: int = 0

    def __str__(self) -> str:
        faults = ", ".join(f"{count} × {fault}" for fault, count in sorted(self.faults.items()))
        return (
            f"{self.acknowledged} of {self.attempted} elements acknowledged under {sum(self.faults.values())} faults "
            f"({faults}), {self.takeovers} takeovers, {self.freezes} freezes: "
            f"{len(self.lost)} lost, {len(self.overlaps)} overlaps, {len(self.stale_tokens)} stale tokens"
        )


@dataclass(frozen=True)
class Game:
    """Where a play takes place. `store` gives the lock store's URL for an endpoint; its own is `server`."""

    folder: Path
    server: str
    store: Callable[[str], str]
    environ: Mapping[str, str]


class Client(threading.Thread):
    """Adds one element after another, over a path to the store of its own."""

    def __init__(self, name: str, game: Game, path: FaultProxy, chance: random.Random) -> None:
        super().__init__(name=name, daemon=True)
        self.game = game
        self.path = path
        self.chance = chance
        self.is_over = threading.Event()
        self.process: subprocess.Popen[str] | None = None
        self.codes: Counter[int] = Counter()
        self.said: list[str] = []
        self.is_harmed = False
        self.is_stubborn = False

    def run(self) -> None:
        number = 0
        while not self.is_over.is_set():
            number += 1
            self._add(f"{self.name}-{number}")

    def _add(self, element: str) -> None:
        # One in five outlasts the lease and does not stop when asked, so that it is frozen and its lock is taken.
        self.is_stubborn = self.chance.random() < 0.2
        seconds = (
            self.chance.uniform(LEASE_SECONDS, 2 * LEASE_SECONDS) if self.is_stubborn else self.chance.uniform(0, 0.5)
        )
        self.is_harmed = False
        self.process = subprocess.Popen(
            self._command(element, seconds),
            cwd=self.game.folder,
            env=dict(self.game.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        _, said = self.process.communicate()
        self.said.append(said)
        self.codes[self.process.returncode] += 1

    def _command(self, element: str, seconds: float) -> list[str]:
        store = self.game.store(self.path.endpoint)
        work = [sys.executable, "-I", "-S", str(ELEMENT), str(self.game.folder), element, f"{seconds:.3f}"]
        return [
            *(sys.executable, "-m", "tfguard", "--lock-timeout=60s"),
            *("exec", "--name", "set", "--store", store, "--", *work, *(["stubborn"] if self.is_stubborn else [])),
        ]

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The front and the keeper of the run that is going on."""
        if self.process is None or self.process.poll() is not None:
            return {}
        with contextlib.suppress(psutil.Error):
            front = psutil.Process(self.process.pid)
            keeper = [each for each in front.children() if "tfguard-keeper" in each.cmdline()]
            return {"front": [front], "keeper": keeper, "both": [front, *keeper]}
        return {}


class Nemesis:
    """Picks a client, mostly the one at work, and does it some harm."""

    def __init__(self, clients: list[Client], chance: random.Random) -> None:
        self._clients = clients
        self._chance = chance
        self._healings: list[tuple[float, Callable[[], None]]] = []
        self._is_cut: set[Client] = set()
        self.faults: Counter[str] = Counter()

    def play(self, seconds: float, is_enough: Callable[[], bool]) -> None:
        """Do harm for so long, and on a busy machine until it is enough: for ten times as long at most."""
        began = time.monotonic()
        while (played := time.monotonic() - began) < seconds or (played < patience(seconds) and not is_enough()):
            time.sleep(self._chance.uniform(0.1, 1.4))
            self._heal(time.monotonic())
            victim = self._victim()
            # Only of one that goes on for longer than its lease can the lock be taken while it is at work.
            self._cut(victim) if self._chance.random() < (0.7 if victim.is_stubborn else 0.3) else self._harm(victim)
        self._heal(float("inf"))

    def _victim(self) -> Client:
        with contextlib.suppress(OSError):
            name = (self._clients[0].game.folder / "holder").read_text().partition("-")[0]
            if self._chance.random() < 0.6:
                return next(each for each in self._clients if each.name == name)
        return self._chance.choice(self._clients)

    def _harm(self, victim: Client) -> None:
        fault = self._chance.choice(HARMS)
        verb, whom = fault.split()
        targets = victim.processes().get(whom, [])
        # A stubborn one that has lost both is stopped by nobody: what is asked of it, it does not heed.
        if victim.is_harmed or not targets or (fault == "kill both" and victim.is_stubborn):
            return
        victim.is_harmed = True
        self.faults[fault] += 1
        for target in targets:
            _send(target, signal.SIGKILL if verb == "kill" else signal.SIGSTOP)
            if verb == "stop":
                self._later(lambda target=target: _send(target, signal.SIGCONT))  # type: ignore[misc]

    def _cut(self, victim: Client) -> None:
        if victim in self._is_cut:
            return
        fault = self._chance.choice(list(CUTS))
        self.faults[fault] += 1
        self._is_cut.add(victim)
        victim.path.always("all", CUTS[fault])

        def mend() -> None:
            victim.path.heal()
            self._is_cut.discard(victim)

        self._later(mend)

    def _later(self, heal: Callable[[], None]) -> None:
        self._healings.append((time.monotonic() + self._chance.uniform(0.2, 2 * LEASE_SECONDS), heal))

    def _heal(self, now: float) -> None:
        due = [each for each in self._healings if each[0] <= now]
        self._healings = [each for each in self._healings if each[0] > now]
        for _, heal in due:
            heal()


def play(game: Game, *, clients: int, seconds: float, seed: int, enough: float) -> Figures:
    """Let `clients` add elements to the game's set for `seconds`, if `enough` are there by then, and judge them."""
    chance = random.Random(seed)
    environ = {**game.environ, MARK: str(game.folder), "TFGUARD_LOCK_LEASE": f"{LEASE_SECONDS}s"}
    game = replace(game, environ=environ)
    with contextlib.ExitStack() as stack:
        paths = [stack.enter_context(fault_proxy(game.server)) for _ in range(clients)]
        crowd = [Client(f"c{index}", game, path, random.Random(chance.random())) for index, path in enumerate(paths)]
        stack.callback(kill_what_is_left, game.folder)
        for client in crowd:
            client.start()
        nemesis = Nemesis(crowd, chance)
        nemesis.play(seconds, lambda: _acknowledged(game.folder) >= enough)
        for client in crowd:
            client.is_over.set()
        for client in crowd:
            client.join(patience(60))
            assert not client.is_alive(), f"a run hangs: {client.process}"
        eventually(lambda: not left_of(game.folder), 3 * LEASE_SECONDS + 20, f"an end of {left_of(game.folder)}")
    said = "".join(text for client in crowd for text in client.said)
    (game.folder / "said").write_text(said)
    broken = re.search(r'File "[^"]*/tfguard/.{0,2000}', said, re.DOTALL)
    assert broken is None, broken[0]
    figures = Figures(
        faults=nemesis.faults,
        codes=sum((client.codes for client in crowd), Counter()),
        takeovers=said.count("took the lock over"),
        freezes=said.count("is frozen, since"),
    )
    return judge(game.folder, figures)


def _acknowledged(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(line.startswith("acknowledged ") for line in (folder / "journal").read_text().splitlines())
    return 0


def judge(folder: Path, figures: Figures) -> Figures:
    """Compare what was acknowledged with what is there, and look who was at work beside whom."""
    events: dict[str, list[tuple[str, str, float]]] = {"attempted": [], "acknowledged": [], "overlap": []}
    for line in (folder / "journal").read_text().splitlines():
        event, subject, token, instant = line.split()
        events[event].append((subject, token, float(instant)))
    there = (folder / "set").read_text().split()
    begun = {subject: instant for subject, _, instant in events["attempted"]}
    ended = {subject: instant for subject, _, instant in events["acknowledged"]}
    figures.attempted, figures.acknowledged = len(begun), len(ended)
    figures.lost = [element for element in ended if element not in there]
    figures.strangers = [element for element in there if element not in begun or there.count(element) > 1]
    figures.overlaps = [subject for subject, _, _ in events["overlap"]] + list(_side_by_side(begun, ended))
    tokens = [(int(token), subject) for subject, token, _ in events["attempted"] if token != "-"]
    figures.stale_tokens = [late[1] for early, late in itertools.pairwise(tokens) if late[0] <= early[0]]
    return figures


def _side_by_side(begun: Mapping[str, float], ended: Mapping[str, float]) -> Iterator[str]:
    """Those whose write came after another had begun: whatever else happened to them, they were not alone."""
    for element, end in ended.items():
        beside = [other for other, begin in begun.items() if begun[element] < begin < end]
        yield from (f"{element}:{other}" for other in beside)


def left_of(folder: Path) -> list[psutil.Process]:
    """The processes that a play has started and that still are."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill_what_is_left(folder: Path) -> None:
    for process in left_of(folder):
        _send(process, signal.SIGKILL)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
