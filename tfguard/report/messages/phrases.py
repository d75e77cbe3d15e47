"""
What tfguard says to people: each message at most three lines of 120 columns, the label first, a way out last.

Pure text, so that `tests/messages/` holds every one of them as a snapshot, and a test can run every command that
they recommend. Text from records is a stranger's: it is made printable and bounded here, and quoted in commands.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime

from tfguard.durations import format_duration, spoken_duration
from tfguard.lock.lockinfo import parse_created, printable
from tfguard.lock.store import LockRecord

COLUMNS = 120
#: Whatever has to be cut keeps so much of itself that one still knows it.
_SHORTEST_LABEL = 24
_SHORTEST_WORD = 12


@dataclass(frozen=True)
class Subject:
    """
    What a message is about. `label`: the pipeline, else the state. `command`: how to address it again
    (`tfguard -p prod/network`). `is_local`: the kernel keeps the lock, so there is nothing to unlock. `lock_options`:
    what names the lock to `status` and `unlock` where it is not the state's own.
    """

    label: str
    command: str = "tfguard"
    is_local: bool = False
    lock_options: str = ""

    @property
    def status(self) -> str:
        """The command that shows the lock."""
        return f"{self.command} status {self.lock_options}".rstrip()

    def unlock(self, lock_id: str) -> str:
        """The command that frees it. The ID is a stranger's text."""
        words = [self.command, "unlock", self.lock_options, "--id", shlex.quote(_word(lock_id))]
        return " ".join(word for word in words if word)


def fit(*lines: str) -> str:
    """Join lines, none longer than a terminal is wide; empty ones are left out."""
    return "\n".join(line if len(line) <= COLUMNS else line[: COLUMNS - 1] + "…" for line in lines if line)


def about(label: str, text: str) -> str:
    """Put the label before a text of one line or more. A label too long gives way to what is said of it."""
    first, *rest = text.splitlines() or [""]
    # The other lines may be commands, of which a part would be worse than a line too long.
    return "\n".join((fit(f"{_cut(label, max(_SHORTEST_LABEL, COLUMNS - 2 - len(first)))}: {first}"), *rest))


def _cut(text: str, columns: int) -> str:
    """Shorten in the middle: a state's bucket and file name tell more than the folders between."""
    if len(text) <= columns:
        return text
    kept = columns - 1
    return f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"


def _say(label: str, first: str, *rest: str) -> str:
    return about(label, "\n".join(line for line in (first, *rest) if line))


def _do(lead: str, command: str) -> str:
    """A line that recommends a command. One that was cut would be worse than a line too long."""
    line = f"{lead}: {command}"
    return line if len(line) <= COLUMNS else command


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


# --- the holder -----------------------------------------------------------------------------------------------------


def holder(record: LockRecord | None, now: datetime, columns: int = 1000) -> str:
    """Say who holds a lock: `ana@ci-7 (apply, GitHub run 4812, 14 min, heartbeat 4 s ago)`."""
    if record is None:
        return "a program that does not say who it is"
    if record.info is None:
        return "somebody whose lock record cannot be read"
    info, lease = record.info, record.lease
    since = _age(info.created, now)
    if lease is None:
        words = [_word(info.who) or "somebody", _word(info.operation.removeprefix("OperationType").lower())]
        # A local lock of ours has no lease either: there, its Info tells whose it is.
        is_ours = info.info.startswith("tfguard ")
        return _named(words, [since, _word(info.info) if is_ours else "plain Terraform, no heartbeat"], columns)
    if lease.hold_until:
        words = [_word(lease.holder.who), _word(lease.reason)]
        return _named(words, [since, f"by hand until {_word(lease.hold_until)}"], columns)
    beat = _age(lease.beaten_at, now)
    words = [_word(each) for each in (lease.holder.who, lease.holder.command, lease.holder.run)]
    return _named(words, [since, f"heartbeat {beat} ago" if beat else "no heartbeat yet"], columns)


