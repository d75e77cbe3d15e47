"""A program that still runs, and what it has printed so far."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from tests.e2e.conftest import Result, Stage
from tests.support.eventually import eventually, patience


class Running:
    """Reads both streams of a process all the time, so that it never blocks and a test can wait for words."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid
        self._out: list[str] = []
        self._err: list[str] = []
        assert process.stdout and process.stderr
        self._readers = [
            threading.Thread(target=_collect, args=(stream, into), daemon=True)
            for stream, into in ((process.stdout, self._out), (process.stderr, self._err))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def out(self) -> str:
        return "".join(self._out)

    @property
    def err(self) -> str:
        return "".join(self._err)

    def wait_for(self, words: str, timeout: float = 60.0) -> None:
        """Wait until it has printed `words` on either stream."""
        self._wait_until(lambda: words in self.out + self.err, timeout, repr(words))

    def wait_for_work(self, stage: Stage, timeout: float = 60.0) -> None:
        """Wait until a Terraform of that stage is at work, as `Stage.log_lines` shows."""
        self._wait_until(lambda: stage.log_lines()[-1:] == ["begin"], timeout, "begin")

    def _wait_until(self, check: Callable[[], bool], timeout: float, what: str) -> None:
        eventually(lambda: check() or self.process.poll() is not None, timeout, what)
        if not check():
            raise AssertionError(f"it has ended without {what}: {self.end()}")

    def end(self, timeout: float = patience(30)) -> Result:
        """Wait for its end."""
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(patience(10))
        return Result(code, self.out, self.err)

    def close(self) -> None:
        """Kill it if it still runs; let go of its pipes."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for reader in self._readers:
            reader.join(patience(10))
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[Running]:
    """Watch a process that was just started; it ends with the block."""
    watched = Running(process)
    try:
        yield watched
    finally:
        watched.close()


def _collect(stream: IO[str], into: list[str]) -> None:
    while text := stream.readline():
        into.append(text)
