"""
What status, unlock and settle say: like `phrases`, at most three lines of 120 columns each, a way out last.
"""

from __future__ import annotations

from datetime import datetime

from tfguard.clock import shown_instant
from tfguard.durations import format_duration, spoken_duration
from tfguard.lock.store import LockRecord
from tfguard.report.messages.phrases import Subject, about, do, fit, half_done, holder
from tfguard.text import printable


def is_free(subject: Subject) -> str:
    return fit(f"{subject.label}: the lock is free: nothing to unlock.")


def is_doubtful(subject: Subject, doubt: str) -> str:
    """It is not certain that this is the lock that is meant, and something is to be written: exit 64."""
    return fit(f"{subject.label}: it is not certain that this is the lock you mean:", doubt)


def nothing_to_unlock_locally(subject: Subject) -> str:
    """A local lock: exit 64."""
    return fit(
        f"{subject.label}: a lock in a file is kept by the kernel and ends with its process: nothing to unlock.",
        do("Look at who has it", subject.status),
    )


def nothing_to_hold_locally(subject: Subject) -> str:
    """A local lock, or one that is a connection's: exit 64."""
    return fit(
        f"{subject.label}: this lock ends with the process that has it: it cannot be held by hand.",
        do("Keep it while a shell of yours runs", f"{subject.exec_} -- sh"),
    )


def not_held(subject: Subject, record: LockRecord | None, now: datetime) -> str:
    """Somebody else has the lock: exit 75."""
    return fit(
        f"{subject.label}: not held: it is held by {holder(record, now)}.",
        do("Look at it", subject.status),
    )


def held_by_hand(subject: Subject, lock_id: str, reason: str, ends_at: datetime) -> str:
    shut = "take this lock" if subject.is_named else "change this state"
    return fit(
        f"{subject.label}: held by hand until {shown_instant(ends_at)}: {printable(reason, 60)}",
        f"Until then nobody else can {shut}. To end it before:",
        subject.unlock(lock_id),
    )


def held_in_part(held: int, count: int) -> str:
    """Of several locks not all could be taken by hand."""
    return fit(f"tfguard: {held} of {count} are held by hand now; the others are not, as told above.")


def page_written(path: str, count: int) -> str:
    """A page of HTML tells of so many locks."""
    return fit(f"tfguard: a page about {count} {'lock' if count == 1 else 'locks'} is in {printable(path, 80)}.")


def watching(subject: Subject, record: LockRecord, now: datetime, seconds: float) -> str:
    return fit(
        f"{subject.label} is held by {holder(record, now)}.",
        f"Watching for its heartbeat for up to {format_duration(round(seconds))}.",
    )


def is_alive(subject: Subject, record: LockRecord, now: datetime) -> str:
    """Its heart beats: it is not unlocked: exit 75."""
    link = printable(record.lease.holder.link, 90) if record.lease else ""
    return fit(
        f"{subject.label}: not unlocked, for its holder is alive: {holder(record, now)}.",
        f"To end it cleanly, cancel it: {link}" if link else "To end it cleanly, interrupt it where it runs.",
        f'Or, without its consent: {subject.unlock(record.handle)} --force --reason "…"',
    )


def has_changed(subject: Subject, record: LockRecord | None, now: datetime) -> str:
    """The lock is another one than was shown: exit 75."""
    if record is None:
        return fit(f"{subject.label}: the lock has come free meanwhile; nothing was done.")
    return fit(
        f"{subject.label}: nothing was unlocked: the lock is now held by {holder(record, now)}.",
        do("Look at it", subject.status),
    )


def is_another(subject: Subject, wanted: str, record: LockRecord, now: datetime) -> str:
    """`--id` names a lock that is not there: exit 75."""
    lines = (
        f"nothing was unlocked: there is no lock {printable(wanted, 40)}.",
        f"It is held by {holder(record, now)}.",
        do("Look at it", subject.status),
    )
    return about(subject.label, fit(*lines))


def needs_answers(subject: Subject, record: LockRecord, now: datetime, *, is_sure: bool = False) -> str:
    """There is no terminal to ask on, or with --yes nobody is to be asked, and nothing says which lock: exit 64."""
    why = "--yes needs --id" if is_sure else "there is no terminal to ask on"
    return fit(
        f"{subject.label}: {why}. Held by {holder(record, now)}.",
        f"To unlock exactly that one: {subject.unlock(record.handle)} --yes",
    )


