"""
The keeper: the process that holds the lock, because the one who holds it must outlive the one who may be killed.

It waits in line, acquires, starts Terraform as its own child, enforces the deadlines and releases, on the normal path
and on the worst one alike. No signal that ends a job ends it; it ends when the front says so, or, once the front is
gone, when Terraform is gone and the lock is released.

What it does when is `guard.keeper_rules`' to decide; here are its eyes and its loop, and its hands are in
`lease_thread`, `program` and `pushes`. The main thread owns the child and the deadlines and never waits for the
network; `lease_thread` owns the leases.

Not promised: whatever kills keeper, front and Terraform together leaves the lock to its lease.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
from collections import deque

from tfguard import programs
from tfguard.clock import SystemClock
from tfguard.guard import messages
from tfguard.guard.hands import KeeperHands
from tfguard.guard.keeper_rules import KeeperRules
from tfguard.jobfiles import own_file
from tfguard.jobfiles.run_record import RecordWriter
from tfguard.lock import protocol
from tfguard.lock.deadlines import TICK_SECONDS
from tfguard.process import child, fork, sentinel, standby
from tfguard.process.channel import KeeperEnd, keeper_end
from tfguard.process.drain import Drain
from tfguard.process.inherited import STOPS
from tfguard.process.lease_thread import Lease
from tfguard.process.page import Page
from tfguard.process.program import Program
from tfguard.process.pushes import Pushes
from tfguard.process.relatives import NEST, new_nest, reap_orphans
from tfguard.process.sentinel_post import SentinelPost
from tfguard.process.signals import become_subreaper

#: What ends a job ends the front, not us: we still have a Terraform to bring home. Heard, and not ignored, because what
#: is ignored is so in a child as well, from its first instant on: it would lose the signal that asks it to stop.
HEARD = (*STOPS, signal.SIGTSTP)
#: Whoever hears these, and does not ignore them, waits for ever for a terminal that is another's.
IGNORED = (signal.SIGTTOU, signal.SIGTTIN)
_CHUNK = 65536


class Front:
    """The front, at the other end of the channel: the `FrontPort`."""

    def __init__(self, channel: KeeperEnd, lease: Lease) -> None:
        self._channel = channel
        self._lease = lease

    def tell(self, message: messages.ToFront) -> None:
        """Send it a message; what carries the lock, or a place in a nest, goes with the word that it is held by it."""
        carries_lock = isinstance(message, (protocol.Held, protocol.Retaken)) and self._lease.local_fd >= 0
        self._channel.send(message, [self._lease.local_fd] if carries_lock else None)


class Record:
    """The run's record, once a lock is asked for: the `RecordPort`."""

    def __init__(self) -> None:
        self.writer = RecordWriter("", None)

    def begin(self, request: messages.Acquire) -> None:
        self.writer = RecordWriter.of(request.record_path, request.record)

    def note_held(self, lock: protocol.Held | protocol.Adoption) -> None:
        self.writer.note_held(
            lock_id=lock.lock_id,
            force_unlock_id=lock.force_unlock_id,
            token=lock.token,
            waited_s=round(lock.waited_seconds, 1),
        )

    def note_outcome(self, outcome: str, exit_code: int | None) -> None:
        self.writer.note(outcome=outcome, exit_code=exit_code)

    def note_released(self, result: str, held_seconds: float) -> None:
        self.writer.note(release=result, held_s=round(held_seconds, 1))


