"""
One lock in a real store behind a fault proxy, and real tfguards that come for it.

`rival` and `raw` reach the store beside the proxy. The lock has a name of its own, so no row pays for a Terraform; the
record, the lease and everything that is done to them are the same.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil

from tests.contract.kinds import ConsulKind, DynamoDBKind, S3Kind
from tests.e2e import forked
from tests.e2e.conftest import TFGUARD, Result, base_environ
from tests.e2e.running import Running
from tests.faults.proxy import FaultProxy
from tests.support.eventually import eventually
from tfguard.backends import open_store
from tfguard.backends.aws.spec import S3Spec
from tfguard.backends.consul.spec import ConsulSpec
from tfguard.clock import SystemClock
from tfguard.lock.store import LockRecord, Store

WORK = Path(__file__).with_name("work.py")
_BARE = ("-S", "-I")
#: The lease of a row that waits for its end: it leaves the keeper of a busy machine three seconds without a turn.
SHORT_LEASE = 9.0
_UNREAD = """
import os, sys
read, write = os.pipe()
os.set_inheritable(read, True)
os.set_blocking(write, False)
try:
    while True: os.write(write, b"x" * 4096)
except BlockingIOError: pass
os.set_blocking(write, True)
os.dup2(write, 2)
os.execvp(sys.argv[1], sys.argv[1:])
"""
#: A launcher: tfguard, with much to say, and a stderr that is full and that nobody reads.
UNREAD = (sys.executable, "-c", _UNREAD, *TFGUARD, "--verbose")


@dataclass(frozen=True)
class Line:
    """One line of the work's log; `at` is boottime."""

    name: str
    word: str
    at: float