def _named(words: list[str], facts: list[str], columns: int) -> str:
    """`who (command, run, facts)`: what strangers wrote is cut where there is no room, the last of it first."""
    for index in reversed(range(len(words))):
        excess = len(_listed(words, facts)) - columns
        words[index] = _cut(words[index], max(_SHORTEST_WORD, len(words[index]) - max(0, excess)))
    return _listed(words, facts)


def _listed(words: list[str], facts: list[str]) -> str:
    return f"{words[0]} ({', '.join(fact for fact in (*words[1:], *facts) if fact)})"


def _held(subject: Subject, before: str, record: LockRecord | None, now: datetime, after: str) -> str:
    """One line with the label and the holder in it, each as long as there is room for."""
    room = COLUMNS - len(before) - len(after)
    label = _cut(subject.label, max(_SHORTEST_LABEL, room - len(holder(record, now))))
    return fit(f"{label}{before}{holder(record, now, room - len(label))}{after}")


def _word(text: str) -> str:
    return printable(text, 60)


def _age(created: str, now: datetime) -> str:
    at = parse_created(created)
    return spoken_duration(max(0.0, (now - at).total_seconds())) if at else ""


def _watch(record: LockRecord | None) -> str:
    link = printable(record.lease.holder.link, 200) if record and record.lease else ""
    return f"Watch it: {link}" if link and len(link) < COLUMNS - 10 else link


def _way_out(subject: Subject, record: LockRecord | None) -> str:
    if subject.is_local:
        return "It ends with the process that holds it, on whichever machine that runs: there is nothing to unlock."
    if record is None or not record.id:
        return _do("Look at the lock", subject.status)
    is_hold = record.lease is not None and record.lease.hold_until
    return _do("To end the hold" if is_hold else "If that run is dead", subject.unlock(record.id))


# --- waiting --------------------------------------------------------------------------------------------------------


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
    lines = [_held(subject, " is held by ", record, now, "."), _watch(record)]
    is_plain = record is not None and record.lease is None and bool(record.id)
    if is_plain and record is not None and not subject.is_local:
        place = f"{standing}." if standing else ""
        way_out = _do(f"{wait}. If it is dead", subject.unlock(record.id))
        return "\n".join(line for line in (*lines, place, way_out) if line)
    place = f"{standing}. " if standing else ""
    return "\n".join(line for line in (*lines, fit(f"{place}{wait} (--lock-timeout){takeover}.")) if line)


def trouble(subject: Subject, error: str, remaining_seconds: float) -> str:
    """The store does not answer while we wait."""
    return _say(
        subject.label,
        _first_line(error),
        f"Trying again for up to {format_duration(round(remaining_seconds))} (--lock-timeout).",
    )


def unavailable(subject: Subject, error: str, *, waited_seconds: float) -> str:
    """The store has not answered for as long as we were to wait: exit 69."""
    waited = f"Gave up after {format_duration(round(waited_seconds))}" if waited_seconds >= 1 else "Tried once"
    return _say(
        subject.label,
        _first_line(error),
        f"{waited}; nothing was run. Check the network and the endpoint.",
        "To try for longer: --lock-timeout=30m before the command.",
    )


def busy(subject: Subject, record: LockRecord | None, now: datetime, *, waited_seconds: float) -> str:
    """We gave up waiting: exit 75."""
    waited = f"gave up after {format_duration(round(waited_seconds))}" if waited_seconds >= 1 else "did not wait"
    lines = (
        _held(subject, " is held by ", record, now, f"; {waited}."),
        _watch(record) or "To wait longer: --lock-timeout=30m before the command.",
        _way_out(subject, record),
    )
    return "\n".join(lines)


def takeover_refused(subject: Subject, record: LockRecord | None, now: datetime) -> str:
    """The holder is dead, and `lock.takeover` forbids us to take its lock: exit 75."""
    return "\n".join(
        (
            _held(subject, ": ", record, now, " has died; lock.takeover forbids a takeover."),
            _do("Look at what it did", f"{subject.command} plan -lock=false"),
            _do("Then", subject.unlock(record.id)) if record and record.id else _way_out(subject, record),
        )
    )


