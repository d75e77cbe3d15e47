"""What is said while a program runs under the lock, and when it ends otherwise than it should."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tfguard.durations import format_duration, spoken_duration
from tfguard.guard.messages import Relative
from tfguard.lock.store import LockRecord
from tfguard.report.messages.phrases import Subject, about, do, first_line, fit, held, say
from tfguard.report.run_ended import RunEnded
from tfguard.text import printable

#: Of those who outlive a program, so many are named.
_SHOWN = 2


def released(ended: RunEnded) -> str:
    """A run went well, and somebody watches; empty where it has waited for nobody."""
    if (ended.waited_seconds or 0.0) < 1.0:
        return ""
    times = f"waited {spoken_duration(ended.waited_seconds or 0.0)}, held {spoken_duration(ended.held_seconds or 0.0)}"
    return fit(f"{ended.label}: released; {times}.")


def interrupted(label: str, signal_name: str, *, was_waiting: bool = False) -> str:
    """A signal came before Terraform was started, or between two programs; or while we stood in line."""
    if was_waiting:
        return say(label, f"stopped by {signal_name} while waiting: nothing is run, and the place in line is given up.")
    return say(label, f"stopped by {signal_name}: nothing more is run; the lock, if held, is released.")


def unlucky(label: str) -> str:
    """A Terraform that locks by itself came at the same moment as another, and has said so itself."""
    return say(label, "another Terraform took or freed the lock at this moment: trying again.")


def stopping(subject: Subject, reason: str) -> str:
    """Terraform gets its one SIGINT."""
    return say(subject.label, f"{reason}: {subject.program} is asked once to stop; the lock is kept until it has.")


def stopping_at_terminal(subject: Subject) -> str:
    """The terminal has given Terraform the first Ctrl-C itself."""
    return say(
        subject.label,
        f"interrupt: {subject.program} is stopping; the lock is kept until it has.",
        "Ctrl-C again makes Terraform abort at once and may lose what it has just created."
        if subject.runs_terraform
        else "Ctrl-C again reaches it too.",
    )


def still_stopping(subject: Subject, signal_name: str) -> str:
    """A further signal, which Terraform does not get."""
    return say(subject.label, f"{signal_name}: still waiting for {subject.program} to stop; it is not signalled again.")


def aborting(subject: Subject) -> str:
    """The terminal has given Terraform the second Ctrl-C."""
    if not subject.runs_terraform:
        return say(subject.label, f"second interrupt: {subject.program} has had it too.", _left_by(subject))
    return say(
        subject.label,
        "second interrupt: Terraform aborts; what it was creating may be missing from the state.",
        _left_by(subject),
    )


def warned(subject: Subject, silence_seconds: float, error: str) -> str:
    """No heartbeat for a sixth of the lease."""
    return say(
        subject.label,
        f"no heartbeat has landed for {format_duration(round(silence_seconds))}. {first_line(error)}".rstrip(),
        f"After a third of the lease (lock.lease) without one, {subject.program} is interrupted; "
        "after three fifths, frozen.",
    )


def freezing(subject: Subject, silence_seconds: float, *, is_doubted: bool = False) -> str:
    """`safe_until` has come; `is_doubted`: at once, since what carried the lock has ended."""
    why = "the lock's connection has ended" if is_doubted else _no_heartbeat(silence_seconds)
    return say(
        subject.label,
        f"{why}: {subject.program} is frozen, since another run may soon be in.",
        "It goes on as soon as a heartbeat proves that the lock is still ours.",
    )


def unstoppable(subject: Subject, names: str) -> str:
    """What was to be frozen runs on: as loud as a lost lock."""
    return say(
        subject.label,
        f"this cannot be stopped, and may write while another run is in: {names}.",
        "It has become another user's, or hangs in the kernel. End it by hand, and start the next run after that.",
    )


def frozen_too_long(subject: Subject, silence_seconds: float, *, is_doubted: bool = False) -> str:
    """`lock.freeze_timeout` has come; `is_doubted`: no heartbeat counts that was sent before the connection ended."""
    since = "no heartbeat since the lock's connection ended"
    return say(
        subject.label,
        f"{since if is_doubted else _no_heartbeat(silence_seconds)}: nobody will ever know whose the lock is.",
        "The frozen Terraform is killed now (lock.freeze_timeout): what it had created since may be in no state."
        if subject.runs_terraform
        else "The frozen program is killed now (lock.freeze_timeout): what it was doing may be half done.",
    )


def _no_heartbeat(silence_seconds: float) -> str:
    return f"no heartbeat for {format_duration(round(silence_seconds))}"


def retaken(subject: Subject) -> str:
    """The connection that carried the lock ended, and the state was written around that time."""
    return fit(
        about(subject.label, "the state was written shortly before the lock was taken again."),
        "By this run, or by a plain Terraform that came and went meanwhile: that change may be overwritten now.",
        do("To see what is left of it, once this run is over", f"{subject.command} plan"),
    )


def thawed(subject: Subject) -> str:
    """A heartbeat has landed after all."""
    return say(subject.label, f"a heartbeat has landed, and nobody was in between: {subject.program} goes on.")


def timed_out(subject: Subject, seconds: float) -> str:
    """The run timeout has come: exit 124."""
    too_long = f"the run has taken longer than run_timeout ({format_duration(seconds)})"
    return say(
        subject.label,
        f"{too_long}: {subject.program} is asked once to stop.",
    )


def outlived(subject: Subject, left: Sequence[Relative]) -> str:
    """The program has ended, and who descends from it has not."""
    return say(
        subject.label,
        f"the program has ended, but what it started runs on: {_named(left)}.",
        "The lock is kept until that has ended, for it may write. With exec, --detach-ok lets it outlive the lock.",
    )


def family_killed(subject: Subject, left: Sequence[Relative]) -> str:
    """Somebody has asked to stop, and who has outlived the program has not stopped in time."""
    return say(
        subject.label,
        f"what the program started has not stopped in time, and is killed: {_named(left)}.",
        _left_by(subject, "What it was writing may be missing: compare"),
    )


def unkillable(subject: Subject, left: Sequence[Relative]) -> str:
    """Who was killed again and again has not gone: exit 76."""
    return say(
        subject.label,
        f"this cannot be killed, and may go on writing: {_named(left)}.",
        "The run ends without waiting for it, and does not release the lock: "
        + ("a sentinel keeps that until it has gone." if subject.is_local else "that runs out with its lease."),
        "End it by hand.",
    )


def _named(left: Sequence[Relative]) -> str:
    """`sleep (PID 4711), make (PID 4712) and 3 more`. What a process is called is a stranger's text."""
    shown = [f"{printable(each.name, 20)} (PID {each.pid})" for each in left[:_SHOWN]]
    more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
    return ", ".join(shown) + more