def needs_force(subject: Subject) -> str:
    """A record without an ID, which nobody can judge: exit 64."""
    return fit(
        f"{subject.label}: the lock record cannot be read, so nobody can tell whether its holder lives.",
        do("If it is rubbish", subject.unlock_unreadable),
    )


def consequence(record: LockRecord, *, heartbeat_seconds: float, is_known_silent: bool) -> str:
    """Say what unlocking will do to the run that holds the lock."""
    if record.lease is None:
        return "A plain Terraform does not notice: if it still runs, two may write the state at once."
    if record.lease.hold_until:
        return "It is held by hand: whoever holds it counts on nobody coming in."
    notices = format_duration(max(1, round(heartbeat_seconds)))
    if is_known_silent:
        return f"No heartbeat shows. Should it live after all, it stops within {notices} of its next one, with exit 76."
    return (
        f"It is taken for alive: it notices within {notices}, stops what it runs and ends with exit 76;"
        " until then two may write."
    )


def question(subject: Subject, record: LockRecord, now: datetime, effect: str) -> str:
    return fit(
        f"{subject.label} is held by {holder(record, now)}.",
        effect,
        f"Unlock {printable(record.handle, 60) or 'it'}? Only 'yes' is accepted: ",
    )


def not_unlocked(subject: Subject) -> str:
    return fit(f"{subject.label}: not confirmed: nothing was unlocked.")


def unlocked(subject: Subject, record: LockRecord, now: datetime, *, is_written: bool) -> str:
    may_miss = record.lease is None or record.lease.is_changing
    return fit(
        f"{subject.label}: unlocked; it was held by {holder(record, now)}.",
        _may_miss(subject) if may_miss else "",
        "" if is_written else "The unlock could not be written into the history.",
    )


def _may_miss(subject: Subject) -> str:
    return half_done(subject) or do("The state may miss what that run did", f"{subject.command} plan")


# --- settling -------------------------------------------------------------------------------------------------------


def not_believed(folder: str, count: int) -> str:
    """Files that look like records of runs, and may be anybody's."""
    what = "1 file that this job's tfguard has not left" if count == 1 else f"{count} files that are not this job's"
    return fit(
        f"tfguard: not settled: {what}, in {printable(folder, 50)}.",
        "A record is a private file of ours, in a folder that nobody else may write to (chmod go-w), and not in git.",
    )


def nothing_to_settle() -> str:
    return fit("tfguard: nothing to settle: no run of this job has left anything.")


def settling(subject: Subject, *, seconds: float) -> str:
    return fit(f"{subject.label}: its run still goes on; waiting for it for up to {format_duration(round(seconds))}.")


def watching_remains(subject: Subject, *, seconds: float) -> str:
    return fit(
        f"{subject.label}: its run cannot be seen from here (another machine or container), and its lock is there.",
        f"If no heartbeat shows for {format_duration(round(seconds))}, it is released.",
    )


def settled(subject: Subject, *, outcome: str, exit_code: int | None, held_seconds: float) -> str:
    """The run has ended by itself."""
    status = "" if exit_code is None else f" (exit {exit_code})"
    held = f", held the lock for {spoken_duration(held_seconds)}" if held_seconds else ""
    return fit(f"{subject.label}: the run ended: {outcome or 'killed'}{status}{held}. The lock is free of it.")


def killed_without_lock(label: str) -> str:
    """The run was killed while it waited for the lock, or ran without one."""
    return about(label, "the run was killed; it held no lock.")


def settled_by_release(subject: Subject, *, is_changing: bool) -> str:
    """The run was killed with all its processes, and its lock was still there."""
    return fit(
        f"{subject.label}: the run was killed; the lock that it left behind has been released.",
        _may_miss(subject) if is_changing else "",
    )


def not_settled(subject: Subject, record: LockRecord | None, lock_id: str, now: datetime, *, why: str) -> str:
    """Not free in time: exit 75."""
    return fit(
        f"{subject.label}: not settled: {why}.",
        f"The lock is held by {holder(record, now)}." if record else "",
        "" if subject.is_local else do("To free it all the same", f'{subject.unlock(lock_id)} --force --reason "…"'),
    )
