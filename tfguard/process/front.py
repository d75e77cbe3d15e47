"""
The front: the process that the user or the CI runner started, and may kill.

It starts the keeper, passes on what it is asked and what Terraform prints, and translates signals. It is also the
second watchdog: it enforces the same deadlines should the keeper freeze, and if the keeper dies it inherits
Terraform and starts a successor that adopts the lease. When successors die too it resigns: it starts nothing more,
but watches what still runs to its end.

The front never talks to a store and never imports boto3.
"""

from __future__ import annotations

import selectors
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar, Union

from msgspec import structs

from tfguard.clock import SystemClock
from tfguard.errors import TfguardError, assert_never
from tfguard.guard import messages
from tfguard.guard.front_rules import FrontRules, Heard, KeeperDied, ThreadDied
from tfguard.guard.handover import Handover
from tfguard.guard.signals import Received
from tfguard.lock import protocol
from tfguard.lock.deadlines import TICK_SECONDS
from tfguard.process.child_launcher import TERRAFORM, ChildLauncher
from tfguard.process.front_child import FrontChild
from tfguard.process.front_watch import FrontWatch
from tfguard.process.keeper_link import KeeperLink
from tfguard.process.left_lock import LeftLock
from tfguard.process.question import Question
from tfguard.process.relatives import reap_orphans
from tfguard.process.rescue import errored_path, stamp
from tfguard.process.signal_desk import SignalDesk
from tfguard.process.signals import become_subreaper
from tfguard.process.terminal import is_foreground

T = TypeVar("T")

#: What the front waits for.
Answer = Union[protocol.Held, protocol.Failed, messages.Exited, protocol.Released]

#: How long the front waits for a keeper that clears up an interrupted acquisition; it finishes alone.
CANCEL_SECONDS = 0.8


class Refused(Exception):
    """The keeper could not get the lock; `answer` says why."""

    def __init__(self, answer: protocol.Failed) -> None:
        super().__init__(type(answer.why).__name__)
        self.answer = answer


class KeeperGone(TfguardError):
    """The keeper died, and so did its successors. The lock, if held, is left to its lease."""