def lost(subject: Subject, kind: str, record: LockRecord | None, now: datetime) -> str:
    """We no longer have the lock: how, and by whom: exit 76."""
    if kind == "another's":
        return "\n".join(
            (
                held(subject, ": the lock was lost to ", record, now, f". {_capital(subject.program)} is killed."),
                "Its next write would have overwritten the other's."
                + (" An errored.tfstate is kept, never pushed." if subject.runs_terraform else ""),
                _left_by(subject, "When the other is done, compare"),
            )
        )
    how = "somebody unlocked it while we held it" if kind == "gone" else "its lease ran out without a heartbeat"
    return say(
        subject.label,
        f"the lock was lost: {how}. {_capital(subject.program)} is stopped.",
        do("Look at who is in now", subject.status),
        _left_by(subject, "Then compare"),
    )


def release_failed(subject: Subject, error: str, lock_id: str, lease_seconds: float | None) -> str:
    """The lock is left behind, until when, and what frees it."""
    first = f"the lock could not be released. {first_line(error)}".rstrip()
    if subject.is_local or lease_seconds is None:
        return say(subject.label, first, "It ends with this process: there is nothing to unlock.")
    lease = format_duration(lease_seconds)
    return say(
        subject.label,
        first,
        f"The next tfguard takes it over {lease} after its last heartbeat; a plain Terraform never does.",
        do("To free it now", subject.unlock(lock_id)),
    )


def lost_unnoticed(subject: Subject, kind: str) -> str:
    """The release found that somebody has unlocked it since the last heartbeat: exit 76."""
    how = "somebody unlocked it, and another run holds it" if kind == "another's" else "somebody unlocked it"
    return say(
        subject.label,
        f"the lock was lost before the run had ended: {how}.",
        _left_by(subject, "Check that nothing else ran meanwhile"),
    )


def _left_by(subject: Subject, lead: str = "Afterwards compare") -> str:
    """What shows what a run may have left that did not come to its end; where no plan would, that it may have."""
    return do(lead, f"{subject.command} plan") if subject.has_state else "What it was doing may be half done."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _is_asked(subject: Subject) -> str:
    return f"{_capital(subject.program)} has been asked once to stop"


def _is_kept(subject: Subject) -> str:
    return f"{_is_asked(subject)}; the lock is kept until it has."


def broken(subject: Subject, error: str) -> str:
    """A defect of ours has ended it. What becomes of the run is said when it is gone."""
    first = error.partition("\n")[0]
    return fit(about(subject.label, f"the keeper broke down. {first}"), "This is a defect of tfguard's.")


def thread_died(subject: Subject, error: str) -> str:
    """A defect of ours has ended a thread of the front's; the run goes on to its end."""
    first = error.partition("\n")[0]
    return fit(
        about(subject.label, f"a part of tfguard broke down; the run goes on. {first}"),
        "This is a defect of tfguard's.",
    )


def died(subject: Subject, *, is_running: bool) -> str:
    """Another takes its place."""
    return fit(
        about(subject.label, "the keeper process died; another takes its place."),
        _is_kept(subject) if is_running else "",
    )


def died_again(subject: Subject) -> str:
    """None takes its place, and Terraform runs on."""
    return fit(
        about(subject.label, "the keeper process died again and again: nobody renews or releases the lock any more."),
        _is_kept(subject)
        if subject.is_local
        else f"{_is_asked(subject)}; what still runs three fifths into the lease is killed.",
    )