@dataclass
class Scene:
    """`lease` is that of every run here, in seconds, unless it says otherwise."""

    kind: DynamoDBKind | S3Kind | ConsulKind
    proxy: FaultProxy
    folder: Path
    lease: float = 18.0
    started: list[Running] = field(default_factory=list)
    clock: SystemClock = field(default_factory=SystemClock)

    @property
    def heartbeat(self) -> float:
        """Seconds between two heartbeats."""
        return self.lease / (12 if isinstance(self.kind, S3Kind) else 18)

    # --- who comes for the lock ---------------------------------------------------------------------------------

    def run(
        self,
        name: str = "a",
        *,
        timeout: str = "10m",
        manner: str = "",
        lock: str = "",
        lease: float = 0.0,
        beside: bool = False,
        argv: Sequence[str] = (),
        launcher: Sequence[str] = TFGUARD,
        **environ: str,
    ) -> Running:
        """
        Start a tfguard whose work writes to the log until `let_end(name)`.

        `beside`: it does not go through the proxy. `lock`: for another lock than the scene's. `argv`: another program
        than the work. `manner`: the work's.
        """
        work = [sys.executable, *_BARE, str(WORK), name, str(self.log), str(self._gate(name)), *manner.split()]
        where = ("--name", lock or self._name, "--store", self._url(beside=beside))
        words = [f"--lock-timeout={timeout}", "exec", *where, "--", *(argv or work)]
        process = self._start(launcher, words, {**self._environ(lease or self.lease), **environ})
        self.started.append(Running(process))
        return self.started[-1]

    def _start(self, launcher: Sequence[str], words: list[str], environ: dict[str, str]) -> subprocess.Popen[str]:
        if launcher is TFGUARD and forked.fits(environ):
            process = forked.Forked(words, self.folder, environ)
            assert process.stdin
            process.stdin.close()
            return process
        return subprocess.Popen(
            [*launcher, *words],
            cwd=self.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tfguard(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command of tfguard's to its end."""
        environ = self._environ(self.lease)
        return subprocess.run([*TFGUARD, *words], cwd=self.folder, env=environ, capture_output=True, text=True)

    def _environ(self, lease: float) -> dict[str, str]:
        return {**base_environ(self.folder), "TFGUARD_LOCK_LEASE": f"{lease:g}s"}

    def rival(self, name: str = "rival", **facts: Any) -> Running:
        """A tfguard that the proxy does not come between."""
        return self.run(name, beside=True, **facts)

    def begun(self, name: str = "a", **facts: Any) -> Running:
        """A run in the middle of its work."""
        made = self.run(name, **facts)
        eventually(lambda: self.lines(name, "begin") or made.process.poll() is not None, 40, f"{name} begin")
        assert self.lines(name, "begin"), f"it has ended without beginning: {made.end()}"
        return made

    def beating(self, **facts: Any) -> Running:
        """The same, and a heartbeat has landed."""
        made = self.begun(**facts)
        eventually(self.proxy.beats, 30, "a heartbeat")
        return made

    def waiter(self, name: str = "b") -> Running:
        """A rival that has seen who holds the lock."""
        made = self.rival(name)
        made.wait_for("is held by")
        return made

    def let_end(self, *names: str) -> None:
        """Let the work of these runs come to its end."""
        for name in names or ("a",):
            self._gate(name).touch()

    def _gate(self, name: str) -> Path:
        return self.folder / f"gate-{name}"

    @property
    def _name(self) -> str:
        match spec := self.kind.spec:
            case S3Spec():
                return spec.key.removesuffix(".tflock")
            case ConsulSpec():
                return spec.path.rpartition("/")[2]
        return spec.lock_id

    def _url(self, *, beside: bool) -> str:
        endpoint = self.kind.server.endpoint if beside else self.proxy.endpoint
        if isinstance(self.kind, ConsulKind):
            return f"consul://{urlsplit(endpoint).netloc}/{self.kind.spec.path.rpartition('/')[0]}"
        if isinstance(self.kind, S3Kind):
            return f"s3://{self.kind.spec.bucket}?region=us-east-1&path_style=true&endpoint={endpoint}"
        return f"dynamodb://{self.kind.spec.table}?region=us-east-1&endpoint={endpoint}"

    # --- what they wrote ----------------------------------------------------------------------------------------

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def lines(self, name: str = "", word: str = "") -> list[Line]:
        """The work's log, or what of it is this run's, or this word."""
        if not self.log.exists():
            return []
        lines = [line.split() for line in self.log.read_text().splitlines()]
        found = [Line(line[0], line[1], float(line[2])) for line in lines if len(line) == 3]
        return [line for line in found if name in ("", line.name) and word in ("", line.word)]

    def wait_for(self, name: str, word: str, timeout: float = 40.0) -> Line:
        """Wait until the work of that run says so."""
        return eventually(lambda: self.lines(name, word), timeout, f"{name} {word}")[0]

    def times(self, name: str, word: str) -> int:
        return len(self.lines(name, word))

    # --- the lock, as anybody sees it ---------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The register itself, beside the proxy."""
        return self.kind.opened[0] if self.kind.opened else self.kind.open()

    def through(self) -> Store:
        """Another instance of the register, as another process would have it, behind the proxy."""
        if isinstance(self.kind, ConsulKind):
            access = msgspec.structs.replace(self.kind.spec.consul, address=urlsplit(self.proxy.endpoint).netloc)
            self.kind.opened.append(open_store(msgspec.structs.replace(self.kind.spec, consul=access)))
        else:
            spec = msgspec.structs.replace(self.kind.spec, endpoint=self.proxy.endpoint)
            self.kind.opened.append(open_store(spec, self.kind.credentials))
        return self.kind.opened[-1]

    def record(self) -> LockRecord | None:
        return self.store.read()

    def wait_until_free(self, timeout: float = 20.0) -> None:
        eventually(lambda: self.record() is None, timeout, "the lock's release")

    def remove(self) -> None:
        """Delete the record as a person does in the console: whoever holds it is not asked."""
        found = self.record()
        assert found is not None
        lock_id = found.id
        while found is not None and found.id == lock_id:  # Between look and deletion it may have had a heartbeat.
            with contextlib.suppress(Exception):
                self.store.delete(found)
            found = self.record()

    def overwrite(self, record: LockRecord) -> None:
        """Put another's record there, whatever is there now."""
        if self.record() is not None:
            self.remove()
        self.store.create(record)

    def close(self) -> None:
        for each in self.started:
            for process in family(each.pid):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            each.close()


class LocalScene(Scene):
    """A lock that the kernel keeps on a file; there is nothing between it and its runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(None, None, folder)  # type: ignore[arg-type]  # no server, no proxy

    @property
    def _name(self) -> str:
        return "lock"

    def _url(self, *, beside: bool) -> str:
        return f"file://{self.folder}/locks"


def on_both_stores(row: Callable[..., None]) -> Callable[..., None]:
    """
    Let a test of one `scene` play on DynamoDB and on S3 at the same time: most of a row is waiting.

    What is said of a failure names the store.
    """
    return _played_on("scenes", row)


def on_every_store(row: Callable[..., None]) -> Callable[..., None]:
    """The same for a row that depends on what a store answers: on Consul as well."""
    return _played_on("every_scene", row)


def _played_on(fixture: str, row: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(row)
    def play(**facts: Any) -> None:
        scenes: Sequence[Scene] = facts.pop(fixture)
        with ThreadPoolExecutor(len(scenes)) as stage:
            played = [stage.submit(row, scene=scene, **facts) for scene in scenes]
        for scene, each in zip(scenes, played):
            error = each.exception()
            if error is not None:
                error.add_note(f"on {type(scene.kind).__name__}") if hasattr(error, "add_note") else None
                raise error

    signature = inspect.signature(row)
    others = [each for name, each in signature.parameters.items() if name != "scene"]
    all_of_them = inspect.Parameter(fixture, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    play.__signature__ = signature.replace(parameters=[all_of_them, *others])  # type: ignore[attr-defined]
    return play


# --- processes ------------------------------------------------------------------------------------------------------


def family(pid: int) -> list[psutil.Process]:
    """A process and all that descends from it, parents first."""
    with contextlib.suppress(psutil.Error):
        front = psutil.Process(pid)
        return [front, *front.children(recursive=True)]
    return []


def keeper_of(run: Running) -> psutil.Process:
    return next(each for each in family(run.pid) if "tfguard-keeper" in each.cmdline())


def work_of(run: Running) -> psutil.Process:
    return next(each for each in family(run.pid) if each.cmdline()[1:4] == [*_BARE, str(WORK)])


def is_gone(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def lock_id_said(run: Running) -> str:
    """The lock ID that a run tells its user, whether it has waited for the lock or not."""
    run.wait_for(": locked")
    said = re.search(r": locked.* \((.+)\)\.$", run.err, re.MULTILINE)
    return said[1] if said else ""


def exit_record(result: Result) -> dict[str, str]:
    """The words of a run's last line."""
    line = next(line for line in reversed(result.err.splitlines()) if "run.finished" in line)
    return dict(word.split("=", 1) for word in line.split() if "=" in word)
