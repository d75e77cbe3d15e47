"""
The keeper: the process that holds the lock, because the one who holds it must outlive the one who may be killed.

It waits in line, acquires, starts Terraform as its own child, enforces the deadlines and releases, on the normal path
and on the worst one alike. It ignores the signals that end a job; it ends when the front says so, or, once the front
is gone, when Terraform is gone and the lock is released.

What it does when is `guard.keeper_rules`' to decide; here are its eyes and hands: sockets, pipes, processes. The
main thread owns the child and the deadlines and never waits for the network; `lease_thread` owns the leases.

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
from typing import Any

from tfguard.clock import SystemClock
from tfguard.guard import messages
from tfguard.guard.keeper_rules import KeeperRules
from tfguard.guard.watchdog import Action
from tfguard.jobfiles.run_record import RecordWriter
from tfguard.lock import protocol, refusals
from tfguard.lock.deadlines import TICK_SECONDS
from tfguard.process import child, sentinel
from tfguard.process.channel import Channel, keeper_end
from tfguard.process.drain import Drain
from tfguard.process.lease_thread import LeaseThread
from tfguard.process.rescue import Rescuer

#: What ends a job ends the front, not us: we still have a Terraform to bring home.
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU, signal.SIGTTIN)
_CHUNK = 65536
_DONE_BY = {Action.FREEZE: child.freeze, Action.THAW: child.thaw, Action.KILL: child.kill}


class Keeper:
    """One lock, and the programs run under it one after another: the `KeeperHands` of its own `KeeperRules`."""

    def __init__(self, channel: Channel[messages.ToFront, messages.ToKeeper], lifeline: int = -1) -> None:
        self._channel = channel
        self._lifeline = lifeline
        self._clock = SystemClock()
        self._rules = KeeperRules(self, self._clock.boottime())
        self._inbox: deque[protocol.Word | Exception] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        self._worker: LeaseThread | None = None
        self._child: child.Process | None = None
        self._stdio: list[int] = []
        self._relays: list[Drain] = []
        self._sentinel: sentinel.Sentinel | None = None
        self._sentinel_looks_at = float("inf")
        self._record = RecordWriter("", None)
        self._rescuer = Rescuer(None)

    # --- the loop -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve the front until the end of the run, or, without a front, until all is released."""
        self._selector.register(self._channel, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._channel.send(messages.Ready())
        while not self._rules.is_done:
            ready = self._selector.select(TICK_SECONDS)
            self._enforce()  # First: after a suspension nothing else may come before the freeze.
            for key, _ in ready:
                self._serve(key.fileobj)
            while self._inbox:
                self._hear(self._inbox.popleft())
            self._enforce()
            self._reap()
        self._dismiss(self._sentinel)

    def _enforce(self) -> None:
        now = self._clock.boottime()
        self._rules.enforce(now)
        if self._child is None:
            return
        self._ensure_sentinel().expect(self._rules.watchdog.safe_until)
        if now >= self._sentinel_looks_at:
            self._raise_sentinel()
        for relay in self._relays:
            relay.take_over_if_stuck(now, self._selector)

    def _reap(self) -> None:
        status = self._child.poll() if self._child is not None else None
        if status is None:
            return
        self._child = None
        self._sentinel_looks_at = float("inf")
        if self._sentinel is not None:
            self._sentinel.forget()
        for relay in self._relays:
            relay.close(self._selector)
        self._relays = []
        self._rules.on_exit(status, self._clock.boottime())

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
            self._on_sentinel(source)
        elif isinstance(source, Drain):
            source.drain(self._selector)

    def _hear(self, message: protocol.Word | Exception) -> None:
        """What the lease's thread has posted; a defect that has ended it ends us as a whole."""
        if isinstance(message, Exception):
            raise message
        self._rules.on_session(message, self._clock.boottime())

    def _post(self, message: protocol.Word | Exception) -> None:
        self._inbox.append(message)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b".")

    def _on_front(self, message: messages.ToKeeper) -> None:
        if isinstance(message, messages.Spawn):
            self._on_spawn(message)
        elif isinstance(message, messages.ChildGone) and isinstance(self._child, child.AdoptedChild):
            self._child.is_reaped = True
            self._reap()  # Now: the next message may be to start another.
        else:
            self._rules.on_front(message, self._clock.boottime())

    def _on_spawn(self, message: messages.Spawn) -> None:
        """Its descriptors come with it, and are ours to close whatever is decided."""
        descriptors = self._channel.take_descriptors(3 + len(message.relayed))
        self._stdio, relayed = descriptors[:3], descriptors[3:]
        self._relays = [Drain(end, self._record.keep_text) for end in relayed]
        self._rescuer.begin()
        try:
            self._rules.on_front(message, self._clock.boottime())
        finally:
            for descriptor in self._stdio:
                os.close(descriptor)
            child.let_go_of_stdio()
        if self._child is not None and sentinel.must_be_highest(message.environ):
            self._raise_sentinel()

    def _on_front_gone(self) -> None:
        self._selector.unregister(self._channel)
        self._channel.close()
        self._rules.on_front_gone(self._clock.boottime())

    # --- hands: the front, the lease's thread -------------------------------------------------------------------

    def tell(self, message: messages.ToFront) -> None:
        descriptor = -1
        if isinstance(message, protocol.Held) and not message.is_nested and self._worker is not None:
            descriptor = self._worker.session.local_fd
        self._channel.send(message, [descriptor] if descriptor >= 0 else None)

    def start_session(self, request: messages.Acquire, adopt: messages.Adopt | None) -> None:
        descriptors = self._channel.take_descriptors(1) if adopt else []
        lock_fd = descriptors[0] if descriptors else -1
        self._record = RecordWriter.of(request.record_path, request.record)
        self._rescuer = Rescuer(request.rescue, adopt.errored_before if adopt else None)
        self._worker = LeaseThread(request, post=self._post, tell=self._channel.send, adopt=adopt, lock_fd=lock_fd)
        self._worker.start()
        self._ensure_sentinel()  # Now, while the worker waits for the store.

    def is_session_served(self) -> bool:
        return self._worker is not None and self._worker.is_alive()

    def cancel_wait(self) -> None:
        assert self._worker is not None
        self._worker.session.cancel()

    def release(self, message: protocol.Release, *, is_state_unsaved: bool = False) -> None:
        assert self._worker is not None
        if is_state_unsaved:
            self._worker.session.release(message, errored=self._rescuer.path, error=self._rescuer.error)
        else:
            self._worker.session.release(message)

    def abandon(self) -> None:
        assert self._worker is not None
        self._worker.session.abandon()

    # --- hands: the child ---------------------------------------------------------------------------------------

    def start_child(self, message: messages.Spawn) -> int:
        try:
            self._child = child.Child(
                message.argv,
                directory=message.directory,
                environ=message.environ,
                group=message.group,
                stdio=self._stdio,
                sentinel=self._ensure_sentinel().fileno(),
            )
        except OSError as error:
            self.tell(protocol.Failed(why=refusals.NotExecutable(message=f"{message.argv[0]}: {error}")))
            return 0
        self._record.note_child(self._child.pid)
        return self._child.pid

    def guard_child(self) -> None:
        self._register(self._ensure_sentinel())

    def adopt_child(self, pid: int) -> None:
        self._record.note_child(pid)
        self._child = child.AdoptedChild(pid)
        self._ensure_sentinel()  # It has had its SIGINT: nothing to watch, but a later step may come.

    def interrupt_child(self) -> None:
        if self._child is not None:
            child.interrupt(self._child)

    def spare_child(self) -> None:
        if self._sentinel is not None:
            self._sentinel.spare()

    def act(self, action: Action) -> None:
        if self._child is not None:
            _DONE_BY[action](self._child)

    def watch_relays(self, now: float) -> None:
        for relay in self._relays:
            relay.watch_from(now)

    def take_over_relays(self) -> None:
        for relay in self._relays:
            relay.take_over(self._selector)

    # --- hands: what is left over -------------------------------------------------------------------------------

    def is_state_unsaved(self) -> bool:
        return self._rescuer.is_needed

    def unsaved_path(self) -> str:
        return self._rescuer.path

    def start_push(self) -> int:
        self._child = self._rescuer.start(self._ensure_sentinel().fileno())
        return self._child.pid if self._child is not None else 0

    def pushed(self, status: int) -> float | None:
        return self._rescuer.ended(status)

    def set_pushed_aside(self) -> str:
        assert self._worker is not None
        return self._rescuer.set_aside(self._worker.session.lock_id)

    def note_held(self, **facts: Any) -> None:
        self._record.note_held(**facts)

    def note(self, **facts: Any) -> None:
        self._record.note(**facts)

    # --- the sentinel -------------------------------------------------------------------------------------------

    def _ensure_sentinel(self) -> sentinel.Sentinel:
        if self._sentinel is None:
            self._sentinel = sentinel.Sentinel(self._lifeline)
            self._selector.register(self._sentinel, selectors.EVENT_READ)
        return self._sentinel

    def _register(self, watcher: sentinel.Sentinel) -> None:
        assert self._child is not None
        local_fd = self._worker.session.local_fd if self._worker is not None else -1
        held = [local_fd] if local_fd >= 0 else []
        watcher.watch(self._child.pid, [*(relay.fileno() for relay in self._relays), *held])
        if self._rules.watchdog.is_interrupted:
            watcher.spare()

    def _raise_sentinel(self) -> None:
        """Have the sentinel's PID above all others: start another if a provider has come since."""
        self._sentinel_looks_at = self._clock.boottime() + sentinel.LOOK_SECONDS
        if self._child is None or self._ensure_sentinel().pid > child.highest_pid(self._child):
            return
        old, self._sentinel = self._sentinel, None
        self._register(self._ensure_sentinel())
        if self._dismiss(old):
            self._on_everybody_signalled()

    def _on_everybody_signalled(self) -> None:
        if self._child is not None and self._sentinel_looks_at < float("inf"):
            self._sentinel_looks_at = float("inf")
            self._rules.on_everybody_signalled(self._clock.boottime())

    def _on_sentinel(self, source: sentinel.Sentinel) -> None:
        if source.has_heard():
            self._on_everybody_signalled()
            return
        self._dismiss(source)  # It was killed: it must not be missing when we are.
        self._sentinel = None
        if self._child is not None:
            self._register(self._ensure_sentinel())

    def _dismiss(self, old: sentinel.Sentinel | None) -> bool:
        if old is None:
            return False
        with contextlib.suppress(KeyError):
            self._selector.unregister(old)
        return old.dismiss()


def main(descriptor: int, lifeline: int) -> None:
    """Run a keeper on one end of the front's socketpair; `lifeline` is for its sentinels."""
    os.setpgid(0, 0)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    end = socket.socket(fileno=descriptor)
    end.set_inheritable(False)
    channel = keeper_end(end)
    try:
        Keeper(channel, lifeline).run()
    except Exception as error:  # noqa: BLE001 - a keeper that has died has a successor; half a keeper has none
        channel.send(messages.Told(event="keeper.broken", error=f"{type(error).__name__}: {error}"))
        sys.exit(1)
