"""
What tfguard says to people: each message at most three lines of 120 columns, the label first, a way out last.

Pure text, so that `tests/messages/` holds every one of them as a snapshot, and a test can run every command that
they recommend. Text from records is a stranger's: it is made printable and bounded before it gets here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tfguard.durations import format_duration, spoken_duration
from tfguard.lockinfo import parse_created, printable
from tfguard.store import LockRecord

COLUMNS = 120


@dataclass(frozen=True)
class Subject:
    """
    What a message is about. `label`: the pipeline, else the state. `command`: how to address it again
    (`tfguard -p prod/network`). `is_local`: the kernel keeps the lock, so there is nothing to unlock.
    """

    label: str
    command: str = "tfguard"
    is_local: bool = False


def fit(*lines: str) -> str:
    """Join lines, none longer than a terminal is wide; empty ones are left out."""
    return "\n".join(line if len(line) <= COLUMNS else line[: COLUMNS - 1] + "…" for line in lines if line)


# --- the holder -----------------------------------------------------------------------------------------------------


def holder(record: LockRecord | None, now: datetime) -> str:
    """Say who holds a lock: `ana@ci-7 (apply, GitHub run 4812, 14 min, heartbeat 4 s ago)`."""
    if record is None or record.info is None:
        return "somebody whose lock record cannot be read"
    info, lease = record.info, record.lease
    if lease is None:
        doing = _word(info.operation.removeprefix("OperationType").lower())
        facts = [doing, _age(info.created, now), "plain Terraform, no heartbeat"]
        return f"{_word(info.who) or 'somebody'} ({_listed(facts)})"
    if lease.hold_until:
        return f"{_word(lease.holder.who)} by hand until {_word(lease.hold_until)}: {printable(lease.reason, 60)}"
    beat = _age(lease.beaten_at, now)
    facts = [
        _word(lease.holder.command),
        _word(lease.holder.run),
        _age(info.created, now),
        f"heartbeat {beat} ago" if beat else "",
    ]
    return f"{_word(lease.holder.who)} ({_listed(facts)})"


def _word(text: str) -> str:
    return printable(text, 60)


def _listed(facts: list[str]) -> str:
    return ", ".join(fact for fact in facts if fact)


def _age(created: str, now: datetime) -> str:
    at = parse_created(created)
    return spoken_duration(max(0.0, (now - at).total_seconds())) if at else ""


def _link(record: LockRecord | None) -> str:
    return printable(record.lease.holder.link, 150) if record and record.lease else ""


def _way_out(subject: Subject, record: LockRecord | None) -> str:
    if subject.is_local:
        return "It ends with the process that holds it, on whichever machine that runs: there is nothing to unlock."
    if record is None or not record.id:
        return f"Look at the lock: {subject.command} status"
    return f"If that run is dead: {subject.command} unlock --id {_word(record.id)}"


# --- waiting --------------------------------------------------------------------------------------------------------


def waiting(
    subject: Subject,
    record: LockRecord | None,
    now: datetime,
    *,
    remaining_seconds: float,
    expires_in_seconds: float | None = None,
) -> str:
    """The lock is busy: who holds it, where to watch, how long we shall still wait."""
    link = _link(record)
    wait = f"Waiting up to {format_duration(round(remaining_seconds))}"
    if expires_in_seconds is not None:
        wait += f"; without a heartbeat it is taken over in {format_duration(max(0, round(expires_in_seconds)))}"
    return fit(
        f"{subject.label} is held by {holder(record, now)}.",
        f"Watch it: {link}" if link else "",
        f"{wait}. {_unexpiring(subject, record)}".rstrip(),
    )


def _unexpiring(subject: Subject, record: LockRecord | None) -> str:
    if subject.is_local or record is None or record.lease is not None or not record.id:
        return ""
    return f"If it is dead: {subject.command} unlock --id {_word(record.id)}"


def trouble(subject: Subject, error: str, remaining_seconds: float) -> str:
    """The store does not answer while we wait."""
    first, _, _ = error.partition("\n")
    return fit(
        f"{subject.label}: {first}",
        f"Trying again for up to {format_duration(round(remaining_seconds))}; --lock-timeout sets how long.",
    )


def busy(subject: Subject, record: LockRecord | None, now: datetime, *, waited_seconds: float) -> str:
    """We gave up waiting: exit 75."""
    link = _link(record)
    waited = f"gave up after {format_duration(round(waited_seconds))}" if waited_seconds >= 1 else "did not wait"
    return fit(
        f"{subject.label} is held by {holder(record, now)}; {waited}.",
        f"Watch it: {link}" if link else "To wait longer: --lock-timeout=30m before the command.",
        _way_out(subject, record),
    )


def takeover_refused(subject: Subject, record: LockRecord | None, now: datetime) -> str:
    """The holder is dead, and `lock.takeover` forbids us to take its lock: exit 75."""
    return fit(
        f"{subject.label}: its holder {holder(record, now)} has died, and lock.takeover forbids to take its lock over.",
        f"Look at what it did: {subject.command} plan -lock=false",
        f"Then: {subject.command} unlock --id {_word(record.id) if record else ''}".rstrip(),
    )


def took_over(subject: Subject, dead: LockRecord, now: datetime) -> str:
    """We took the lock of a dead holder."""
    may_miss = bool(dead.lease and dead.lease.is_changing)
    return fit(
        f"{subject.label}: took the lock over from {holder(dead, now)}, which has died.",
        "The state may miss what that run created, until a later run succeeds." if may_miss else "",
        f"Its run: {_link(dead)}" if _link(dead) else "",
    )


# --- while running --------------------------------------------------------------------------------------------------


def stopping(subject: Subject, reason: str) -> str:
    return fit(f"{subject.label}: {reason}: Terraform is asked once to stop; the lock is kept until it has.")


def stopping_at_terminal(subject: Subject) -> str:
    return fit(
        f"{subject.label}: interrupt: Terraform is stopping; the lock is kept until it has.",
        "Ctrl-C again makes Terraform abort at once and may lose what it has just created.",
    )


def still_stopping(subject: Subject, signal_name: str) -> str:
    return fit(f"{subject.label}: {signal_name}: still waiting for Terraform to stop; it is not signalled again.")


def aborting(subject: Subject) -> str:
    return fit(
        f"{subject.label}: second interrupt: Terraform aborts; what it was creating may be missing from the state.",
        f"Afterwards compare: {subject.command} plan",
    )


def warned(subject: Subject, silence_seconds: float, error: str) -> str:
    first, _, _ = error.partition("\n")
    return fit(
        f"{subject.label}: no heartbeat has landed for {format_duration(round(silence_seconds))}. {first}".rstrip(),
        "Terraform is interrupted after a third of the lease (lock.lease), frozen after three fifths.",
    )


def frozen(subject: Subject, silence_seconds: float) -> str:
    return fit(
        f"{subject.label}: no heartbeat for {format_duration(round(silence_seconds))}: Terraform is frozen,"
        " for another run may soon be in.",
        "It goes on as soon as a heartbeat proves that the lock is still ours.",
    )


def thawed(subject: Subject) -> str:
    return fit(f"{subject.label}: a heartbeat has landed, nobody was in between: Terraform goes on.")


def timed_out(subject: Subject, seconds: float) -> str:
    return fit(
        f"{subject.label}: the run has taken longer than run_timeout ({format_duration(seconds)}):"
        " Terraform is asked once to stop."
    )


def lost(subject: Subject, kind: str, record: LockRecord | None, now: datetime) -> str:
    """We no longer have the lock: how, and by whom: exit 76."""
    if kind == "another's":
        return fit(
            f"{subject.label}: the lock was lost: it is held by {holder(record, now)} now. Terraform was killed.",
            "Its next write would have overwritten the other's. An errored.tfstate is kept, never pushed.",
            f"When the other is done, compare: {subject.command} plan",
        )
    return fit(
        f"{subject.label}: the lock was lost: somebody unlocked it while we held it. Terraform is stopped.",
        f"Look at who is in now: {subject.command} status",
        f"Then compare: {subject.command} plan",
    )


def release_failed(subject: Subject, error: str, lock_id: str, lease_seconds: float | None) -> str:
    first, _, _ = error.partition("\n")
    until = "Others take it over" if lease_seconds is None else f"Others take it over {format_duration(lease_seconds)}"
    return fit(
        f"{subject.label}: the lock could not be released. {first}",
        f"{until} after its last heartbeat; a plain Terraform never does.",
        f"To free it now: {subject.command} unlock --id {lock_id}",
    )


def release_was_gone(subject: Subject) -> str:
    return fit(
        f"{subject.label}: the lock was already gone when we released it: somebody unlocked it.",
        f"Check that nothing else ran meanwhile: {subject.command} plan",
    )


# --- before running -------------------------------------------------------------------------------------------------


def acquired(subject: Subject, lock_id: str, *, waited_seconds: float, is_nested: bool) -> str:
    """The lock is ours."""
    if is_nested:
        return fit(f"{subject.label}: locked by the tfguard around us ({lock_id}).")
    waited = f" after {format_duration(round(waited_seconds))}" if waited_seconds >= 1 else ""
    return fit(f"{subject.label}: locked{waited} ({lock_id}).")


def unlocked(label: str) -> str:
    return fit(f"{label}: -lock=false was asked for: running without the lock.")


def plan_unlocked(label: str) -> str:
    return fit(f"{label}: lock.plan is skip: planning without the lock, on a state that may be changing.")


def denied_during_plan(message: str) -> str:
    """A plan was refused its lock: say how to plan without one."""
    first, _, rest = message.partition("\n")
    way, _, _ = rest.partition("\n")
    return fit(first, way, "Or plan without the lock: set lock.plan: skip in tfguard.yml.")


def nested_ignored(label: str) -> str:
    return fit(
        f"{label}: TFGUARD_LOCK_ID is set, but that run no longer holds this lock: taking it ourselves.",
        "If you did not expect this: unset TFGUARD_LOCK_ID.",
    )


def credentials_expire(label: str, at: datetime) -> str:
    return fit(
        f"{label}: the credentials for the lock expire at {at:%H:%M:%S} UTC, perhaps before this run ends.",
        "If they cannot be refreshed, heartbeats stop then: use a longer session, or a shorter run_timeout.",
    )


def initialising(label: str, why: str) -> str:
    return fit(f"{label}: {why}: running init first (init: never forbids it).")


def creating_workspace(label: str, workspace: str) -> str:
    return fit(f"{label}: workspace {_word(workspace)} does not exist yet: Terraform creates it first.")


def unlisted_workspaces(label: str, error: str) -> str:
    first, _, _ = error.partition("\n")
    return fit(
        f"{label}: {first}",
        "Terraform then locks a non-default workspace by itself each time, which collides with our lock.",
        "Allow s3:ListBucket on the bucket, or use lock.mode: named in tfguard.yml.",
    )


def nothing_to_apply(label: str) -> str:
    return fit(f"{label}: the plan has no changes: nothing to apply.")


def not_approved(label: str) -> str:
    return fit(f"{label}: not approved: nothing was applied.")


def proved(label: str, lock_id: str) -> str:
    return fit(f"✓ {label}: Terraform itself is refused while we hold the lock, and names our lock ID {lock_id}.")


def not_proved(label: str, output: str) -> str:
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "it said nothing")
    return fit(
        f"✗ {label}: Terraform was not refused by our lock: tfguard does not protect this state.",
        f"Terraform said: {printable(last.strip(' │╵╷'), 100)}",
        "Do not use state mode here: set lock.mode: named in tfguard.yml, and tell us.",
    )
