"""
The queue record of a lock: the line of those who wait, the last fencing token, the last runs.

Advisory: a record that is missing, garbage or denied costs a place, a token or a line of history, never exclusion.
Pure: text in, text out, and decisions from what was seen and one's own clock; `queue` reads and writes it.

A waiter's *ticket* has a number in order of arrival and a *sign of life*, a counter that the waiter raises now and
then. A waiter that does not raise it is dead, judged by change on the observer's own clock, as leases are. No two
clocks are compared, and a ticket that was dropped by mistake comes back under its old number.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable
from typing import Any

import msgspec

from tfguard.lock.store import MAX_COUNT, Count, Holder, QueueRecord
from tfguard.wire import Stranger, parse, publish

#: How many runs are kept, small enough for one DynamoDB item together with the line.
KEPT_RUNS = 20
#: A DynamoDB item ends at 400 KB. A waiter that would make the record longer than this waits without a place.
MAX_BYTES = 300_000
#: An estimate needs this many runs.
_ENOUGH_RUNS = 3
#: A waiter at the head signs this often, in seconds; in a long line everybody signs more rarely.
SIGN_SECONDS = 20.0
#: So that all of a line together writes about this often: seconds between two signs, from whomever.
_SPREAD_SECONDS = 0.6
#: But never more rarely than this, in seconds: tickets that somebody has made up leave the line after three times it.
_RAREST_SIGN_SECONDS = 300.0
#: A waiter that has left out this many signs is dead.
_MISSED = 3
_LIMITS = {"who": 80, "command": 60, "run": 80}
#: A link that is cut leads nowhere: a longer one is left out.
_MAX_LINK = 250
_MAX_WORD = 200
#: More digits than `MAX_COUNT` has.
_DIGITS = re.compile(rb"[1-9][0-9]{16,}")


class Run(Stranger, frozen=True, kw_only=True, omit_defaults=True):
    """
    One past run of a lock. Durations in seconds; `ended_at` RFC 3339, for people.

    `unlocked_by`: an operator ended this run's hold by force, and why is in `reason`.
    """

    holder: Holder
    ended_at: str
    token: Count = 0
    waited_s: float = 0.0
    held_s: float = 0.0
    outcome: str = ""
    exit_code: int | None = None
    took_over: str = ""
    lock_id: str = ""
    unlocked_by: str = ""
    reason: str = ""


class Ticket(Stranger, frozen=True, kw_only=True, omit_defaults=True):
    """
    One who waits. `number` is given by the line, 0 before; `id` is the waiter's own; `since` is RFC 3339, for people;
    `sign` is raised by its waiter and by nobody else.
    """

    id: str
    holder: Holder
    number: Count = 0
    since: str = ""
    sign: Count = 0


class QueueState(Stranger, frozen=True, kw_only=True, omit_defaults=True):
    """
    All that the queue record says. `token` counts acquisitions and never goes down, nor does `last_number`.

    `errored` is where the state of a run waits that Terraform could not save.
    """

    used_raw = frozenset({"errored"})  # It is looked for there.

    token: Count = 0
    runs: tuple[Run, ...] = ()
    last_number: Count = 0
    tickets: tuple[Ticket, ...] = ()
    errored: str = ""

    def with_errored(self, place: str) -> QueueState:
        """Remember where an unsaved state waits, or forget it."""
        return msgspec.structs.replace(self, errored=place)

    def with_token(self, at_least: int) -> QueueState:
        """Count one more acquisition, above every token seen; at its end the count stays, and tells nothing more."""
        return msgspec.structs.replace(self, token=min(max(self.token, at_least) + 1, MAX_COUNT))

    def with_run(self, run: Run) -> QueueState:
        """Add a run to the history, dropping the oldest."""
        run = msgspec.structs.replace(run, holder=bounded(run.holder), reason=run.reason[:_MAX_WORD])
        return msgspec.structs.replace(self, runs=(*self.runs, run)[-KEPT_RUNS:])

    def joined(self, ticket: Ticket) -> QueueState:
        """
        Put a ticket in its place: at the end, or, if it has a number already, where it stood.

        A waiter in line stays where it is. Where there is no room left the line stays as it is.
        """
        if self.ticket(ticket.id):
            return self
        last = max(self.last_number, *(each.number for each in self.tickets), 0)
        number = ticket.number or min(last + 1, MAX_COUNT)  # Then as we sort it: who comes later stands further back.
        ticket = msgspec.structs.replace(ticket, number=number, holder=bounded(ticket.holder))
        tickets = tuple(sorted((*self.tickets, ticket), key=lambda each: each.number))
        longer = msgspec.structs.replace(self, tickets=tickets, last_number=max(self.last_number, number))
        return longer if len(encode(longer).encode()) <= MAX_BYTES else self

    def signed(self, ticket_id: str) -> QueueState:
        """Raise one waiter's sign of life; it begins anew where it ends, since all that tells is that it changes."""
        signed = (
            msgspec.structs.replace(each, sign=(each.sign + 1) % MAX_COUNT) if each.id == ticket_id else each
            for each in self.tickets
        )
        return msgspec.structs.replace(self, tickets=tuple(signed))

    def without(self, ticket_ids: Iterable[str]) -> QueueState:
        """Take tickets out of the line."""
        gone = set(ticket_ids)
        return msgspec.structs.replace(self, tickets=tuple(each for each in self.tickets if each.id not in gone))

    def without_signs(self, signs: Iterable[tuple[str, int]]) -> QueueState:
        """Take out tickets that still show the signs given: a waiter that has signed since is alive."""
        gone = set(signs)
        kept = tuple(each for each in self.tickets if (each.id, each.sign) not in gone)
        return msgspec.structs.replace(self, tickets=kept)

    def ticket(self, ticket_id: str) -> Ticket | None:
        return next((each for each in self.tickets if each.id == ticket_id), None)

    def usual_seconds(self) -> float | None:
        """For how long the last runs held the lock, the median of them; None before there are three."""
        held = [run.held_s for run in self.runs if not run.unlocked_by]
        return statistics.median(held) if len(held) >= _ENOUGH_RUNS else None


