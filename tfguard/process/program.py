"""The program that a keeper runs under its lock: with its descriptors, its output, and a sentinel beside it."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable, Sequence

from tfguard.guard import messages
from tfguard.guard.hands import FrontPort
from tfguard.guard.watchdog import Action, Watchdog
from tfguard.jobfiles.run_record import RecordWriter
from tfguard.lock import protocol, refusals
from tfguard.process import child, sentinel
from tfguard.process.drain import Drain
from tfguard.process.lease_thread import Lease
from tfguard.process.sentinel_post import SentinelPost

_DONE_BY = {Action.FREEZE: child.freeze, Action.THAW: child.thaw, Action.KILL: child.kill}


class Program:
    """
    One program after another, among them the pushes of a state that one of them could not save: the `ChildPort`.

    The keeper calls `take_stdio` before each start and `let_go_of_stdio` after it, `watch` whenever it looks at the
    clock, and `poll` to reap. `watchdog` gives the keeper's, as it is at the moment.
    """

    def __init__(
        self,
        front: FrontPort,
        lease: Lease,
        post: SentinelPost,
        selector: selectors.BaseSelector,
        *,
        record: Callable[[], RecordWriter],
        watchdog: Callable[[], Watchdog],
    ) -> None:
        self.process: child.Process | None = None
        self._front = front
        self._lease = lease
        self._post = post
        self._selector = selector
        self._record = record
        self._watchdog = watchdog
        self._stdio: Sequence[int] = ()
        self._relays: list[Drain] = []
        self._looks_at = float("inf")

    # --- what the keeper's rules ask ----------------------------------------------------------------------------

    def start(self, message: messages.Spawn) -> int:
        try:
            self.process = child.Child(
                message.argv,
                directory=message.directory,
                environ=message.environ,
                group=message.group,
                stdio=self._stdio,
                sentinel=self._post.ensure().fileno(),
            )
        except OSError as error:
            why = refusals.NotExecutable(message=f"{message.argv[0]}: {error}")
            self._front.tell(protocol.Failed(why=why))
            return 0
        self._record().note_child(self.process.pid)
        return self.process.pid

    def guard(self) -> None:
        assert self.process is not None
        watcher = self._post.ensure()
        held = [self._lease.local_fd] if self._lease.local_fd >= 0 else []
        watcher.watch(self.process.pid, [*(relay.fileno() for relay in self._relays), *held])
        if self._watchdog().is_interrupted:
            watcher.spare()

    def adopt(self, pid: int) -> None:
        self._record().note_child(pid)
        self.process = child.AdoptedChild(pid)
        self._post.ensure()  # It has had its SIGINT: nothing to watch, but a later step may come.

    def interrupt(self) -> None:
        if self.process is not None:
            child.interrupt(self.process)

    def spare(self) -> None:
        self._post.spare()

    def act(self, action: Action) -> None:
        if self.process is not None:
            _DONE_BY[action](self.process)

    def watch_relays(self, now: float) -> None:
        for relay in self._relays:
            relay.watch_from(now)

    def take_over_relays(self) -> None:
        for relay in self._relays:
            relay.take_over(self._selector)

    # --- what the keeper asks -----------------------------------------------------------------------------------

    def take_stdio(self, descriptors: Sequence[int]) -> None:
        """These come with the next program: its stdio, and the read ends of what the front relays."""
        self._stdio, relayed = descriptors[:3], descriptors[3:]
        self._relays = [Drain(end, self._record().keep_text) for end in relayed]

    def let_go_of_stdio(self) -> None:
        """The program has been started, or refused: its descriptors are ours to close either way."""
        for descriptor in self._stdio:
            os.close(descriptor)
        child.let_go_of_stdio()

    def watch(self, now: float) -> bool:
        """Look after sentinel and relays at `now`. Return whether every process here is being signalled."""
        if self.process is None:
            return False
        self._post.ensure().expect(self._watchdog().safe_until)
        is_signalled = now >= self._looks_at and self.raise_sentinel(now)
        for relay in self._relays:
            relay.take_over_if_stuck(now, self._selector)
        return is_signalled

    def poll(self) -> int | None:
        """Return the exit status of a program that has ended, once; what belonged to it is let go."""
        status = self.process.poll() if self.process is not None else None
        if status is None:
            return None
        self.process = None
        self._looks_at = float("inf")
        self._post.forget()
        for relay in self._relays:
            relay.close(self._selector)
        self._relays = []
        return status

    def must_outrun(self, environ: dict[str, str]) -> bool:
        """Whether the program just started has to have a sentinel with a PID above its own."""
        return self.process is not None and sentinel.must_be_highest(environ)

    def raise_sentinel(self, now: float) -> bool:
        """
        Have the sentinel's PID above all others: start another if a provider has come since.

        Return whether the one that leaves had heard that every process here is being signalled.
        """
        self._looks_at = now + sentinel.LOOK_SECONDS
        if self.process is None or self._post.ensure().pid > child.highest_pid(self.process):
            return False
        leaving = self._post.relieve()
        self.guard()
        return self._post.dismiss(leaving) and self.hear_signalled()

    def on_sentinel(self, source: sentinel.Sentinel) -> bool:
        """A sentinel has said something, or was killed. Return whether every process here is being signalled."""
        if source.has_heard():
            return self.hear_signalled()
        self._post.dismiss(source)  # It was killed: it must not be missing when we are.
        self._post.relieve()
        if self.process is not None:
            self.guard()
        return False

    def hear_signalled(self) -> bool:
        """Every process is being signalled: that is news once for each program that must be outrun."""
        is_news = self.process is not None and self._looks_at < float("inf")
        if is_news:
            self._looks_at = float("inf")
        return is_news
