"""
What a lock record says about its holder, to somebody who looks once.

A verdict is for people: it may rest on the record's own wall clock. Nobody takes a lock because of one; a takeover
is judged by watching (`lease`), an unlock by watching and asking (`opened_lock`).
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from tfguard.clock import Clock, boot_id, parse_created, shown_created
from tfguard.durations import format_duration
from tfguard.lock.acquire import hold_has_ended, may_take_over
from tfguard.lock.deadlines import Deadlines
from tfguard.lock.protocol import TakeoverPolicy
from tfguard.lock.store import LockRecord
from tfguard.text import printable


class Verdict(str, Enum):
    """
    What one look tells of a holder.

    *late*: silent for longer than a sixth of its lease, as when it warns about itself. *expired*: for a whole lease.
    *plain*: Terraform's own lock, which has no heartbeat and never expires. *kernel*: a local lock, which ends with
    its process. *hold*: taken by hand. *unreadable*: a record that nobody can make sense of.
    """

    ALIVE = "alive"
    LATE = "late"
    EXPIRED = "expired"
    PLAIN = "plain"
    KERNEL = "kernel"
    HOLD = "hold"
    UNREADABLE = "unreadable"


def judge(record: LockRecord, clock: Clock, *, has_leases: bool) -> Verdict:
    """Judge a record by one look at it; `has_leases` is the store's."""
    if record.info is None:
        return Verdict.UNREADABLE
    if not has_leases:
        return Verdict.KERNEL
    if record.lease is None:
        return Verdict.PLAIN
    if record.lease.hold_until:
        return Verdict.HOLD
    silence, lease_seconds = silence_seconds(record, clock) or 0.0, record.lease.seconds
    if silence >= lease_seconds:
        return Verdict.EXPIRED
    return Verdict.LATE if silence >= Deadlines.of(lease_seconds).warning else Verdict.ALIVE


def silence_seconds(record: LockRecord, clock: Clock) -> float | None:
    """
    How long ago the last heartbeat was sent; None without one.

    Exact where the record was written on this boot of this machine, else by the record's wall clock and ours.
    """
    exact = exact_silence_seconds(record, clock)
    if exact is not None or record.lease is None:
        return exact
    at = parse_created(record.lease.beaten_at)
    return max(0.0, (clock.now() - at).total_seconds()) if at else None


def exact_silence_seconds(record: LockRecord, clock: Clock) -> float | None:
    """As `silence_seconds`, but None unless both ends were measured on the same clock."""
    if record.lease is None or not record.lease.boot or record.lease.boot != boot_id():
        return None
    return max(0.0, clock.boottime() - record.lease.sent)


def needs_person(verdict: Verdict, record: LockRecord, policy: TakeoverPolicy) -> bool:
    """Whether runs that change something wait for this lock until a person frees it, by `lock.takeover`."""
    is_left = verdict is Verdict.EXPIRED and not may_take_over(policy, record, is_changing=True)
    return is_left or verdict is Verdict.UNREADABLE


def in_words(verdict: Verdict, record: LockRecord, clock: Clock, policy: TakeoverPolicy = "always") -> str:
    """Say a verdict to people, and what follows from it under this `lock.takeover`."""
    lease = record.lease
    lease_seconds = lease.seconds if lease else 0.0
    silence = silence_seconds(record, clock) or 0.0
    if verdict is Verdict.LATE:
        left = format_duration(max(1, round(lease_seconds - silence)))
        return f"late: without a heartbeat, whoever waits takes over in {left}"
    if needs_person(verdict, record, policy) and verdict is Verdict.EXPIRED:
        whom = "a person, or the next plan" if may_take_over(policy, record, is_changing=False) else "a person"
        return f"expired: left for {whom} (lock.takeover: {policy})"
    if verdict is Verdict.EXPIRED:
        return f"expired: the next run will take over in {format_duration(round(lease_seconds))}"
    if verdict is Verdict.HOLD and hold_has_ended(record, clock.now()):
        return "held by hand until a time that is past: the next run will go on"
    if verdict is Verdict.HOLD and lease:
        return f"held by hand until {shown_created(lease.hold_until)}: {printable(lease.reason, 60)}"
    return {
        Verdict.ALIVE: "alive",
        Verdict.PLAIN: "plain Terraform: no heartbeat",
        Verdict.KERNEL: "held by a process: free as soon as that ends",
    }.get(verdict, "unreadable: not a lock of Terraform's or tfguard's")


def age_seconds(created: str, now: datetime) -> float | None:
    """How long ago a record's instant was, by our wall clock; None where it cannot be read."""
    at = parse_created(created)
    return max(0.0, (now - at).total_seconds()) if at else None
