"""
The failures that are compared, each a function of one client: what happened, in a few words, and whether that is well.

Every row starts from a free lock and a store that works, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.proxy import HANGS, UNHEARD
from tests.peers.clients import LEASE_SECONDS, Client
from tests.support.eventually import within

WORK = Path(__file__).parents[1] / "faults" / "work.py"
#: Longer than this nobody is waited for: what has not happened by then does not happen.
PATIENCE_SECONDS = 4 * LEASE_SECONDS


@dataclass(frozen=True)
class Cell:
    """`is_good` is None where there is nothing to judge."""

    is_good: bool | None
    text: str

    def __str__(self) -> str:
        return f"{ ({True: '✓ ', False: '✗ '}.get(self.is_good, '') if self.is_good is not None else '') }{self.text}"


@dataclass
class Scene:
    """Runs of one client, and what their work wrote."""

    client: Client
    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, name: str, *manner: str) -> subprocess.Popen[bytes]:
        work = [sys.executable, "-S", "-I", str(WORK), name, str(self.log), str(self.folder / f"gate-{name}"), *manner]
        self.started.append(self.client.start(work))
        return self.started[-1]

    def let_end(self, name: str) -> None:
        (self.folder / f"gate-{name}").touch()

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def times(self, name: str, *words: str) -> list[float]:
        """When the work of that run said one of these words (boottime)."""
        lines = [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [float(line[2]) for line in lines if len(line) == 3 and line[0] == name and line[1] in words]

    def begins(self, name: str, seconds: float = PATIENCE_SECONDS) -> float | None:
        """When the work of that run began; None if it did not within `seconds`."""
        times = within(seconds, lambda: self.times(name, "begin"))
        return times[0] if times else None

    def is_at_work(self, name: str) -> bool:
        """Whether that work still writes."""
        before = len(self.times(name, "tick"))
        time.sleep(0.4)
        return len(self.times(name, "tick")) > before

    def close(self) -> None:
        self.client.proxy.heal()
        for process in self.started:
            for each in family(process.pid):
                with contextlib.suppress(psutil.Error):
                    each.kill()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for each in psutil.process_iter(["cmdline"]):
            if str(self.folder) in " ".join(each.info["cmdline"] or []):
                with contextlib.suppress(psutil.Error):
                    each.kill()
        self.client.clear()


@contextlib.contextmanager
def scene(client: Client, folder: Path) -> Iterator[Scene]:
    folder.mkdir()
    made = Scene(client, folder)
    try:
        yield made
    finally:
        made.close()


def family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def now() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


# --- the rows -------------------------------------------------------------------------------------------------------


def acquire_unheard(at: Scene) -> Cell:
    """The lock is written, and the answer is lost: whose is it?"""
    at.client.proxy.on(at.client.acquires, UNHEARD)
    started = now()
    at.run("a")
    begun = at.begins("a")
    if begun is None:
        return Cell(False, f"waits for itself, {PATIENCE_SECONDS:.0f} s and on")
    seconds = begun - started
    return Cell(seconds < LEASE_SECONDS / 2, f"runs after {seconds:.1f} s")


def beat_unheard(at: Scene) -> Cell:
    """A heartbeat is written, and the answer is lost: it is no theft."""
    if not at.client.has_lease:
        return Cell(None, "no heartbeat")
    at.run("a")
    at.begins("a")
    at.client.proxy.on(at.client.beats, UNHEARD)
    time.sleep(LEASE_SECONDS / 2)
    works = at.is_at_work("a") and not at.times("a", "asked")
    return Cell(works, "goes on" if works else "takes it for a theft, and stops")


def store_hangs(at: Scene) -> Cell:
    """The holder's path to the store hangs, nobody else's does: are two ever at work?"""
    at.run("a", "stubborn")
    at.begins("a")
    ours = at.client.proxy
    with contextlib.ExitStack() as stack:
        from tests.faults.proxy import fault_proxy

        at.client.proxy = stack.enter_context(fault_proxy(at.client.dynamodb.endpoint))
        stack.callback(setattr, at.client, "proxy", ours)
        ours.always("all", HANGS)
        at.run("b")
        begun = at.begins("b")
        if begun is None:
            ours.heal()
            return Cell(True, "nobody gets in")
        time.sleep(1.0)
        beside = [instant for instant in at.times("a", "tick") if instant > begun]
        ours.heal()
    if beside:
        return Cell(False, f"two at work, {beside[-1] - begun:.1f} s and on")
    return Cell(True, f"frozen {begun - at.times('a', 'tick')[-1]:.1f} s before the other begins")


def stolen(at: Scene) -> Cell:
    """Somebody forces the lock open, and another takes it: does the work stop?"""
    at.run("a")
    at.begins("a")
    at.client.plant()
    taken = now()
    if within(PATIENCE_SECONDS, lambda: not at.is_at_work("a")):
        return Cell(True, f"stopped after {max(0.0, at.times('a', 'tick')[-1] - taken):.1f} s")
    return Cell(False, f"works on, {PATIENCE_SECONDS:.0f} s and on")


def killed(at: Scene) -> Cell:
    """`kill -9` of all that belongs to a run: when does the next one get in?"""
    first = at.run("a")
    at.begins("a")
    for each in family(first.pid):
        with contextlib.suppress(psutil.Error):
            each.kill()
    dead = now()
    at.run("b")
    begun = at.begins("b")
    if begun is None:
        return Cell(False, "never: somebody must unlock it")
    return Cell(True, f"free after {begun - dead:.1f} s (lease {LEASE_SECONDS:.0f} s)")


def wrapper_killed(at: Scene) -> Cell:
    """`kill -9` of the process that was started: does the work go on without anybody's lock?"""
    first = at.run("a")
    at.begins("a")
    first.kill()
    dead = now()
    at.run("b")
    begun = at.begins("b")
    time.sleep(1.0)
    last = at.times("a", "tick", "end")[-1]
    if begun is not None and last > begun:
        return Cell(False, f"works on beside the next, from {begun - dead:.1f} s on")
    if begun is None:
        works = at.is_at_work("a")
        return Cell(False, "works on; the lock stays" if works else "stopped; the lock stays")
    return Cell(True, f"work stops after {max(0.0, last - dead):.1f} s, free after {begun - dead:.1f} s")


