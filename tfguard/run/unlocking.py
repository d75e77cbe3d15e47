"""
Somebody's lock freed by hand, by an operator's decision.

It shows whose it is, watches for a heartbeat, asks, and deletes exactly what it has shown. A living run is unlocked
with `--force` only.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from tfguard.clock import SystemClock, created
from tfguard.errors import NAMED, LockBusy, UsageError
from tfguard.lock.opened_lock import Changed, OpenedLock, Seen, is_silent, watch_seconds
from tfguard.lock.queue_record import Run
from tfguard.lock.store import Holder
from tfguard.outlet import write_to_stderr
from tfguard.report.messages import operating, phrases
from tfguard.report.reporter import Level, Reporter


@dataclass(frozen=True)
class Decision:
    """
    What the operator said. `lock_id`: exactly that one, by its own ID or the one that Terraform shows; `is_sure`: do
    not ask.
    """

    lock_id: str = ""
    is_forced: bool = False
    reason: str = ""
    is_sure: bool = False


class Unlocking:
    """One lock, from the look at it until it is free or the operator has said no."""

    def __init__(
        self, lock: OpenedLock, subject: phrases.Subject, report: Reporter, decision: Decision, who: str
    ) -> None:
        self._lock = lock
        self._subject = subject
        self._report = report
        self._decision = decision
        self._who = who
        self._clock = SystemClock()

    def run(self) -> int:
        """Return 0 where the lock is free afterwards, 1 where the operator said no. Raises LockBusy, UsageError."""
        there = self._lock.read()
        if not there:
            self._say("info", "lock.free", operating.is_free(self._subject))
            return 0
        shown = self._chosen(there)
        self._check_words(shown[0])
        try:
            is_silent_now = self._watch(shown)
            if not self._is_confirmed(shown[0], is_silent_now=is_silent_now):
                self._say("warning", "lock.kept", operating.not_unlocked(self._subject))
                return 1
            self._lock.remove(shown, even_if_alive=self._decision.is_forced)
        except Changed as changed:
            return self._on_changed(shown, changed)
        self._record(shown[0])
        return 0

    def _chosen(self, there: list[Seen]) -> list[Seen]:
        """The records of one lock ID: the one named, else the first; both stores may hold it."""
        wanted = self._decision.lock_id or there[0].record.id
        ids = {seen.record.id for seen in there if wanted in (seen.record.id, seen.record.handle)}
        chosen = [seen for seen in there if seen.record.id in ids]
        if not chosen:
            text = operating.is_another(self._subject, wanted, there[0].record, self._clock.now())
            raise LockBusy(text, about=NAMED, record=there[0].record)
        return chosen

    def _check_words(self, seen: Seen) -> None:
        decision = self._decision
        if not seen.record.id and not decision.is_forced:
            raise UsageError(operating.needs_force(self._subject), about=NAMED)
        is_named = bool(decision.lock_id) or not seen.record.id
        if not sys.stdin.isatty() and not (is_named and decision.is_sure):
            text = operating.needs_answers(self._subject, seen.record, self._clock.now(), is_sure=decision.is_sure)
            raise UsageError(text, about=NAMED)

    def _watch(self, shown: list[Seen]) -> bool:
        """Whether its silence is known. Raises LockBusy if it is alive, unless that does not matter."""
        seconds = watch_seconds(self._lock, shown)
        if self._decision.is_forced or seconds == 0:
            return False
        record, now = shown[0].record, self._clock.now()
        self._say("info", "lock.watched", operating.watching(self._subject, record, now, seconds))
        if is_silent(self._lock, shown, self._clock, for_seconds=seconds):
            return True
        return self._refuse()

    def _refuse(self) -> bool:
        there = self._lock.read()
        if not there:
            raise Changed([])
        record = there[0].record
        raise LockBusy(operating.is_alive(self._subject, record, self._clock.now()), about=NAMED, record=record)

    def _is_confirmed(self, seen: Seen, *, is_silent_now: bool) -> bool:
        record = seen.record
        beat = self._lock.heartbeat_seconds(record) if record.lease else 0.0
        effect = operating.consequence(record, heartbeat_seconds=beat, is_known_silent=is_silent_now)
        if self._decision.is_sure:
            self._say("warning", "lock.unlocking", phrases.fit(f"{self._subject.label}: unlocking.", effect))
            return True
        write_to_stderr(operating.question(self._subject, record, self._clock.now(), effect))
        return sys.stdin.readline().strip() == "yes"

    def _on_changed(self, shown: list[Seen], changed: Changed) -> int:
        now = self._clock.now()
        record = changed.seen[0].record if changed.seen else None
        if record is None:
            self._say("info", "lock.free", operating.has_changed(self._subject, None, now))
            return 0
        if record.text == shown[0].record.text and record.beat != shown[0].record.beat:
            raise LockBusy(operating.is_alive(self._subject, record, now), about=NAMED, record=record)
        raise LockBusy(operating.has_changed(self._subject, record, now), about=NAMED, record=record)

    def _record(self, seen: Seen) -> None:
        record, now = seen.record, self._clock.now()
        lease, info = record.lease, record.info
        run = Run(
            holder=lease.holder if lease else Holder(who=info.who if info else "", command=_operation(seen)),
            ended_at=created(now),
            token=lease.token if lease else 0,
            outcome="unlocked",
            lock_id=record.id,
            unlocked_by=self._who,
            reason=self._decision.reason,
        )
        is_written = self._lock.add_run(run)
        text = operating.unlocked(self._subject, record, now, is_written=is_written)
        self._say("warning", "lock.unlocked", text)

    def _say(self, level: Level, event: str, text: str) -> None:
        self._report.say(level, event, text, lock=self._subject.label)


def _operation(seen: Seen) -> str:
    return seen.record.info.operation.removeprefix("OperationType").lower() if seen.record.info else ""
