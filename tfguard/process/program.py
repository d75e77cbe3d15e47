"""The program that a keeper runs under its lock: with its descriptors, its output, and a sentinel beside it."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tfguard.guard import messages
from tfguard.guard.hands import FrontPort
from tfguard.guard.watchdog import Watchdog
from tfguard.jobfiles.run_record import RecordWriter
from tfguard.lock import protocol, refusals
from tfguard.process import child, family, sentinel, standby
from tfguard.process.drain import Drain
from tfguard.process.lease_thread import Lease
from tfguard.process.page import Page
from tfguard.process.relatives import Kin, Mark, Relatives, children_now
from tfguard.process.sentinel_post import SentinelPost
from tfguard.process.standby import Start

#: stdin, stdout and stderr of a program.
_STDIO = 3


class _Given(NamedTuple):
    """What has come with the next program: its first three descriptors, and what was opened for it beside them."""

    stdio: Sequence[int] = ()
    handed: Sequence[int] = ()


class Program:
    """
    One program after another, among them the pushes of a state that one of them could not save: the `ChildPort`.

    The keeper calls `take_descriptors` before each start and `let_go_of_descriptors` after it, `watch` whenever it
    looks at the clock, and `poll` to reap. `watchdog` gives the keeper's, as it is at the moment. `left` are those of
    its family that have outlived a program, as `poll` has seen them last: while there is anybody, the program is not
    over.
    `is_given_up`: the last program does not go, and the sentinel is to stay with it.
    `on_interrupt_heard` is called when a program has had a signal that was not ours: when we drain its output, and it
    says "Interrupt received", or when a sentinel in its group has had that signal, too.

    Many methods on purpose: most of them are the port's.
    """

    def __init__(
        self,
        front: FrontPort,
        lease: Lease,
        post: SentinelPost,
        page: Page,
        selector: selectors.BaseSelector,
        *,
        record: Callable[[], RecordWriter],
        watchdog: Callable[[], Watchdog],
        on_interrupt_heard: Callable[[], None],
    ) -> None:
        self.process: child.Process | None = None
        self.left: tuple[messages.Relative, ...] = ()
        self.is_given_up = False
        self._relatives: Relatives | None = None
        self._front = front
        self._lease = lease
        self._post = post
        self._page = page
        self._selector = selector
        self._record = record
        self._watchdog = watchdog
        self._on_interrupt_heard = on_interrupt_heard
        self._null = os.open(os.devnull, os.O_RDWR)
        self._given = _Given()
        self._relays: list[Drain] = []
        self._looks_at = float("inf")

    # --- what the keeper's rules ask ----------------------------------------------------------------------------

    def start(self, message: messages.Spawn) -> int:
        strangers = children_now()
        kin = kin_of(message.family)
        try:
            if len(self._given.stdio) != _STDIO or len(self._given.handed) != len(message.handed):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))  # They were sent, and did not arrive.
            handed = dict(zip(message.handed, self._given.handed))
            how = Start(message.argv, message.directory, message.environ, message.group, self._given.stdio, handed)
            process = child.Child(how, self._page, kin, standby.take())
        except OSError as error:
            why = refusals.NotExecutable(message=f"{message.argv[0]}: {error}")
            self._front.tell(protocol.Failed(why=why))
            return 0
        self.begin(process, kin, strangers)
        self._record().note_child(process.pid, message.family)
        return process.pid

    def begin(self, process: child.Process | None, kin: Kin | None, strangers: frozenset[Mark]) -> None:
        """Look after this program from now on. `strangers`: our children before it started."""
        self.process, self.left, self._relatives = process, (), None
        if process is not None:
            self._relatives = Relatives(kin, process.pid, (os.getpid(),), strangers=strangers)

    def guard(self) -> None:
        held = [self._lease.local_fd] if self._lease.local_fd >= 0 else []
        self._post.hold([*(relay.fileno() for relay in self._relays), *held])

    def adopt(self, pid: int) -> None:
        kin = self._page.kin
        self._record().note_child(pid, family_of(kin))
        self.process, self.left = child.AdoptedChild(pid), ()
        # Where the front has died meanwhile our parent is the machine's first process, whose children are anybody's.
        front = (self._page.front,) if os.getppid() == self._page.front else ()
        self._relatives = Relatives(kin, pid, (os.getpid(), *front), is_scattered=True)
        self._post.ensure()

    def interrupt(self) -> bool:
        if self.process is None or not self._page.claim_signal():
            return False
        if not self.process.has_ended():
            return family.interrupt(self.process.pid)
        return self._relatives is not None and self._relatives.interrupt()

    def is_anothers(self) -> bool:
        return self.process is not None and family.is_anothers(self.process.pid)

    def give_up(self) -> Sequence[messages.Relative]:
        self.is_given_up = True
        pid = self.process.pid if self.process is not None else 0
        left = self.left or (messages.Relative(name=family.name_of(pid), pid=pid),)
        self._let_go()
        return left

    def spare(self) -> None:
        self._page.claim_signal()

    def freeze(self) -> Sequence[str]:
        running = self._relatives.freeze() if self._relatives is not None else []
        return [f"{family.name_of(pid)} ({pid})" for pid in running]

    def thaw(self) -> None:
        if self._relatives is not None:
            self._page.safe_until = self._watchdog().safe_until  # First: the sentinel would freeze it again.
            self._relatives.thaw()

    def kill(self) -> None:
        if self._relatives is not None:
            self._relatives.kill()

    def watch_relays(self, now: float) -> None:
        for relay in self._relays:
            relay.watch_from(now)

    def take_over_relays(self) -> None:
        for relay in self._relays:
            relay.take_over(self._selector)

    # --- what the keeper asks -----------------------------------------------------------------------------------

    def take_descriptors(self, descriptors: Sequence[int], relayed_count: int) -> None:
        """
        These come with the next program: its stdio, the read ends of what the front relays, and what was opened for it.
        """
        end = _STDIO + relayed_count
        relayed = descriptors[_STDIO:end]
        self._given = _Given(descriptors[:_STDIO], descriptors[end:])
        self._relays = [Drain(end, self._record().keep_text, self._on_interrupt_heard) for end in relayed]

    def let_go_of_descriptors(self) -> None:
        """The program has been started, or refused: its descriptors are ours to close either way."""
        for descriptor in (*self._given.stdio, *self._given.handed):
            os.close(descriptor)
        self._given = _Given()
        child.let_go_of_stdio(self._null)

    def watch(self, now: float) -> None:
        """Look after page, sentinel and relays at `now`, whether a program runs or is about to."""
        self._page.keeper_seen = now
        watchdog = self._watchdog()
        if watchdog.deadlines is not None:  # A successor that has not adopted yet knows of none.
            self._page.safe_until, self._page.freeze_timeout = watchdog.safe_until, watchdog.freeze_timeout
        self._post.look_after(now)
        if self.process is not None and now >= self._looks_at:
            self.raise_sentinel(now)
        for relay in self._relays:
            relay.take_over_if_stuck(now, self._selector)

    def poll(self) -> int | None:
        """
        Return the exit status of a program that has ended, and its family with it, once; what belonged to it is let go.

        Until then it is not reaped: nobody else has its PID, and a front that inherits it learns its status.
        """
        if self.process is None or not self.process.has_ended():
            return None
        self.left = _left_of(self.process, self._relatives)
        status = self.process.poll() if not self.left else None
        if status is None:
            return None
        self._let_go()
        self._page.clear()
        self._post.hold([])
        return status

    def _let_go(self) -> None:
        self.process, self.left, self._relatives = None, (), None
        self._looks_at = float("inf")
        for relay in self._relays:
            relay.close(self._selector)
        self._relays = []

    def must_outrun(self, environ: dict[str, str]) -> bool:
        """Whether the program just started has to have a sentinel with a PID above its own."""
        return self.process is not None and sentinel.must_be_highest(environ)

    def raise_sentinel(self, now: float) -> None:
        """Have the sentinel's PID above all others: start another if a provider has come since."""
        self._looks_at = now + sentinel.LOOK_SECONDS
        if self._relatives is not None and self._post.pid <= self._relatives.highest_pid():
            self._post.relieve(now)

    def on_sentinel(self, source: sentinel.Sentinel) -> bool:
        """A sentinel has said something, or has ended. Return whether every process here is being signalled."""
        heard = self._post.hear(source)
        is_news = self.process is not None and self._looks_at < float("inf")  # Once for one that must be outrun.
        if is_news and any(each.number == signal.SIGTERM for each in heard):
            self._looks_at = float("inf")
            return True
        if self.process is not None and any(_has_had(self.process.pid, each, self._page.group) for each in heard):
            self._on_interrupt_heard()
        return False


def _has_had(pid: int, heard: sentinel.Heard, group: int) -> bool:
    """Whether a program has had this signal as well: it is in the group that the sentinel had joined by then."""
    with contextlib.suppress(ProcessLookupError):
        return heard.beside == pid and os.getpgid(pid) == group and not family.ignores(pid, heard.number)
    return False


def _left_of(process: child.Process, relatives: Relatives | None) -> tuple[messages.Relative, ...]:
    if relatives is None or (isinstance(process, child.AdoptedChild) and process.is_reaped):
        return ()  # The front has reaped it, and has looked itself.
    return tuple(messages.Relative(name=family.name_of(pid), pid=pid) for pid in relatives.left())


def kin_of(told: messages.Family | None) -> Kin | None:
    """How a program's relatives are known, as page and processes have it."""
    return Kin(told.nest, "nobody" if told.may_detach else told.waits_for) if told is not None else None


def family_of(kin: Kin | None) -> messages.Family | None:
    """The same the other way round, for the run's record."""
    if kin is None:
        return None
    return messages.Family(
        nest=kin.nest,
        waits_for="writers" if kin.waits_for == "writers" else "all",
        may_detach=kin.waits_for == "nobody",
    )