class Front:
    """
    One run, seen from the front.

    `listener` hears every message of the keeper's, for people (`Waiting`, `Told`, `Lost`…), every signal
    (`Received`) and of every keeper's death (`KeeperDied`). The calls block, serving signals meanwhile.

    Many methods on purpose, most of a few lines: the calls, and one for each thing that can happen during any of them.
    """

    def __init__(self, listener: Callable[[Heard], None], environ: Mapping[str, str]) -> None:
        self.lost: protocol.Lost | None = None
        self.is_timed_out = False
        self.is_interactive = is_foreground()
        self._listener = listener
        self._clock = SystemClock()
        self._defects: deque[BaseException] = deque()
        self._signals = SignalDesk(self._clock, self._defects.append, shares_terminal=self.is_interactive)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals, selectors.EVENT_READ)
        self._rules = FrontRules(self._clock.boottime())
        self._handover = Handover()
        self._request: messages.Acquire | None = None
        self._launcher = ChildLauncher(
            self._send_spawn,
            self._on_interrupt_heard,
            self._defects.append,
            shares_terminal=self.is_interactive,
        )
        self._left = LeftLock()
        self._answers: list[Answer] = []
        self._last_word: protocol.Release | None = None
        self._is_resigned = self._is_keeper_busy = False
        if not self.is_interactive:
            # No terminal job control here: SIGTSTP would stop the front, not Terraform.
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        become_subreaper()
        self._keeper = KeeperLink(environ, self._selector, shares_terminal=self.is_interactive)
        self._child = FrontChild(self._keeper.page)
        self._watch = FrontWatch(self._keeper, self._child)
        self._asked_at = 0.0
        self._rules.start_keeper(self._clock.boottime())

    @property
    def stopped_by(self) -> Received | None:
        """The first signal, if one has come."""
        return self._signals.stopped_by

    @property
    def last_words(self) -> str:
        """The end of what the last program printed."""
        return self._launcher.last_words

    # --- the run ------------------------------------------------------------------------------------------------

    def acquire(self, request: messages.Acquire) -> protocol.Held:
        """Take the lock. Raises Refused; Interrupted if a signal ended the wait; KeeperGone."""
        self._check_stopped()
        self._request = request
        self._asked_at = self._clock.boottime()
        self._handover = Handover()
        self._is_keeper_busy = True
        self._keeper.send(request)
        answer = self._await(protocol.Held, protocol.Failed, give_up=lambda: self._signals.has_waited(CANCEL_SECONDS))
        if isinstance(answer, protocol.Held):
            return answer
        self._request = None
        self._is_keeper_busy = answer is None
        self._check_stopped()
        assert isinstance(answer, protocol.Failed)  # Who gives up has been stopped.
        raise Refused(answer)

    def run(
        self,
        argv: Sequence[str],
        *,
        directory: str,
        environ: Mapping[str, str],
        stdout: int = 1,
        keep: Callable[[bytes], object] | None = None,
        family: messages.Family = TERRAFORM,
        is_last: bool = False,
    ) -> int:
        """
        Run a program to its end under whatever is held, and return its exit status (-n: signal n).

        `stdout`: where its standard output goes; 2 for programs of ours whose output must not mix with Terraform's.
        Those that write to 1 are the user's own: they have what was opened for them, and of these one `is_last`.
        `keep` gets what it prints: that is relayed then even to a terminal, and `last_words` always has the end of it.
        `family` says whose end is its end, too.

        Raises KeeperGone if nobody is left to start it. What runs already is waited for, whoever dies.
        """
        self._check_stopped()
        relays = self._launcher.start(argv, directory, environ, stdout, keep, family, is_last=is_last)
        answer = self._await(messages.Exited, protocol.Failed)
        self._child.pid = 0
        for relay in relays:
            relay.finish()
            self._pump(lambda relay=relay: relay.is_finished(0.02) or None, tick=0.0)  # type: ignore[misc]
        self._launcher.note_last_words(relays)
        return self._status_of(answer, self.last_words)

    def run_captured(self, argv: Sequence[str], *, directory: str, environ: Mapping[str, str]) -> tuple[int, str]:
        """Run a program of our own, without input; return its exit status and the end of what it printed."""
        self._check_stopped()
        with self._launcher.capture(argv, directory, environ) as captured:
            answer = self._await(messages.Exited, protocol.Failed)
            self._child.pid = 0
            return self._status_of(answer, words := captured.read()), words

    def _status_of(self, answer: Answer | None, words: str) -> int:
        if isinstance(answer, messages.Exited):
            self._left.note(answer.status, words)
            return answer.status
        self._check_stopped()
        assert isinstance(answer, protocol.Failed)  # Nobody gives up waiting for a program.
        raise Refused(answer)

    def ask(self, question: str) -> str:
        """Ask on the terminal, serving signals meanwhile; return the line, empty where there is nobody to ask."""
        if not self.is_interactive:
            return ""
        asked = Question(question)
        self._selector.register(asked, selectors.EVENT_READ)
        try:
            self.wait(lambda: asked.is_answered)
        finally:
            self._selector.unregister(asked)
        return asked.read()

    def wait(self, is_over: Callable[[], bool]) -> None:
        """Wait for it, serving signals meanwhile. Raises Interrupted, KeeperGone."""
        self._pump(lambda: is_over() or self.stopped_by)
        self._check_stopped()

    def release(self, outcome: str, exit_code: int | None) -> protocol.Released:
        """End the run: release whatever is held. A second signal meanwhile leaves it to the keeper alone."""
        already = self._signals.count
        may_have_left = self._left.is_possible(already)
        self._last_word = protocol.Release(outcome=outcome, exit_code=exit_code, may_have_left_lock=may_have_left)
        self._keeper.send(self._last_word)
        answer = self._await(
            protocol.Released,
            give_up=lambda: self._signals.count >= already + 2 and not self._is_resigned,
        )
        if isinstance(answer, protocol.Released):
            return answer
        return protocol.Released(result="failed", error="interrupted; the keeper goes on releasing it")

    def start_over(self) -> None:
        """After a release: get ready for another lock, with another keeper. A signal that has come counts as before."""
        self._answers.clear()
        self._last_word = self._request = None
        self._handover, self._left = Handover(), LeftLock()
        now = self._clock.boottime()
        self._rules = FrontRules(now)
        self._keeper.begin_anew()
        self._rules.start_keeper(now)

    def folder(self) -> str:
        """Return the run's own folder, which the last of ours to leave removes. Raises OSError."""
        return self._keeper.folder()

    def close(self) -> None:
        """Leave. A keeper with something left to do does it alone."""
        self._keeper.leave(is_busy=self._is_keeper_busy and not self._is_resigned)

    def stand_down(self) -> None:
        """There is nothing to guard after all, and this process is about to become Terraform: leave no trace."""
        self._keeper.end()

    # --- waiting for answers ------------------------------------------------------------------------------------

    def _await(self, *kinds: type[Answer], give_up: Callable[[], bool] = lambda: False) -> Answer | None:
        """Wait for an answer of one of these kinds; None if it was given up, where nothing has stopped us."""

        def answer() -> list[Answer] | None:
            for index, message in enumerate(self._answers):
                if isinstance(message, kinds):
                    return [self._answers.pop(index)]
            return [] if give_up() else None

        found = self._pump(answer)
        if found:
            return found[0]
        self._check_stopped()
        return None

    def _pump(self, answer: Callable[[], T | None], tick: float = TICK_SECONDS) -> T:
        while True:
            found = answer()
            if found is not None:
                return found
            ready = self._selector.select(tick)
            # First what we were told to do: that a program has ended is most likely for the same signal.
            for key, _ in sorted(ready, key=lambda each: each[0].fileobj is not self._signals):
                if key.fileobj is self._signals:
                    for received in self._signals.take():
                        self._on_signal(received)
                elif isinstance(key.fileobj, Question):
                    key.fileobj.is_answered = True
                else:
                    self._on_channel()
            self._enforce()
            self._reap_inherited()
            self._tell_defects()

    def _check_stopped(self) -> None:
        """Nothing new is begun once a signal has come, or nobody is left to begin it; leaving goes on all the same."""
        if self._last_word is not None:
            return
        self._signals.check()
        if self._is_resigned:
            raise KeeperGone("The keeper process died again and again; if a lock was held, its lease ends it.")

    # --- the keeper ---------------------------------------------------------------------------------------------

    def _on_channel(self) -> None:
        for message in self._keeper.receive():
            self._on_keeper(message)
        if not self._keeper.channel.is_open:
            self._on_keeper_gone()

    def _on_keeper(self, message: messages.ToFront) -> None:
        self._handover.note(message)
        self._rules.hear(message, self._clock.boottime())
        match message:
            case protocol.Held():
                self._on_held(message)
                self._answers.append(message)
            case protocol.Failed() | messages.Exited() | protocol.Released():
                self._is_keeper_busy = self._is_keeper_busy and not isinstance(message, protocol.Released)
                self._answers.append(message)
            case protocol.Lost():
                self.lost = message
            case messages.Started():
                self._child.pid, self._child.is_spawning = message.pid, False
            case messages.Pushing():
                self._child.pid = message.pid
            case messages.Told(event="run.timed_out"):
                self.is_timed_out = True
            case (
                messages.Ready()
                | messages.Told()
                | protocol.Waiting()
                | protocol.Trying()
                | protocol.Beaten()
                | protocol.Doubted()
                | protocol.Retaken()
                | protocol.Troubled()
                | protocol.Rescued()
                | protocol.DigestDiffers()
                | protocol.Releasing()
            ):
                pass
            case _:
                assert_never(message)
        self._listener(message)

    def _on_held(self, message: protocol.Held) -> None:
        assert self._request is not None
        if not message.is_nested:
            self._rules.hold(self._request.deadlines(), message.base)

    def _on_keeper_gone(self) -> None:
        self._keeper.bury()
        if any(isinstance(message, protocol.Released) for message in self._answers):
            return
        self._inherit()
        is_last = self._keeper.is_last
        self._listener(KeeperDied(is_last=is_last, leaves_child=self._child.is_inherited))
        if is_last:
            self._resign()
            return
        self._keeper.restart()
        self._rules.start_keeper(self._clock.boottime())
        if self._request is not None:
            self._hand_over(self._request)

    def _resign(self) -> None:
        """Nobody is left to beat or to release. What still runs is watched to its end; nothing else begins."""
        self._is_resigned = True
        self._rules.resign()
        if not self._child.is_inherited:
            self._answer_release()
            self._check_stopped()

    def _answer_release(self) -> None:
        """There is no keeper to answer a release that is asked for all the same."""
        result: Literal["failed", "nothing"] = "failed"
        if self._handover.stage == "idle" or self._handover.is_nested:
            result = "nothing"
        self._answers.append(protocol.Released(result=result, error="No keeper is left to release it."))

    def _inherit(self) -> None:
        """The sentinel has given Terraform its SIGINT, and the kernel has given Terraform to us."""
        self._watch.find_child(self._rules)  # Of its start, or of a push, the keeper may not have lived to tell.
        if self._child.is_spawning:  # It was never started, or it ended unheard: either way it was broken off.
            self._child.is_spawning = False
            self._answers.append(messages.Exited(status=-signal.SIGINT))
        if self._child.pid:
            self._child.inherit()
            self._rules.inherit_child()

    def _hand_over(self, request: messages.Acquire) -> None:
        """Tell a successor where its predecessor had come to, and what that one may not have heard."""
        left = max(0.0, request.terms.timeout_seconds - (self._clock.boottime() - self._asked_at))
        terms = structs.replace(request.terms, timeout_seconds=left)
        request = structs.replace(request, lock=structs.replace(request.lock, terms=terms))
        self._keeper.hand_over(self._handover.handover(request, self._child.pid))
        interrupt = self._signals.interrupt()
        if interrupt is not None:
            self._keeper.send(interrupt)
        if self._last_word is not None and self._handover.stage == "held":
            self._keeper.send(self._last_word)

    def _reap_inherited(self) -> None:
        """Terraform is our own child now: its exit status is ours to read, and the successor's to know of."""
        status = self._child.reap()
        if not self._child.is_spawning:  # One that we have not heard of would be reaped as well.
            reap_orphans((self._keeper.pid, self._child.pid))
        if status is None:
            return
        exited = messages.Exited(status=status)
        self._rules.end_child()
        self._answers = [answer for answer in self._answers if not isinstance(answer, messages.Exited)]
        self._answers.append(exited)
        self._listener(exited)
        self._keeper.send(messages.ChildGone())
        if self._is_resigned:
            self._answer_release()

    # --- the child ----------------------------------------------------------------------------------------------

    def _send_spawn(self, message: messages.Spawn, descriptors: list[int]) -> None:
        self._child.is_spawning = True
        if self._request is not None:
            self._handover.begin(stamp(errored_path(self._request.rescue)))
        self._keeper.send(message, descriptors)

    def _on_interrupt_heard(self) -> None:
        if self._signals.hear_child():
            self._keeper.send(messages.ChildHeard())

    # --- signals and deadlines ----------------------------------------------------------------------------------

    def _on_signal(self, received: Received) -> None:
        is_first = self._signals.note(received)
        interrupt = self._signals.interrupt()
        if is_first and interrupt is not None:
            self._rules.ask_stop(self._clock.boottime())
            self._keeper.send(interrupt)
        self._listener(received)
        self._signals.check_leaving(received)

    def _enforce(self) -> None:
        """What the keeper does, a second time."""
        now = self._clock.boottime()
        is_killed = self._watch.enforce(self._rules, now)
        if is_killed and self.lost is None:  # It still ran at `safe_until`, and no keeper says so.
            self.lost = protocol.Lost(kind="expired")
            self._listener(self.lost)
        if self._watch.is_keeper_dead(self._rules, now):
            self._on_keeper_gone()

    def _tell_defects(self) -> None:
        """Threads of ours may have ended, which appended why."""
        while self._defects:
            error = self._defects.popleft()
            self._listener(ThreadDied(error=f"{type(error).__name__}: {error}"))
