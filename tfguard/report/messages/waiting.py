"""What is said until the lock is ours, or is not to be had."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tfguard.durations import format_duration
from tfguard.lock import protocol, refusals
from tfguard.lock.store import LockRecord
from tfguard.report.messages.phrases import (
    Subject,
    age,
    do,
    first_line,
    fit,
    half_done,
    held,
    holder,
    say,
    watch,
    way_out,
    word,
)

_MAY_MISS = "The state may miss what that run created, until a later run succeeds."


def waiting(
    subject: Subject,
    record: LockRecord | None,
    now: datetime,
    *,
    remaining_seconds: float,
    expires_in_seconds: float | None = None,
    standing: str = "",
) -> str:
    """The lock is busy: who holds it, where to watch, our place in line (`standing`), how long we shall still wait."""
    wait = f"Waiting up to {format_duration(round(remaining_seconds))}"
    takeover = ""
    if expires_in_seconds is not None:
        takeover = f"; without a heartbeat it is taken over in {format_duration(max(0, round(expires_in_seconds)))}"
    lines = [held(subject, " is held by ", record, now, "."), watch(record)]
    is_plain = record is not None and record.lease is None and bool(record.id)
    if is_plain and record is not None and not subject.is_local:
        place = f"{standing}." if standing else ""
        unlock = do(f"{wait}. If it is dead", subject.unlock(record.handle))
        return "\n".join(line for line in (*lines, place, unlock) if line)
    place = f"{standing}. " if standing else ""
    return "\n".join(line for line in (*lines, fit(f"{place}{wait} (--lock-timeout){takeover}.")) if line)


def trouble(subject: Subject, error: str, remaining_seconds: float) -> str:
    """The store does not answer while we wait."""
    return say(
        subject.label,
        first_line(error),
        f"Trying again for up to {format_duration(round(remaining_seconds))} (--lock-timeout).",
    )


def unavailable(subject: Subject, error: str, *, waited_seconds: float) -> str:
    """The store has not answered for as long as we were to wait: exit 69."""
    waited = _waited(waited_seconds).capitalize() if round(waited_seconds) else "Tried once"
    return say(
        subject.label,
        first_line(error),
        f"{waited}; nothing was run. Check the network and the endpoint.",
        "To try for longer: --lock-timeout=30m before the command.",
    )


def busy(subject: Subject, record: LockRecord | None, now: datetime, *, waited_seconds: float) -> str:
    """We gave up waiting: exit 75."""
    waited = _waited(waited_seconds)
    lines = (
        held(subject, " is held by ", record, now, f"; {waited}."),
        watch(record) or "To wait longer: --lock-timeout=30m before the command.",
        way_out(subject, record),
    )
    return "\n".join(lines)


def implicit(label: str, *, remaining_seconds: float) -> str:
    """Terraform was refused a lock that it takes by itself, and has shown whose that is."""
    wait = f"Waiting for it up to {format_duration(round(remaining_seconds))} (--lock-timeout)."
    return say(label, "Terraform takes the state's lock by itself here, and somebody holds it.", wait)


def implicit_busy(label: str, *, waited_seconds: float) -> str:
    """We gave up waiting for that lock: exit 75."""
    return say(
        label,
        f"the state's lock, which Terraform takes by itself here, is held; {_waited(waited_seconds)}.",
        "To wait longer: --lock-timeout=30m before the command.",
    )


def takeover_refused(subject: Subject, record: LockRecord | None, now: datetime) -> str:
    """The holder is dead, and `lock.takeover` forbids us to take its lock: exit 75."""
    return "\n".join(
        (
            held(subject, ": ", record, now, " has died; lock.takeover forbids a takeover."),
            do("Look at what it did", f"{subject.command} plan -lock=false"),
            do("Then", subject.unlock(record.handle)) if record and record.id else way_out(subject, record),
        )
    )


def takeover_question(refused: str) -> str:
    """What `takeover_refused` says, and a question at a terminal."""
    return f"{refused}\nTake it over now? Only 'yes' is accepted: "


def took_over(subject: Subject, dead: LockRecord, now: datetime) -> str:
    """We took the lock of a dead holder, or of a hold that has ended."""
    if dead.lease and dead.lease.hold_until:
        return held(subject, ": the hold by ", dead, now, " is over.")
    may_miss = bool(dead.lease and dead.lease.is_changing)
    link = watch(dead).removeprefix("Watch it: ")
    lines = (
        held(subject, ": took the lock over from ", dead, now, ", which has died."),
        (half_done(subject) or _MAY_MISS) if may_miss else "",
        f"Its run: {link}" if link else "",
    )
    return "\n".join(line for line in lines if line)


def acquired(subject: Subject, lock_id: str, *, waited_seconds: float, is_nested: bool) -> str:
    """The lock is ours."""
    if is_nested and waited_seconds < 1:
        return say(subject.label, f"locked by the tfguard around us ({lock_id}).")
    if is_nested:
        waited = format_duration(round(waited_seconds))
        return say(subject.label, f"locked by the tfguard around us ({lock_id}); our turn after {waited}.")
    waited = f" after {format_duration(round(waited_seconds))}" if waited_seconds >= 1 else ""
    return say(subject.label, f"locked{waited} ({lock_id}).")


def turn_awaited(subject: Subject, ahead: protocol.Sibling | None, *, remaining_seconds: float) -> str:
    """We are inside another tfguard, where one runs at a time."""
    return say(
        subject.label,
        f"inside the tfguard around us, {_sibling(ahead)} runs on this state.",
        f"Waiting up to {format_duration(round(remaining_seconds))} (--lock-timeout) for our turn.",
    )


def not_our_turn(subject: Subject, why: refusals.NotOurTurn, *, waited_seconds: float) -> str:
    """We gave up waiting for our turn: exit 75."""
    waited = _waited(waited_seconds)
    ahead = protocol.Sibling(who=why.who, command=why.command, pid=why.pid) if why.pid else None
    return say(
        subject.label,
        f"inside the tfguard around us, {_sibling(ahead)} runs on this state; {waited}.",
        "To wait longer: --lock-timeout=30m before the command.",
    )


def _waited(seconds: float) -> str:
    """Whole seconds that have passed: a timeout of 3 s that took 3.6 s was one of 3 s."""
    return f"gave up after {format_duration(max(1, int(seconds)))}" if round(seconds) else "did not wait"


def _sibling(ahead: protocol.Sibling | None) -> str:
    return f"{word(ahead.command) or 'another tfguard'} (PID {ahead.pid})" if ahead else "another tfguard"


def nested_ignored(label: str) -> str:
    """We are inside a run that has lost the lock, or holds another."""
    return say(
        label,
        "TFGUARD_LOCK_ID is set, but that run does not hold this lock: taking it ourselves.",
        "If this is not meant to run inside another tfguard: unset TFGUARD_LOCK_ID.",
    )


def credentials_expire(label: str, at: datetime) -> str:
    """Known credentials end before the run may."""
    return say(
        label,
        f"the credentials for the lock expire at {at:%H:%M:%S} UTC, perhaps before this run ends.",
        "If they cannot be refreshed, heartbeats stop then: use a longer session, or a shorter run_timeout.",
    )


def standing(message: protocol.Waiting) -> str:
    """Say what place we have, and how long it may take: `You are 2nd of 5; the last runs held it for about 3 min`."""
    place = f"You are {ordinal(message.place)} of {message.length}" if message.place else ""
    usual = f"the last runs held it for about {_about(message.usual_seconds)}" if message.usual_seconds else ""
    text = "; ".join(part for part in (place, usual) if part)
    return text[:1].upper() + text[1:]


def live_line(label: str, message: protocol.Waiting, now: datetime, columns: int = 0) -> str:
    """
    Say it in one line: label, holder, what it does, for how long, its last heartbeat, our place, when we give up.

    In so many columns (0: as many as it takes) what matters least is left out; our place and the age stay longest.
    """
    record = message.record
    place, _, usual = (part.strip() for part in standing(message).partition(";"))
    ours = [
        (place[:1].lower() + place[1:], 0),
        (usual, 6),
        (f"gives up in {format_duration(max(0, round(message.remaining_seconds)))}", 3),
    ]
    if record is None or record.info is None:
        return _joined([(label, 1), (f"held by {holder(record, now)}", 2), *ours], columns)
    if record.lease is None:
        whole = _joined([(label, 0), (f"held by {holder(record, now)}", 0), *ours], columns)
        if not columns or len(whole) <= columns:
            return whole
        who, since = f"held by {word(record.info.who)}", age(record.info.created, now)
        return _joined([(label, 1), (who, 2), (since, 0), *ours], columns)
    by, beat = record.lease.holder, age(record.lease.beaten_at, now)
    theirs = [
        (label, 1),
        (f"held by {word(by.who)}", 2),
        (word(by.command), 5),
        (word(by.run), 7),
        (age(record.info.created, now), 0),
        (f"heartbeat {beat} ago" if beat else "", 4),
    ]
    return _joined([*theirs, *ours], columns)


def _joined(facts: Sequence[tuple[str, int]], columns: int) -> str:
    """Join the facts as far as they fit, without those of the highest number first."""
    kept = [(fact, number) for fact, number in facts if fact]
    while True:
        line = " · ".join(fact for fact, _ in kept)
        least = max(number for _, number in kept)
        if not columns or len(line) <= columns or not least:
            return line
        kept = [(fact, number) for fact, number in kept if number != least]


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `3rd`, `4th`, `11th`."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if 10 < number % 100 < 14 else endings.get(number % 10, 'th')}"


def _about(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