def bounded(holder: Holder) -> Holder:
    """Cut a holder's words to what a record shared by a hundred has room for."""
    words = {name: getattr(holder, name)[:limit] for name, limit in _LIMITS.items()}
    return Holder(**words, link=holder.link if len(holder.link) <= _MAX_LINK else "")


class View:
    """The line as one waiter sees it: which are in it, and which of them show signs of life, by its own clock."""

    def __init__(self) -> None:
        self.state = QueueState()
        self._signs: dict[str, tuple[int, float]] = {}

    def see(self, state: QueueState, now: float) -> None:
        """Note what was read. `now` is the instant after the answer."""
        self.state = state
        before = self._signs
        self._signs = {}
        for ticket in state.tickets:
            sign, since = before.get(ticket.id, (ticket.sign, now))
            self._signs[ticket.id] = (sign, since) if sign == ticket.sign else (ticket.sign, now)

    def forgive(self, seconds: float, now: float) -> None:
        """Leave so many seconds out of everybody's silence: nobody could sign then, or we could not have seen it."""
        self._signs = {ticket_id: (sign, min(now, since + seconds)) for ticket_id, (sign, since) in self._signs.items()}

    @property
    def sign_seconds(self) -> float:
        """How often each signs: more rarely in a long line, so that all together do not write too often."""
        return min(max(SIGN_SECONDS, _SPREAD_SECONDS * len(self.state.tickets)), _RAREST_SIGN_SECONDS)

    def silent(self, now: float) -> list[tuple[str, int]]:
        """The dead, with their last signs."""
        patience = _MISSED * self.sign_seconds
        return [(ticket_id, sign) for ticket_id, (sign, since) in self._signs.items() if now - since >= patience]

    def living(self, now: float) -> list[Ticket]:
        """Those in line who are not dead, first come first."""
        dead = {ticket_id for ticket_id, _ in self.silent(now)}
        return [ticket for ticket in self.state.tickets if ticket.id not in dead]

    def ahead_of(self, ticket_id: str, now: float) -> list[Ticket]:
        """The living ahead of one ticket; all of them if it is not in line."""
        ahead: list[Ticket] = []
        for ticket in self.living(now):
            if ticket.id == ticket_id:
                break
            ahead.append(ticket)
        return ahead


def decode(text: str) -> QueueState:
    """
    Read a queue record. Garbage reads as an empty one, and one part that is garbage does not spoil the others.

    Of several tickets with one ID the first counts: a waiter has one, and only it would seem to sign without end.
    """
    if len(text.encode("utf-8", "surrogatepass")) > 2 * MAX_BYTES:
        return QueueState()
    try:
        state = parse(text, QueueState)
    except msgspec.DecodeError:
        state = _salvaged(text)
    unique = {ticket.id: ticket for ticket in reversed(state.tickets)}
    if len(unique) == len(state.tickets):
        return state
    return msgspec.structs.replace(state, tickets=tuple(reversed(unique.values())))


def _salvaged(text: str) -> QueueState:
    """What can be read of it."""
    try:
        parts = parse(text, dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return QueueState()
    return QueueState(
        token=_count(parts, "token"),
        last_number=_count(parts, "last_number"),
        errored=_part(parts, "errored", str, ""),
        runs=_parts(parts, "runs", Run),
        tickets=_parts(parts, "tickets", Ticket),
    )


def _count(parts: dict[str, msgspec.Raw], name: str) -> int:
    """Read a number that only grows; one beyond all bounds is as large as one may be, never small again."""
    text = bytes(parts.get(name, b""))
    if _DIGITS.fullmatch(text):
        return MAX_COUNT
    return int(min(max(_part(parts, name, float, 0.0), 0.0), float(MAX_COUNT)))


def _part(parts: dict[str, msgspec.Raw], name: str, kind: Any, default: Any) -> Any:
    try:
        return parse(parts[name], kind)
    except (KeyError, msgspec.DecodeError):
        return default


def _parts(parts: dict[str, msgspec.Raw], name: str, kind: type) -> tuple[Any, ...]:
    each = (_part({name: raw}, name, kind, None) for raw in _part(parts, name, list[msgspec.Raw], []))
    return tuple(found for found in each if found is not None)


def encode(state: QueueState) -> str:
    """Return the text to store."""
    return publish(state).decode()


#: More than that is not read: it is nobody's queue.
MAX_STORED_BYTES = 1024 * 1024


class _Body(msgspec.Struct, frozen=True):
    revision: int
    queue: str


def encode_record(record: QueueRecord) -> bytes:
    """Write the record as what is stored; its version belongs to the store."""
    return publish(_Body(revision=record.revision, queue=record.text))


def decode_record(content: bytes, version: str = "") -> QueueRecord:
    """Read what is stored. What is not ours becomes a record all the same, so that it can be replaced."""
    try:
        body = parse(content, _Body)
    except msgspec.DecodeError:
        return QueueRecord(text=content.decode("utf-8", "replace"), version=version)
    return QueueRecord(text=body.queue, revision=body.revision, version=version)
