"""
The keeper: the process that holds the lock, because the one who holds it must outlive the one who may be killed.

It waits in line, acquires, starts Terraform as its own child, enforces the deadlines and releases, on the normal path
and on the worst one alike. It ignores the signals that end a job; it ends when the front says so, or, once the front
is gone, when Terraform is gone and the lock is released.

The main thread owns the child and the deadlines and never waits for the network; `worker` owns the leases.

Not promised: whatever kills keeper, front and Terraform together leaves the lock to its lease.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
from collections import deque
from typing import Any

from tfguard import child, sentinel, wire
from tfguard.clock import SystemClock
from tfguard.deadlines import TICK_SECONDS
from tfguard.drain import Drain
from tfguard.rescue import Rescuer
from tfguard.runrecord import Notebook
from tfguard.watchdog import Action, Watchdog
from tfguard.worker import LeaseWorker

#: What ends a job ends the front, not us: we still have a Terraform to bring home.
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU, signal.SIGTTIN)
#: How long a child without a front may take to stop before it is killed.
ORPHAN_TIMEOUT_SECONDS = 1800.0
_CHUNK = 65536


class Keeper:
    """One lock, and the programs run under it one after another."""

    def __init__(self, channel: wire.Channel) -> None:
        self._channel = channel
        self._clock = SystemClock()
        self._inbox: deque[Any] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        self._worker: LeaseWorker | None = None
        self._watchdog = Watchdog(None, self._clock.boottime())
        self._request: wire.Acquire | None = None
        self._child: child.Process | None = None
        self._relays: list[Drain] = []
        self._sentinel: sentinel.Sentinel | None = None
        self._sentinel_looks_at = float("inf")
        self._is_done = False
        self._is_front_alive = True
        self._is_stopping = False
        self._is_timed_out = False
        self._interrupt_at: float | None = None
        self._interrupt_reason = ""
        self._times_out_at: float | None = None
        self._orphan_killed_at = float("inf")
        self._outcome = "orphaned"
        self._notebook = Notebook("", None)
        self._rescuer = Rescuer(None)
        self._closing: wire.Release | None = None
        self._push_at = float("inf")

    # --- the loop -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve the front until the end of the run, or, without a front, until all is released."""
        self._selector.register(self._channel, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._channel.send(wire.Ready())
        while not self._is_done:
            ready = self._selector.select(TICK_SECONDS)
            self._enforce()  # First: after a suspension nothing else may come before the freeze.
            for key, _ in ready:
                self._serve(key.fileobj)
            while self._inbox:
                self._on_worker(self._inbox.popleft())
            self._enforce()
            self._reap()
        self._dismiss(self._sentinel)

    def _serve(self, source: Any) -> None:
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
        else:
            source.drain(self._selector)

    def _post(self, message: Any) -> None:
        self._inbox.append(message)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b".")

    # --- what the front says ------------------------------------------------------------------------------------

    def _on_front(self, message: Any) -> None:
        if isinstance(message, wire.Acquire):
            self._start_worker(message)
        elif isinstance(message, wire.Adopt):
            self._adopt(message)
        elif isinstance(message, wire.Spawn):
            self._spawn(message)
        elif isinstance(message, wire.Interrupt):
            self._on_interrupt(message)
        elif isinstance(message, wire.ChildHeard):
            self._spare()
        elif isinstance(message, wire.ChildGone) and isinstance(self._child, child.AdoptedChild):
            self._child.is_reaped = True
        elif isinstance(message, wire.Release):
            self._release(message)

    def _start_worker(self, request: wire.Acquire, adopt: wire.Adopt | None = None, lock_fd: int = -1) -> None:
        self._request = request
        self._notebook = Notebook(request.record_path, request.record)
        self._rescuer = Rescuer(request.rescue)
        self._worker = LeaseWorker(request, post=self._post, tell=self._channel.send, adopt=adopt, lock_fd=lock_fd)
        self._worker.start()
        self._ensure_sentinel()  # Now, while the worker waits for the store.

    def _adopt(self, message: wire.Adopt) -> None:
        descriptors = self._channel.take_descriptors(1)
        self._start_worker(message.acquire, message, descriptors[0] if descriptors else -1)
        if message.stage == "held":
            self._watchdog = Watchdog(message.acquire.deadlines(), message.base)
            self._watchdog.is_interrupted = message.is_interrupted
            self._notebook.note_held(lock_id=message.lock_id, token=message.token)
        if message.child:
            self._notebook.note_child(message.child)
            self._child = child.AdoptedChild(message.child)
            self._ensure_sentinel()  # It has had its SIGINT: nothing to watch, but a later step may come.

    def _spawn(self, message: wire.Spawn) -> None:
        descriptors = self._channel.take_descriptors(3 + len(message.relayed))
        stdio, relayed = descriptors[:3], descriptors[3:]
        self._relays = [Drain(end) for end in relayed]
        self._rescuer.begin()
        try:
            if self._is_stopping or self._watchdog.lost or self._child:
                self._channel.send(wire.Failed(kind="interrupted", message=""))
                return
            self._child = child.Child(
                message.argv,
                directory=message.directory,
                environ=message.environ,
                group=message.group,
                stdio=stdio,
                sentinel=self._ensure_sentinel().fileno(),
            )
        except OSError as error:
            self._channel.send(wire.Failed(kind="ProgramNotExecutable", message=f"{message.argv[0]}: {error}"))
            return
        finally:
            for descriptor in stdio:
                os.close(descriptor)
            child.let_go_of_stdio()
        self._watchdog.start_child()
        self._register(self._ensure_sentinel())
        self._enforce()  # Who slept since the last beat starts a child that is frozen until the next one lands.
        self._notebook.note_child(self._child.pid)
        self._channel.send(wire.Started(pid=self._child.pid))
        self._start_run_timeout()
        if sentinel.must_be_highest(message.environ):
            self._raise_sentinel()

    def _start_run_timeout(self) -> None:
        seconds = self._request.run_timeout_seconds if self._request else None
        if seconds is not None and self._times_out_at is None:
            self._times_out_at = self._clock.boottime() + seconds

    def _on_interrupt(self, message: wire.Interrupt) -> None:
        self._outcome = "interrupted"  # Should the front be killed next, as after a cancel, this is how the run ended.
        self._is_stopping = True
        if self._child is None:
            if self._worker is not None:
                self._worker.cancel()
        elif message.is_delivered:
            self._spare()
        else:
            self._interrupt_at = self._clock.boottime() + message.grace_seconds
            self._interrupt_reason = message.reason
        for relay in self._relays:
            relay.watch_from(self._clock.boottime())

    def _release(self, message: wire.Release) -> None:
        if self._closing is not None:
            return
        if self._worker is not None:
            self._notebook.note(outcome=message.outcome, exit_code=message.exit_code)
        if self._worker is None:
            self._finish(wire.Released(result="nothing"))
        elif self._watchdog.lost is not None:
            self._worker.abandon()
            kind = self._watchdog.lost
            if self._rescuer.is_needed:
                self._channel.send(wire.Rescued(result="lost", path=self._rescuer.path))
            self._finish(wire.Released(result="failed" if kind == "expired" else kind))
        elif not self._worker.is_alive():
            self._finish(wire.Released(result="nothing"))
        elif self._rescuer.is_needed:
            self._closing = message
            self._push()
        else:
            self._worker.release(message)

    def _push(self) -> None:
        """Try once to push the state that Terraform could not save; `_on_pushed` hears how it ended."""
        self._push_at = float("inf")
        if self._watchdog.lost is None:
            self._child = self._rescuer.start(self._ensure_sentinel().fileno())
        if self._child is None:
            self._close_after_rescue(1)

    def _on_pushed(self, status: int) -> None:
        pause = self._rescuer.ended(status)
        if pause is not None and self._watchdog.lost is None:
            self._push_at = self._clock.boottime() + pause
        else:
            self._close_after_rescue(status)

    def _close_after_rescue(self, status: int) -> None:
        """Release; a state that could not be pushed is copied first, by the one who has the credentials."""
        message, self._closing = self._closing, None
        assert message is not None and self._worker is not None
        if self._watchdog.lost is not None or not self._worker.is_alive():
            self._release(message)
        elif status == 0:
            place = self._rescuer.set_aside(self._worker.lock_id)
            self._channel.send(wire.Rescued(result="pushed", path=place))
            self._worker.release(message)
        else:
            self._worker.release(message, errored=self._rescuer.path, error=self._rescuer.error)

    def _finish(self, last: wire.Released) -> None:
        self._note_released(last)
        self._channel.send(last)
        self._is_done = True

    # --- what the worker says -----------------------------------------------------------------------------------

    def _on_worker(self, message: Any) -> None:
        if isinstance(message, wire.Held):
            self._on_held(message)
            return
        if isinstance(message, wire.Beaten):
            self._watchdog.landed(message.base)
        elif isinstance(message, wire.Lost):
            self._watchdog.lose(message.kind)
        elif isinstance(message, wire.Failed):
            self._worker = None
            self._is_done = not self._is_front_alive
        elif isinstance(message, wire.Released):
            self._note_released(message)
        self._channel.send(message)
        if isinstance(message, wire.Released):
            self._is_done = True

    def _note_released(self, message: wire.Released) -> None:
        """The lock is not ours any more; where its release failed, the record goes on to say that it is."""
        if message.result not in ("failed", "nothing"):
            self._notebook.note(release=message.result, held_s=round(message.held_seconds, 1))

    def _on_held(self, message: wire.Held) -> None:
        assert self._request is not None and self._worker is not None
        if not message.is_nested:
            self._watchdog = Watchdog(self._request.deadlines(), message.base)
            waited = round(message.waited_seconds, 1)
            self._notebook.note_held(lock_id=message.lock_id, token=message.token, waited_s=waited)
        descriptor = self._worker.local_fd if not message.is_nested else -1
        self._channel.send(message, [descriptor] if descriptor >= 0 else None)
        if message.is_nested:
            self._worker = None
        if not self._is_front_alive:
            self._release_orphaned()

    # --- the child ----------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        if self._child is None:
            return
        status = self._child.poll()
        if status is None:
            return
        self._child = None
        self._interrupt_at = None
        self._sentinel_looks_at = float("inf")
        if self._sentinel is not None:
            self._sentinel.forget()
        for relay in self._relays:
            relay.close(self._selector)
        self._relays = []
        if self._closing is not None:
            self._on_pushed(status)
            return
        self._channel.send(wire.Exited(status=status))
        if not self._is_front_alive:
            self._release_orphaned()

    def _enforce(self) -> None:
        now = self._clock.boottime()
        for action in self._watchdog.decide(now):
            self._act(action, now)
        if now >= self._push_at:
            self._push()
        if self._child is None:
            return
        if self._times_out_at is not None and now >= self._times_out_at and not self._is_timed_out:
            self._is_timed_out = True
            self._channel.send(wire.Told(event="run.timed_out"))
            self._interrupt("run timeout")
        if self._interrupt_at is not None and now >= self._interrupt_at:
            self._interrupt_at = None
            self._interrupt(self._interrupt_reason)
        if now >= self._orphan_killed_at:
            self._outcome = "orphan-killed"
            child.kill(self._child)
        if now >= self._sentinel_looks_at:
            self._raise_sentinel()
        for relay in self._relays:
            relay.take_over_if_stuck(now, self._selector)

    def _act(self, action: Action, now: float) -> None:
        if action is Action.WARN:
            self._tell("lease.warned", now)
        elif self._child is None:
            return
        elif action is Action.INTERRUPT:
            child.interrupt(self._child)
            self._spare()
            self._tell("child.signalled", now, "no heartbeat" if self._watchdog.lost is None else "lock lost")
        elif action is Action.FREEZE:
            child.freeze(self._child)
            self._tell("child.frozen", now)
        elif action is Action.THAW:
            child.thaw(self._child)
            self._tell("child.thawed", now)
        elif action is Action.KILL:
            child.kill(self._child)
            self._tell("child.killed", now)

    def _ensure_sentinel(self) -> sentinel.Sentinel:
        if self._sentinel is None:
            self._sentinel = sentinel.Sentinel()
            self._selector.register(self._sentinel, selectors.EVENT_READ)
        return self._sentinel

    def _spare(self) -> None:
        """The child has had its one signal, from us or from whomever: nobody of ours sends another."""
        self._watchdog.is_interrupted = True
        if self._sentinel is not None:
            self._sentinel.spare()

    def _register(self, watcher: sentinel.Sentinel) -> None:
        assert self._child is not None
        watcher.watch(self._child.pid, [relay.fileno() for relay in self._relays])
        if self._watchdog.is_interrupted:
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
            self._is_stopping = True
            self._sentinel_looks_at = float("inf")
            self._interrupt("SIGTERM to every process")

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

    def _interrupt(self, reason: str) -> None:
        assert self._child is not None
        if self._watchdog.interrupt_once():
            child.interrupt(self._child)
            self._spare()
            self._tell("child.signalled", self._clock.boottime(), reason)

    def _tell(self, event: Any, now: float, reason: str = "") -> None:
        self._channel.send(wire.Told(event=event, reason=reason, silence_seconds=now - self._watchdog.base))

    # --- without a front ----------------------------------------------------------------------------------------

    def _on_front_gone(self) -> None:
        self._selector.unregister(self._channel)
        self._channel.close()
        self._is_front_alive = False
        self._is_stopping = True
        for relay in self._relays:
            relay.take_over(self._selector)
        if self._child is not None:
            seconds = self._request.orphan_timeout_seconds if self._request else ORPHAN_TIMEOUT_SECONDS
            self._orphan_killed_at = self._clock.boottime() + seconds
            self._interrupt("the front is gone")
        elif self._worker is None:
            self._is_done = True
        else:
            self._worker.cancel()
            self._release_orphaned()

    def _release_orphaned(self) -> None:
        self._release(wire.Release(outcome=self._outcome))


def main(descriptor: int) -> None:
    """Run a keeper on one end of the front's socketpair."""
    os.setpgid(0, 0)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    end = socket.socket(fileno=descriptor)
    end.set_inheritable(False)
    Keeper(wire.Channel(end, wire.ToKeeper)).run()