def took_over(subject: Subject, dead: LockRecord, now: datetime) -> str:
    """We took the lock of a dead holder, or of a hold that has ended."""
    if dead.lease and dead.lease.hold_until:
        return _held(subject, ": the hold by ", dead, now, " is over.")
    may_miss = bool(dead.lease and dead.lease.is_changing)
    link = _watch(dead).removeprefix("Watch it: ")
    lines = (
        _held(subject, ": took the lock over from ", dead, now, ", which has died."),
        "The state may miss what that run created, until a later run succeeds." if may_miss else "",
        f"Its run: {link}" if link else "",
    )
    return "\n".join(line for line in lines if line)


def interrupted(label: str, signal_name: str) -> str:
    """A signal came before Terraform was started, or between two programs."""
    return _say(label, f"stopped by {signal_name}: nothing more is run; the lock, if held, is released.")


# --- while running --------------------------------------------------------------------------------------------------


def stopping(subject: Subject, reason: str) -> str:
    """Terraform gets its one SIGINT."""
    return _say(subject.label, f"{reason}: Terraform is asked once to stop; the lock is kept until it has.")


def stopping_at_terminal(subject: Subject) -> str:
    """The terminal has given Terraform the first Ctrl-C itself."""
    return _say(
        subject.label,
        "interrupt: Terraform is stopping; the lock is kept until it has.",
        "Ctrl-C again makes Terraform abort at once and may lose what it has just created.",
    )


def still_stopping(subject: Subject, signal_name: str) -> str:
    """A further signal, which Terraform does not get."""
    return _say(subject.label, f"{signal_name}: still waiting for Terraform to stop; it is not signalled again.")


def aborting(subject: Subject) -> str:
    """The terminal has given Terraform the second Ctrl-C."""
    return _say(
        subject.label,
        "second interrupt: Terraform aborts; what it was creating may be missing from the state.",
        _do("Afterwards compare", f"{subject.command} plan"),
    )


def warned(subject: Subject, silence_seconds: float, error: str) -> str:
    """No heartbeat for a sixth of the lease."""
    return _say(
        subject.label,
        f"no heartbeat has landed for {format_duration(round(silence_seconds))}. {_first_line(error)}".rstrip(),
        "After a third of the lease (lock.lease) without one, Terraform is interrupted; after three fifths, frozen.",
    )


def frozen(subject: Subject, silence_seconds: float) -> str:
    """`safe_until` has come."""
    silence = format_duration(round(silence_seconds))
    return _say(
        subject.label,
        f"no heartbeat for {silence}: Terraform is frozen, since another run may soon be in.",
        "It goes on as soon as a heartbeat proves that the lock is still ours.",
    )


def thawed(subject: Subject) -> str:
    """A heartbeat has landed after all."""
    return _say(subject.label, "a heartbeat has landed, and nobody was in between: Terraform goes on.")


def timed_out(subject: Subject, seconds: float) -> str:
    """The run timeout has come: exit 124."""
    return _say(
        subject.label,
        f"the run has taken longer than run_timeout ({format_duration(seconds)}): Terraform is asked once to stop.",
    )


def lost(subject: Subject, kind: str, record: LockRecord | None, now: datetime) -> str:
    """We no longer have the lock: how, and by whom: exit 76."""
    compare = f"{subject.command} plan"
    if kind == "another's":
        return "\n".join(
            (
                _held(subject, ": the lock was lost to ", record, now, ". Terraform is killed."),
                "Its next write would have overwritten the other's. An errored.tfstate is kept, never pushed.",
                _do("When the other is done, compare", compare),
            )
        )
    how = "somebody unlocked it while we held it" if kind == "gone" else "its lease ran out without a heartbeat"
    return _say(
        subject.label,
        f"the lock was lost: {how}. Terraform is stopped.",
        _do("Look at who is in now", subject.status),
        _do("Then compare", compare),
    )


