"""
The front: the process that the user or the CI runner started, and may kill.

It starts the keeper, passes on what it is asked and what Terraform prints, and translates signals. It is also the
second watchdog: it enforces the same deadlines should the keeper freeze, and if the keeper dies it inherits
Terraform and starts a successor that adopts the lease. When successors die too it resigns: it starts nothing more,
but watches what still runs to its end.

The front never talks to a store and never imports boto3.
"""

from __future__ import annotations

import os
import selectors
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from tfguard.clock import SystemClock
from tfguard.errors import Interrupted, TfguardError
from tfguard.files import write_to_stderr
from tfguard.guard import messages
from tfguard.guard.front_rules import FrontRules, Heard, KeeperDied
from tfguard.guard.handover import Handover
from tfguard.guard.signals import Received, reaction
from tfguard.guard.watchdog import Action
from tfguard.lock import protocol
from tfguard.lock.deadlines import TICK_SECONDS
from tfguard.process import channel, child, launch
from tfguard.process.relay import Relay, Stream, sinks
from tfguard.process.rescue import errored_path, stamp
from tfguard.process.signals import SignalListener, become_subreaper, restore_defaults
from tfguard.process.terminal import is_foreground

T = TypeVar("T")

#: "Interrupt received" this close to a signal of ours belongs to it.
HEARD_SECONDS = 3.0
#: How long the front waits for a keeper that clears up an interrupted acquisition; it finishes alone.
CANCEL_SECONDS = 0.8
MAX_RESTARTS = 2
_CAPTURED_BYTES = 65536
_DONE_BY = {Action.FREEZE: child.freeze, Action.THAW: child.thaw, Action.KILL: child.kill}


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
    """

    def __init__(self, listener: Callable[[Heard], None], environ: Mapping[str, str]) -> None:
        self.stopped_by: Received | None = None
        self.stop_count = 0
        self.lost: protocol.Lost | None = None
        self.is_timed_out = False
        self.last_words = ""
        self._listener = listener
        self._environ = launch.without_tracking(environ)
        self._clock = SystemClock()
        self._signals = SignalListener()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals, selectors.EVENT_READ)
        self._rules = FrontRules(self._clock.boottime())
        self._handover = Handover()
        self._request: messages.Acquire | None = None
        self._lock_fd = -1
        self._restarts = 0
        self._is_resigned = False
        self._child = 0
        self._is_spawning = False
        self._last_word: protocol.Release | None = None
        self._inherited: child.AdoptedChild | None = None
        self._answers: list[Any] = []
        self._heard_at = -HEARD_SECONDS
        self._is_leaving = False
        self._is_answered = False
        self._shares_group = is_foreground()
        if not self._shares_group:
            # Nothing here stops at a key; a stray SIGTSTP would stop our watch, not Terraform.
            signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        become_subreaper()
        self._start_keeper()

    # --- the run ------------------------------------------------------------------------------------------------

    def acquire(self, request: messages.Acquire) -> protocol.Held:
        """Take the lock. Raises AcquireFailed; Interrupted if a signal ended the wait; KeeperGone."""
        self._check_stopped()
        self._request = request
        self._handover = Handover()
        self._channel.send(request)
        answer = self._await((protocol.Held, protocol.Failed), give_up=self._waited_long_enough)
        if isinstance(answer, protocol.Held):
            return answer
        self._request = None
        self._check_stopped()
        raise Refused(answer)

    def run(
        self,
        argv: Sequence[str],
        *,
        directory: str,
        environ: Mapping[str, str],
        stdout: int = 1,
        keep: Callable[[bytes], object] | None = None,
    ) -> int:
        """
        Run a program to its end under whatever is held, and give its exit status (-n: signal n).

        `stdout`: where its standard output goes; 2 for programs of ours whose output must not mix with Terraform's.
        `keep` gets what it prints: that is relayed then even to a terminal, and `last_words` always has the end of it.

        Raises KeeperGone if nobody is left to start it. What runs already is waited for, whoever dies.
        """
        self._check_stopped()
        relays = self._spawn(argv, directory, environ, stdout, keep)
        answer = self._await((messages.Exited, protocol.Failed))
        self._child = 0
        for relay in relays:
            relay.finish()
            self._pump(lambda relay=relay: relay.is_finished(0.02) or None, tick=0.0)  # type: ignore[misc]
        self.last_words = b"".join(relay.last_words for relay in relays).decode("utf-8", "replace")
        if isinstance(answer, protocol.Failed):
            self._check_stopped()
            raise Refused(answer)
        return int(answer.status)

    def run_captured(self, argv: Sequence[str], *, directory: str, environ: Mapping[str, str]) -> tuple[int, str]:
        """Run a program of our own, without input; give its exit status and the end of what it printed."""
        with tempfile.TemporaryFile() as file, open(os.devnull, "rb") as nothing:
            self._check_stopped()
            self._send_spawn(argv, directory, environ, [nothing.fileno(), file.fileno(), file.fileno()])
            answer = self._await((messages.Exited, protocol.Failed))
            self._child = 0
            if isinstance(answer, protocol.Failed):
                self._check_stopped()
                raise Refused(answer)
            file.seek(max(0, file.tell() - _CAPTURED_BYTES))
            return int(answer.status), file.read().decode("utf-8", "replace")

    def ask(self, question: str) -> str:
        """Ask on the terminal, serving signals meanwhile; gives the line, empty where there is nobody to ask."""
        if not self._shares_group:
            return ""
        write_to_stderr(question)
        self._selector.register(0, selectors.EVENT_READ)
        self._is_answered = False
        try:
            self._pump(lambda: self._is_answered or self.stopped_by)
        finally:
            self._selector.unregister(0)
        self._check_stopped()
        return os.read(0, 4096).decode("utf-8", "replace").strip()

    def release(self, outcome: str, exit_code: int | None) -> protocol.Released:
        """End the run: release whatever is held. A second signal meanwhile leaves it to the keeper alone."""
        self._is_leaving = True
        already = self.stop_count
        self._last_word = protocol.Release(outcome=outcome, exit_code=exit_code)
        self._channel.send(self._last_word)
        answer = self._await(
            (protocol.Released,),
            give_up=lambda: self.stop_count >= already + 2 and not self._is_resigned,
        )
        if answer is None:
            return protocol.Released(result="failed", error="interrupted; the keeper goes on releasing it")
        return answer  # type: ignore[no-any-return]

    def close(self) -> None:
        """Leave. A keeper with something left to do does it alone."""
        self._channel.close()

    def stand_down(self) -> None:
        """There is nothing to guard after all, and this process is about to become Terraform: leave no trace."""
        self._channel.close()
        self._keeper.kill()
        self._keeper.wait()
        restore_defaults()

    @property
    def is_interactive(self) -> bool:
        """Whether Terraform shares our terminal, and so gets its keys."""
        return self._shares_group

    # --- waiting for answers ------------------------------------------------------------------------------------

    def _await(self, kinds: tuple[type, ...], give_up: Callable[[], bool] = lambda: False) -> Any:
        def answer() -> Any:
            for index, message in enumerate(self._answers):
                if isinstance(message, kinds):
                    return self._answers.pop(index)
            return _GAVE_UP if give_up() else None

        found = self._pump(answer)
        if found is _GAVE_UP:
            self._check_stopped()
            return None
        return found

    def _pump(self, answer: Callable[[], T | None], tick: float = TICK_SECONDS) -> T:
        while True:
            found = answer()
            if found is not None:
                return found
            for key, _ in self._selector.select(tick):
                if key.fileobj is self._signals:
                    for received in self._signals.take():
                        self._on_signal(received)
                elif key.fileobj is self._channel:
                    self._on_channel()
                else:
                    self._is_answered = True
            self._enforce()
            self._reap_inherited()

    def _waited_long_enough(self) -> bool:
        return self.stopped_by is not None and self._clock.boottime() - self._stopped_at > CANCEL_SECONDS

    def _check_stopped(self) -> None:
        """Nothing new is begun once a signal has come, or nobody is left to begin it."""
        if self.stopped_by is not None and not self._is_leaving:
            name = signal.Signals(self.stopped_by.number).name
            raise Interrupted(f"stopped by {name}", signal_number=self.stopped_by.number)
        if self._is_resigned and not self._is_leaving:
            raise KeeperGone("The keeper process died again and again; if a lock was held, its lease ends it.")

    # --- the keeper ---------------------------------------------------------------------------------------------

    def _start_keeper(self) -> None:
        launched = launch.take(self._environ)
        self._keeper = launched.process
        self._channel = channel.front_end(launched.socket)
        self._selector.register(self._channel, selectors.EVENT_READ)
        self._rules.start_keeper(self._clock.boottime())

    def _on_channel(self) -> None:
        for message in self._channel.receive():
            self._on_keeper(message)
        if not self._channel.is_open:
            self._on_keeper_gone()

    def _on_keeper(self, message: Any) -> None:
        self._handover.note(message)
        self._rules.hear(message, self._clock.boottime())
        if isinstance(message, protocol.Held):
            self._on_held(message)
        elif isinstance(message, messages.Told) and message.event == "run.timed_out":
            self.is_timed_out = True
        elif isinstance(message, protocol.Lost):
            self.lost = message
        elif isinstance(message, messages.Started):
            self._child, self._is_spawning = message.pid, False
        elif isinstance(message, messages.Pushing):
            self._child = message.pid
        if isinstance(message, (protocol.Held, protocol.Failed, messages.Exited, protocol.Released)):
            self._answers.append(message)
        self._listener(message)

    def _on_held(self, message: protocol.Held) -> None:
        assert self._request is not None
        if not message.is_nested:
            self._rules.hold(self._request.deadlines(), message.base)
        for descriptor in self._channel.take_descriptors(1):
            self._lock_fd = descriptor

    def _on_keeper_gone(self) -> None:
        self._selector.unregister(self._channel)
        self._channel.close()
        self._keeper.wait()
        if any(isinstance(message, protocol.Released) for message in self._answers):
            return
        self._inherit()
        is_last = self._restarts >= MAX_RESTARTS
        self._listener(KeeperDied(is_last=is_last, leaves_child=self._inherited is not None))
        if is_last:
            self._resign()
            return
        self._restarts += 1
        self._start_keeper()
        if self._request is not None:
            self._hand_over(self._request)

    def _resign(self) -> None:
        """Nobody is left to beat or to release. What still runs is watched to its end; nothing else begins."""
        self._is_resigned = True
        self._rules.resign()
        if self._inherited is None:
            self._answer_release()
            self._check_stopped()

    def _answer_release(self) -> None:
        """There is no keeper to answer a release that is asked for all the same."""
        result: Literal["failed", "nothing"] = "nothing" if self._handover.stage == "idle" else "failed"
        self._answers.append(protocol.Released(result=result, error="No keeper is left to release it."))

    def _inherit(self) -> None:
        """The sentinel has given Terraform its SIGINT, and the kernel has given Terraform to us."""
        if self._is_spawning:
            self._is_spawning = False
            self._child = child.spawned_by(self._keeper.pid)
            if not self._child:  # It was never started, or it ended unheard: either way it was broken off.
                self._answers.append(messages.Exited(status=-signal.SIGINT))
        elif self._last_word is not None and self._request is not None and self._request.rescue is not None:
            self._child = child.spawned_by(self._keeper.pid)  # Pushing what Terraform could not save: it may write.
        if self._child:
            self._inherited = child.AdoptedChild(self._child)
            self._rules.inherit_child()

    def _hand_over(self, request: messages.Acquire) -> None:
        """Tell a successor where its predecessor had come to, and what that one may not have heard."""
        message = self._handover.handover(request, self._child)
        self._channel.send(message, [self._lock_fd] if self._lock_fd >= 0 else None)
        if self.stopped_by is not None:
            self._channel.send(self._interrupt_for(self.stopped_by))
        if self._last_word is not None and self._handover.stage == "held":
            self._channel.send(self._last_word)

    def _reap_inherited(self) -> None:
        """Terraform is our own child now: its exit status is ours to read, and the successor's to know of."""
        if self._inherited is None:
            return
        try:
            pid, status = os.waitpid(self._inherited.pid, os.WNOHANG)
        except ChildProcessError:
            pid, status = self._inherited.pid, 256
        if pid == 0:
            return
        self._inherited = None
        self._child = 0
        exited = messages.Exited(status=os.waitstatus_to_exitcode(status))
        self._answers = [answer for answer in self._answers if not isinstance(answer, messages.Exited)]
        self._answers.append(exited)
        self._listener(exited)
        self._channel.send(messages.ChildGone())
        if self._is_resigned:
            self._answer_release()

    # --- the child ----------------------------------------------------------------------------------------------

    def _spawn(
        self,
        argv: Sequence[str],
        directory: str,
        environ: Mapping[str, str],
        stdout: int,
        keep: Callable[[bytes], object] | None,
    ) -> list[Relay]:
        streams = [Stream.open(name, sink, self._on_interrupt_heard, keep) for name, sink in sinks(stdout)]
        relays = [stream.relay for stream in streams if stream.relay]
        self._send_spawn(
            argv,
            directory,
            environ,
            [0, *(stream.end for stream in streams), *(relay.source for relay in relays)],
            [stream.name for stream in streams if stream.relay],
        )
        for stream in streams:
            stream.let_go()
        return relays

    def _send_spawn(
        self,
        argv: Sequence[str],
        directory: str,
        environ: Mapping[str, str],
        descriptors: list[int],
        relayed: Sequence[Literal["stdout", "stderr"]] = (),
    ) -> None:
        self._is_spawning = True
        if self._request is not None:
            self._handover.begin(stamp(errored_path(self._request.rescue)))
        message = messages.Spawn(
            argv=list(argv),
            directory=directory,
            environ=launch.without_tracking(environ),
            group=os.getpgrp() if self._shares_group else 0,
            relayed=list(relayed),
        )
        self._channel.send(message, descriptors)

    def _on_interrupt_heard(self) -> None:
        self._heard_at = self._clock.boottime()
        if self.stopped_by is not None and self._heard_at - self._stopped_at < HEARD_SECONDS:
            self._channel.send(messages.ChildHeard())

    # --- signals and deadlines ----------------------------------------------------------------------------------

    def _on_signal(self, received: Received) -> None:
        self.stop_count += 1
        first = self.stopped_by is None
        if first:
            self.stopped_by = received
            self._stopped_at = self._clock.boottime()
            self._channel.send(self._interrupt_for(received))
        self._listener(received)
        if self.stop_count >= 4 and received.is_from_terminal:
            raise Interrupted("left at the fourth Ctrl-C", signal_number=received.number)

    def _interrupt_for(self, received: Received) -> messages.Interrupt:
        has_heard = self._clock.boottime() - self._heard_at < HEARD_SECONDS
        found = reaction(received, shares_terminal=self._shares_group, has_child_heard=has_heard)
        return messages.Interrupt(
            reason="our parent died" if received.is_parent_death else signal.Signals(received.number).name,
            is_delivered=found.is_delivered,
            grace_seconds=found.grace_seconds,
        )

    def _enforce(self) -> None:
        """What the keeper does, a second time: it may be frozen. Both do the same to the same process."""
        if not self._child:
            return
        now = self._clock.boottime()
        for action in self._rules.decide(now):
            if action in _DONE_BY:
                _DONE_BY[action](child.AdoptedChild(self._child))
            if action is Action.KILL and self.lost is None:
                self._lose()
        if self._rules.is_keeper_frozen(now) and self._keeper.poll() is None:
            self._keeper.kill()

    def _lose(self) -> None:
        """Terraform still ran at `safe_until`, and there is no keeper to say so."""
        self.lost = protocol.Lost(kind="expired")
        self._listener(self.lost)


_GAVE_UP: Any = object()