def release_unheard(at: Scene) -> Cell:
    """The lock is released, the answer is lost, another takes it: does the retry delete the other's?"""
    first = at.run("a")
    at.begins("a")
    at.client.proxy.after_next(at.client.releases, at.client.plant)
    at.client.proxy.on(at.client.releases, UNHEARD)
    at.let_end("a")
    with contextlib.suppress(subprocess.TimeoutExpired):
        first.wait(PATIENCE_SECONDS)
    time.sleep(2.0)
    survives = not at.client.is_free
    return Cell(survives, "the other's lock survives" if survives else "deletes the other's lock")


def two_signals(at: Scene) -> Cell:
    """SIGINT, and a second one a second later, as runners send: is work that stops slowly let end, and once only?"""
    first = at.run("a", "stubborn")
    at.begins("a")
    for _ in range(2):
        first.send_signal(signal.SIGINT)
        time.sleep(1.0)
    held = not at.client.is_free
    works = at.is_at_work("a")
    at.let_end("a")
    with contextlib.suppress(subprocess.TimeoutExpired):
        first.wait(PATIENCE_SECONDS)
    within(LEASE_SECONDS, lambda: at.client.is_free)
    asked = len(at.times("a", "asked"))
    ending = "released" if at.client.is_free else "the lock stays"
    if not works:
        return Cell(False, f"killed; {ending}")
    if not held:
        return Cell(False, "works on without the lock")
    if asked != 1:
        return Cell(False, f"{f'asked to stop {asked} times' if asked else 'works on unasked'}; {ending}")
    return Cell(at.client.is_free, f"asked to stop once, ends in peace; then {ending}")


def terminated(at: Scene) -> Cell:
    """SIGTERM, with which containers and GitLab end a job."""
    first = at.run("a")
    at.begins("a")
    first.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        first.wait(LEASE_SECONDS)
    works = at.is_at_work("a")
    within(LEASE_SECONDS / 2, lambda: at.client.is_free)
    free = at.client.is_free
    text = ("works on" if works else "stopped") + ("; released" if free else "; the lock stays")
    return Cell(free and not works, text)


def line(at: Scene) -> Cell:
    """Four come one after another while a fifth works: in which order, and how soon, do they get in?"""
    at.run("a")
    at.begins("a")
    names = ["b", "c", "d", "e"]
    for name in names:
        at.let_end(name)
        at.run(name)
        time.sleep(2.0)
    time.sleep(2.5)  # By now whoever came first may ask more rarely than whoever came last.
    freed = now()
    at.let_end("a")
    within(60, lambda: all(at.times(name, "begin") for name in names))
    begun = {name: at.times(name, "begin")[0] for name in names if at.times(name, "begin")}
    order = sorted(begun, key=lambda name: begun[name])
    if len(order) < len(names):
        return Cell(False, f"{len(order)} of {len(names)} get in within a minute")
    is_kept = order == names
    return Cell(
        is_kept, f"{'in order' if is_kept else 'in no order'}, all in after {max(begun.values()) - freed:.1f} s"
    )


Row = Callable[[Scene], Cell]
ROWS: dict[str, Row] = {
    "the answer to the acquire is lost": acquire_unheard,
    "the answer to a heartbeat is lost": beat_unheard,
    "the store hangs for the holder alone": store_hangs,
    "the lock is stolen from a working run": stolen,
    "`kill -9` of the whole run": killed,
    "`kill -9` of the wrapper alone": wrapper_killed,
    "the answer to the release is lost, another locks": release_unheard,
    "SIGINT, and again a second later": two_signals,
    "SIGTERM": terminated,
    "four waiters, one after another": line,
}