class Keeper:
    """One lock, and the programs run under it one after another: its eyes and its loop."""

    def __init__(self, channel: KeeperEnd, page: Page, lifeline: int = -1) -> None:
        self._channel = channel
        self._page = page
        self._clock = SystemClock()
        self._inbox: deque[protocol.Word | BaseException] = deque()
        self._is_signalled = False
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        lease, record = Lease(channel, page, self._post), Record()
        front = Front(channel, lease)
        self._sentinels = SentinelPost(page, lifeline, self._selector)
        self._program = Program(
            front,
            lease,
            self._sentinels,
            page,
            self._selector,
            record=lambda: record.writer,
            watchdog=lambda: self._rules.watchdog,
            on_interrupt_heard=lambda: self._rules.on_front(messages.ChildHeard(), self._clock.boottime()),
        )
        self._pushes = Pushes(self._program, page, lease)
        hands = KeeperHands(front=front, lease=lease, child=self._program, rescue=self._pushes, record=record)
        self._rules = KeeperRules(hands, self._clock.boottime())

    def run(self) -> None:
        """Serve the front until the end of the run, or, without a front, until all is released."""
        self._selector.register(self._channel, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note_signal)
        self._channel.send(messages.Ready())
        if fork.is_possible():  # Before there is a lease's thread.
            standby.prepare(self._page)
            self._sentinels.ensure(is_forked=True)  # Last, for the highest PID.
        while not self._rules.is_done:
            ready = self._selector.select(TICK_SECONDS)
            self._enforce()  # First: after a suspension nothing else may come before the freeze.
            for key, _ in ready:
                self._serve(key.fileobj)
            while self._inbox:
                self._hear(self._inbox.popleft())
            self._enforce()
            self._reap()
        if not self._program.is_given_up:
            self._sentinels.close()
        if os.getppid() != self._page.front:  # It has left, or was killed: we are the last.
            self._page.remove_folder()

    def _note_signal(self, _number: int, _frame: object) -> None:
        self._is_signalled = True

    def _enforce(self) -> None:
        now = self._clock.boottime()
        if self._is_signalled:
            self._is_signalled = False
            self._rules.on_signalled(now)
        self._rules.enforce(now)
        self._program.watch(now)
        self._channel.flush()

    def _reap(self) -> None:
        status = self._program.poll()
        if status is not None:
            self._rules.on_exit(status, self._clock.boottime())
        elif self._program.left:
            self._rules.on_outlived(self._program.left, self._clock.boottime())
        ours = (*self._sentinels.pids, self._program.process.pid if self._program.process is not None else 0)
        # What a library has started is in our group. No program of the front's is.
        reap_orphans(ours, is_ours=lambda pid: programs.is_asked(pid) or os.getpgid(pid) == os.getpid())

    def _serve(self, source: object) -> None:
        if source is self._channel:
            for message in self._channel.receive():
                self._on_front(message)
            if not self._channel.is_open:
                self._on_front_gone()
        elif source == self._wake_read:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, _CHUNK)
        elif isinstance(source, sentinel.Sentinel):
            if self._program.on_sentinel(source):
                self._rules.on_everybody_signalled(self._clock.boottime())
        elif isinstance(source, Drain):
            source.drain(self._selector)

    def _hear(self, message: protocol.Word | BaseException) -> None:
        """What the lease's thread has posted; a defect that has ended it ends us as a whole."""
        if isinstance(message, BaseException):
            raise message
        self._rules.on_session(message, self._clock.boottime())

    def _post(self, message: protocol.Word | BaseException) -> None:
        self._inbox.append(message)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b".")

    def _on_front(self, message: messages.ToKeeper) -> None:
        match message:
            case messages.Spawn():
                self._on_spawn(message)
            case messages.ChildGone() if isinstance(self._program.process, child.AdoptedChild):
                self._program.process.is_reaped = True
                self._reap()  # Now: the next message may be to start another.
            case messages.Acquire() | messages.Adopt():
                self._rules.on_front(message, self._clock.boottime())
                self._sentinels.ensure()  # Now, while the lease's thread waits for the store.
            case _:
                self._rules.on_front(message, self._clock.boottime())

    def _on_spawn(self, message: messages.Spawn) -> None:
        """Its descriptors come with it, and are ours to close whatever is decided."""
        count = 3 + len(message.relayed) + len(message.handed)
        self._program.take_descriptors(self._channel.take_descriptors(count), len(message.relayed))
        self._pushes.begin_program()
        try:
            self._rules.on_front(message, self._clock.boottime())
        finally:
            self._program.let_go_of_descriptors()
        if self._program.must_outrun(message.environ):
            self._program.raise_sentinel(self._clock.boottime())

    def _on_front_gone(self) -> None:
        self._selector.unregister(self._channel)
        self._channel.close()
        self._rules.on_front_gone(self._clock.boottime())


def hear_signals() -> None:
    """From now on no signal that ends a job ends us, and none is lost to a program that we start."""
    for number in HEARD:
        signal.signal(number, lambda *_: None)
        signal.siginterrupt(number, False)  # What the lease's thread waits for in a library goes on.
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)


def main(descriptor: int, page: int, lifeline: int) -> None:
    """Run a keeper on one end of the front's socketpair; `page` is theirs, `lifeline` is for its sentinels."""
    os.setpgid(0, 0)
    own_file.remember_job(os.environ)
    become_subreaper()  # Who loses its parent under our lock becomes our child: it may write, and we wait for it.
    # Not for whom a program leaves behind that prints credentials.
    programs.mark({NEST: new_nest(os.environ)})
    hear_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    end = socket.socket(fileno=descriptor)
    end.set_inheritable(False)
    channel = keeper_end(end)
    try:
        Keeper(channel, Page(page), lifeline).run()
    except BaseException as error:  # noqa: BLE001 - a keeper that has died has a successor; half a keeper has none
        channel.send(messages.Told(event="keeper.broken", error=f"{type(error).__name__}: {error}"))
        sys.exit(1)