def release_failed(subject: Subject, error: str, lock_id: str, lease_seconds: float | None) -> str:
    """The lock is left behind, until when, and what frees it."""
    first = f"the lock could not be released. {_first_line(error)}".rstrip()
    if subject.is_local or lease_seconds is None:
        return _say(subject.label, first, "It ends with this process: there is nothing to unlock.")
    lease = format_duration(lease_seconds)
    return _say(
        subject.label,
        first,
        f"The next tfguard takes it over {lease} after its last heartbeat; a plain Terraform never does.",
        _do("To free it now", subject.unlock(lock_id)),
    )


def lost_unnoticed(subject: Subject, kind: str) -> str:
    """The release found that somebody has unlocked it since the last heartbeat: exit 76."""
    how = "somebody unlocked it, and another run holds it" if kind == "another's" else "somebody unlocked it"
    return _say(
        subject.label,
        f"the lock was lost before the run had ended: {how}.",
        _do("Check that nothing else ran meanwhile", f"{subject.command} plan"),
    )


# --- before running -------------------------------------------------------------------------------------------------


def acquired(subject: Subject, lock_id: str, *, waited_seconds: float, is_nested: bool) -> str:
    """The lock is ours."""
    if is_nested:
        return _say(subject.label, f"locked by the tfguard around us ({lock_id}).")
    waited = f" after {format_duration(round(waited_seconds))}" if waited_seconds >= 1 else ""
    return _say(subject.label, f"locked{waited} ({lock_id}).")


def unlocked(label: str) -> str:
    """The user said -lock=false."""
    return _say(label, "-lock=false was asked for: running without the lock.")


def plan_unlocked(label: str) -> str:
    """The configuration said so."""
    return _say(label, "lock.plan is skip: planning without the lock, on a state that may be changing.")


def denied_during_plan(message: str) -> str:
    """A plan was refused its lock: say how to plan without one."""
    first, *rest = message.splitlines()
    return fit(first, *rest[-1:], "Or plan without the lock: set lock.plan: skip in tfguard.yml.")


def nested_ignored(label: str) -> str:
    """We are inside a run that has lost the lock, or holds another."""
    return _say(
        label,
        "TFGUARD_LOCK_ID is set, but that run does not hold this lock: taking it ourselves.",
        "If this is not meant to run inside another tfguard: unset TFGUARD_LOCK_ID.",
    )


def credentials_expire(label: str, at: datetime) -> str:
    """Known credentials end before the run may."""
    return _say(
        label,
        f"the credentials for the lock expire at {at:%H:%M:%S} UTC, perhaps before this run ends.",
        "If they cannot be refreshed, heartbeats stop then: use a longer session, or a shorter run_timeout.",
    )


def initialising(label: str, why: str) -> str:
    """Init comes first."""
    return _say(label, f"{why}.", "Running init first. To forbid that: init: never in tfguard.yml.")


def creating_workspace(label: str, workspace: str) -> str:
    """Terraform would create it under a lock of its own, in our way."""
    return _say(label, f"workspace {_word(workspace)} does not exist yet: Terraform creates it first.")


def unlisted_workspaces(label: str, error: str) -> str:
    """Terraform would take its implicit lock each time: exit 77."""
    return _say(
        label,
        _first_line(error),
        "Terraform then locks a non-default workspace by itself each time, which collides with our lock.",
        "Allow s3:ListBucket on the bucket, or use lock.mode: named in tfguard.yml.",
    )


def nothing_to_apply(label: str) -> str:
    """`tfguard run` ends here."""
    return _say(label, "the plan has no changes: nothing to apply.")


def not_approved(label: str) -> str:
    """The answer was not yes."""
    return _say(label, "not approved: nothing was applied.")


def unexpected(error: BaseException) -> str:
    """A defect of ours: exit 70."""
    return fit(
        f"tfguard: unexpected {type(error).__name__}: {printable(str(error), 200)}",
        "This is a defect in tfguard. A lock that it held is released, or left to its lease.",
        "To see where, run it again with TFGUARD_TRACEBACK=1.",
    )
