"""One end of the socket between front and keeper."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from tfguard.guard.messages import ToFront, ToKeeper
from tfguard.lock import protocol
from tfguard.wire import Unpacker, pack

Said = TypeVar("Said", bound=msgspec.Struct)
Heard = TypeVar("Heard", bound=msgspec.Struct)


#: News of which only the latest is worth hearing: where the other end does not read, a later one takes its place.
NEWS = (protocol.Beaten, protocol.Waiting, protocol.Troubled)


#: The kernel takes no more descriptors with one piece of a message (Linux: SCM_MAX_FD).
_MAX_DESCRIPTORS = 253
_ROOM = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array("i").itemsize)


@dataclass
class _Unsent:
    message: msgspec.Struct
    data: bytes
    descriptors: Sequence[int]
    is_begun: bool = False
    are_copies: bool = False

    def keep_descriptors(self) -> None:
        """It has to wait: keep copies, for the sender may close its own. Where none can be had, it goes without."""
        if self.are_copies:
            return
        given, self.descriptors, self.are_copies = self.descriptors, [], True
        with contextlib.suppress(OSError):
            for each in given:
                self.descriptors = [*self.descriptors, os.dup(each)]

    def note_sent(self, size: int, count: int) -> None:
        """So many bytes are sent, and so many descriptors beside them."""
        if self.are_copies:
            for each in self.descriptors[:count]:
                os.close(each)
        self.data, self.descriptors, self.is_begun = self.data[size:], self.descriptors[count:], True


class Channel(Generic[Said, Heard]):
    """
    One end of the socketpair: whole messages out, whole messages in, descriptors in the order they were sent.

    Made by `front_end` and `keeper_end`. One thread receives, any may send. Nothing here blocks: an end that does not
    read (it was stopped, say) stops nobody. What it has no room for waits here, in order, until `flush` finds some.
    Nothing raises either: whether the other end lives is learnt by reading.
    """

    def __init__(self, end: socket.socket, heard: Unpacker) -> None:
        self.socket = end
        self.socket.setblocking(False)
        self.is_open = True
        self._heard = heard
        self._buffer = b""
        self._descriptors: list[int] = []
        self._unsent: list[_Unsent] = []
        self._sending = threading.Lock()

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: Said, descriptors: list[int] | None = None) -> None:
        """Send one message, with descriptors if there are any: they stay the caller's, who may close them at once."""
        line = pack(message) + b"\n"
        with self._sending:
            if isinstance(message, NEWS):
                kind = type(message)
                self._unsent = [each for each in self._unsent if each.is_begun or type(each.message) is not kind]
            self._unsent.append(_Unsent(message, line, tuple(descriptors or ())))
            self._flush()
            for each in self._unsent:
                each.keep_descriptors()

    def flush(self) -> bool:
        """Send what waits, as far as there is room for it; return whether nothing is left. For every look."""
        with self._sending:
            return self._flush()

    def _flush(self) -> bool:
        try:
            while self._unsent:
                self._send_some(self._unsent[0])
                if not self._unsent[0].data:
                    del self._unsent[0]
        except BlockingIOError:
            pass
        except OSError:  # Nobody is there any more.
            for unsent in self._unsent:
                unsent.note_sent(0, len(unsent.descriptors))
            self._unsent.clear()
        return not self._unsent

    def _send_some(self, unsent: _Unsent) -> None:
        if not unsent.descriptors:
            unsent.note_sent(self.socket.send(unsent.data), 0)
            return
        now = unsent.descriptors[:_MAX_DESCRIPTORS]
        # Where they do not all go at once, one byte goes with each part: the message must not be whole before they are.
        data = unsent.data if len(now) == len(unsent.descriptors) else unsent.data[:1]
        unsent.note_sent(socket.send_fds(self.socket, [data], now), len(now))

    def receive(self) -> list[Heard]:
        """Read once, what is there, and return the messages now complete; sets `is_open` at the end."""
        try:
            data, ancillary, _, _ = self.socket.recvmsg(65536, _ROOM)
        except (InterruptedError, BlockingIOError):
            return []
        except OSError:
            data, ancillary = b"", []
        self._descriptors += _descriptors_of(ancillary)
        if not data:
            self.is_open = False
            return []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [self._heard.unpack(line) for line in lines]

    def take_descriptors(self, count: int) -> list[int]:
        """Return the oldest `count` descriptors received, now the caller's to close."""
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return taken

    def close(self) -> None:
        """Close this end; the other end reads end-of-file."""
        self.is_open = False
        self.socket.close()


FrontEnd = Channel[ToKeeper, ToFront]
KeeperEnd = Channel[ToFront, ToKeeper]


def front_end(end: socket.socket) -> FrontEnd:
    """Return the front's end of the socketpair."""
    return Channel(end, Unpacker(ToFront))


def keeper_end(end: socket.socket) -> KeeperEnd:
    """Return the keeper's end of the socketpair."""
    return Channel(end, Unpacker(ToKeeper))


def _descriptors_of(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    for descriptor in found:
        os.set_inheritable(descriptor, False)
    return list(found)
