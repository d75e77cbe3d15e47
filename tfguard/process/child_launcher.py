"""How the front has its keeper start a program: with which descriptors, in which process group, relayed by whom."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Literal

import msgspec

from tfguard import files
from tfguard.guard import messages
from tfguard.process import inherited
from tfguard.process.launch import without_tracking
from tfguard.process.relatives import NEST, new_nest
from tfguard.process.relay import Relay, Stream, sinks

_CAPTURED_BYTES = 65536
#: A Terraform's daemons write no state; a Terraform that has outlived its wrapper does.
TERRAFORM = messages.Family(nest="", waits_for="writers")


class ChildLauncher:
    """
    Makes the message that starts a program, and the relays of what it prints.

    `send` gets each message with its descriptors. `on_interrupt_heard` is called, by a relay's thread, when the program
    says "Interrupt received", and `on_defect` when that thread has a defect. `last_words` is the end of what the last
    program printed, as far as it was relayed.
    """

    def __init__(
        self,
        send: Callable[[messages.Spawn, list[int]], None],
        on_interrupt_heard: Callable[[], None],
        on_defect: Callable[[BaseException], object],
        *,
        shares_terminal: bool,
    ) -> None:
        self.last_words = ""
        self._send = send
        self._on_interrupt_heard = on_interrupt_heard
        self._on_defect = on_defect
        self._shares_terminal = shares_terminal

    def start(
        self,
        argv: Sequence[str],
        directory: str,
        environ: Mapping[str, str],
        stdout: int,
        keep: Callable[[bytes], object] | None,
        family: messages.Family,
        *,
        is_last: bool,
    ) -> list[Relay]:
        """
        Start a program that reads our input; return the relays of its output, to be finished once it has ended.

        `family` is without a nest yet. One that writes to 1 is the user's own, and has what was opened for it beside
        0, 1 and 2; we keep nothing of that where it `is_last`.
        """
        # What comes through a pipe can be read once: not by a program of ours.
        handed = inherited.found().descriptors if stdout == 1 else ()
        streams = [
            Stream.open(name, sink, self._on_interrupt_heard, keep, self._on_defect) for name, sink in sinks(stdout)
        ]
        relays = [stream.relay for stream in streams if stream.relay]
        self._spawn(
            argv,
            directory,
            environ,
            [0, *(stream.end for stream in streams), *(relay.source for relay in relays), *handed],
            [stream.name for stream in streams if stream.relay],
            family,
            handed,
        )
        for stream in streams:
            stream.let_go()
        if is_last:
            inherited.let_go()
        return relays

    @contextmanager
    def capture(self, argv: Sequence[str], directory: str, environ: Mapping[str, str]) -> Iterator[Captured]:
        """Start a program without input, and give what it has printed by the time it is asked for."""
        with files.scratch() as file, open(os.devnull, "rb") as nothing:
            self._spawn(argv, directory, environ, [nothing.fileno(), file.fileno(), file.fileno()], [], TERRAFORM)
            yield Captured(file)

    def note_last_words(self, relays: Sequence[Relay]) -> None:
        """The program has ended, and so have its relays."""
        self.last_words = b"".join(relay.last_words for relay in relays).decode("utf-8", "replace")

    def _spawn(
        self,
        argv: Sequence[str],
        directory: str,
        environ: Mapping[str, str],
        descriptors: list[int],
        relayed: list[Literal["stdout", "stderr"]],
        family: messages.Family,
        handed: Sequence[int] = (),
    ) -> None:
        family = msgspec.structs.replace(family, nest=new_nest(environ))
        message = messages.Spawn(
            argv=list(argv),
            directory=directory,
            environ={**without_tracking(environ), NEST: family.nest},
            family=family,
            group=os.getpgrp() if self._shares_terminal else 0,
            relayed=relayed,
            handed=list(handed),
        )
        self._send(message, descriptors)


class Captured:
    """What a program prints into a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self) -> str:
        """Return the end of it."""
        self._file.seek(max(0, self._file.tell() - _CAPTURED_BYTES))
        return self._file.read().decode("utf-8", "replace")
