"""
Terraform's output, passed on byte for byte and flushed at every read.

One thread a stream, so that a reader who stalls stalls nothing but its own stream: signals, deadlines and heartbeats
go on. A closed stdout is not passed on to Terraform, which would die of it: we go on reading and drop what nobody
wants.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tfguard import threads
from tfguard.outlet import outlet
from tfguard.process.words import Ear

_CHUNK = 65536
#: How much of the end of a stream is kept for whoever asks why a command failed.
_KEPT_BYTES = 65536


StreamName = Literal["stdout", "stderr"]


class Relay:
    """
    Copies `source` (non-blocking) to `sink` until told that the writer is gone, then what is left. `keep` gets all of
    it, in a thread of ours; `on_defect` what went wrong there.
    """

    def __init__(
        self,
        source: int,
        sink: int,
        on_interrupt_heard: Callable[[], None],
        keep: Callable[[bytes], object] = len,
        on_defect: Callable[[BaseException], object] = repr,
    ) -> None:
        self.source = source
        self._sink = sink
        self._on_interrupt_heard = on_interrupt_heard
        self._keep = keep
        self._on_defect = on_defect
        self.last_words = b""
        self._ear = Ear()
        self._is_sink_open = True
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threads.start(f"relay-{sink}", lambda: self._copy(self._heed), on_defect=self._do_without)

    def finish(self) -> None:
        """The writer is gone: pass on what is left, then end. Descendants that still hold the pipe are not awaited."""
        os.write(self._stop_write, b".")

    def is_finished(self, wait_seconds: float) -> bool:
        """Wait up to `wait_seconds` for the last byte. Not to be called again once it was true."""
        self._thread.join(wait_seconds)
        if self._thread.is_alive():
            return False
        for end in (self.source, self._stop_read, self._stop_write):
            os.close(end)
        return True

    def _copy(self, take: Callable[[bytes], None]) -> None:
        is_last = False
        while True:
            ready, _, _ = select.select([self.source, self._stop_read], [], [])
            is_last = is_last or self._stop_read in ready
            try:
                data = os.read(self.source, _CHUNK)
            except BlockingIOError:
                if is_last:
                    break
                continue
            if not data:
                break
            take(data)

    def _heed(self, data: bytes) -> None:
        try:
            if self._ear.hears(data):
                self._on_interrupt_heard()
            self.last_words = (self.last_words + data)[-_KEPT_BYTES:]
            self._keep(data)
        finally:
            self._write(data)

    def _do_without(self, error: BaseException) -> None:
        """Who looks at what passes has a defect. Terraform's output passes all the same, unseen."""
        self._on_defect(error)
        self._copy(self._write)

    def _write(self, data: bytes) -> None:
        if self._is_sink_open:
            try:
                outlet(self._sink).write(data)
            except OSError:
                self._is_sink_open = False


@dataclass
class Stream:
    """
    One of the child's two output streams. `end` is the descriptor that the child gets: the terminal itself, or the
    end of a pipe whose other end `relay` copies.
    """

    name: StreamName
    end: int
    relay: Relay | None = None

    @classmethod
    def open(
        cls,
        name: StreamName,
        sink: int,
        on_heard: Callable[[], None],
        keep: Callable[[bytes], object] | None,
        on_defect: Callable[[BaseException], object],
    ) -> Stream:
        """A terminal is inherited, so that Terraform sees it; everything else, or what is to be kept, is relayed."""
        if os.isatty(sink) and keep is None:
            return cls(name, sink)
        source, end = os.pipe()
        os.set_blocking(source, False)
        return cls(name, end, Relay(source, sink, on_heard, keep or len, on_defect))

    def let_go(self) -> None:
        """The child has its end: close ours, so that the pipe ends with the child."""
        if self.relay is not None:
            os.close(self.end)


def sinks(stdout: int) -> tuple[tuple[StreamName, int], ...]:
    """Where the child's two streams go, in the order of their descriptors."""
    return (("stdout", stdout), ("stderr", 2))
