"""
What tfguard says to people: each message at most three lines of 120 columns, the label first, a way out last.

Pure text, so that `tests/messages/` holds every one of them as a snapshot, and a test can run every command that
they recommend. Text from records is a stranger's: it is made printable and bounded here, and quoted in commands.
"""

from __future__ import annotations

import shlex
from datetime import datetime

import msgspec

from tfguard.clock import parse_created, shown_created
from tfguard.durations import spoken_duration
from tfguard.lock.protocol import TakeoverPolicy
from tfguard.lock.store import LockRecord
from tfguard.text import printable

COLUMNS = 120
#: Whatever has to be cut keeps so much of itself that one still knows it.
_SHORTEST_LABEL = 24
_SHORTEST_WORD = 12
_LONGEST_ID = 1000


#: What runs under a lock.
TERRAFORM, PROGRAM = "Terraform", "the program"


class Subject(msgspec.Struct, frozen=True):
    """
    What a message is about. `label`: the pipeline, else the state. `command`: how to address it again
    (`tfguard -p prod/network`). `is_local`: the kernel keeps the lock, so there is nothing to unlock. `lock_options`:
    what names the lock to `status` and `unlock` where it is not the state's own. `takeover`: what happens to a dead
    holder's lock. `program`: what runs under it, as a sentence names it: `exec` runs anything.
    """

    label: str
    command: str = "tfguard"
    is_local: bool = False
    lock_options: str = ""
    takeover: TakeoverPolicy = "always"
    program: str = TERRAFORM

    @property
    def runs_terraform(self) -> bool:
        """Whether it is Terraform that runs under it."""
        return self.program == TERRAFORM

    @property
    def has_state(self) -> bool:
        """Whether a plan would show what an unfinished run has left."""
        return self.runs_terraform or not self.is_named

    @property
    def is_named(self) -> bool:
        """Whether the lock is no state's, but one of the user's own name."""
        return bool(self.lock_options)

    @property
    def status(self) -> str:
        """The command that shows the lock."""
        return f"{self.command} status {self.lock_options}".rstrip()

    @property
    def exec_(self) -> str:
        """The start of the command that runs a program under it."""
        return f"{self.command} exec {self.lock_options}".rstrip()

    def unlock(self, lock_id: str) -> str:
        """The command that frees it. The ID is a stranger's text, and whole: HCP Terraform's have 130 signs."""
        words = [self.command, "unlock", self.lock_options, "--id", shlex.quote(printable(lock_id, _LONGEST_ID))]
        return " ".join(word for word in words if word)

    @property
    def unlock_unreadable(self) -> str:
        """The command that frees a lock whose record nobody can read, and which so has no ID."""
        return " ".join(part for part in (self.command, "unlock", self.lock_options, '--force --reason "…"') if part)


def fit(*lines: str) -> str:
    """
    Join lines, empty ones left out. The first is no longer than a terminal is wide.

    The others say what to do: a command of which a part is missing would be worse than a line too long.
    """
    first, *rest = [line for line in lines if line] or [""]
    return "\n".join((first if len(first) <= COLUMNS else first[: COLUMNS - 1] + "…", *rest))


def about(label: str, text: str) -> str:
    """Put the label before a text of one line or more. A label too long gives way to what is said of it."""
    first, *rest = text.splitlines() or [""]
    # The other lines may be commands, of which a part would be worse than a line too long.
    return "\n".join((fit(f"{shortened(label, max(_SHORTEST_LABEL, COLUMNS - 2 - len(first)))}: {first}"), *rest))


def shortened(text: str, columns: int) -> str:
    """Shorten in the middle: a state's bucket and file name tell more than the folders between."""
    if len(text) <= columns:
        return text
    kept = columns - 1
    return f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"


def say(label: str, first: str, *rest: str) -> str:
    return about(label, "\n".join(line for line in (first, *rest) if line))


def do(lead: str, command: str) -> str:
    """A line that recommends a command. One that was cut would be worse than a line too long."""
    line = f"{lead}: {command}"
    return line if len(line) <= COLUMNS else command


def first_line(text: str) -> str:
    return text.partition("\n")[0]


# --- the holder -----------------------------------------------------------------------------------------------------


def half_done(subject: Subject) -> str:
    """What a run may have left that did not come to its end; empty where a state would show it."""
    return "What that run was doing may be half done." if subject.is_named else ""


def holder(record: LockRecord | None, now: datetime, columns: int = 1000) -> str:
    """Say who holds a lock: `ana@ci-7 (apply, GitHub run 4812, 14 min, heartbeat 4 s ago)`."""
    if record is None:
        return "a program that does not say who it is"
    if record.info is None:
        return "somebody whose lock record cannot be read"
    info, lease = record.info, record.lease
    since = age(info.created, now)
    if lease is None:
        words = [word(info.who) or "somebody", word(info.operation.removeprefix("OperationType").lower())]
        # A local lock of ours has no lease either: there, its Info tells whose it is.
        is_ours = info.info.startswith("tfguard ")
        return _named(words, [since, word(info.info) if is_ours else "plain Terraform, no heartbeat"], columns)
    if lease.hold_until:
        words = [word(lease.holder.who), word(lease.reason)]
        return _named(words, [since, f"by hand until {shown_created(lease.hold_until)}"], columns)
    beat = age(lease.beaten_at, now)
    words = [word(each) for each in (lease.holder.who, lease.holder.command, lease.holder.run)]
    return _named(words, [since, f"heartbeat {beat} ago" if beat else "no heartbeat yet"], columns)


def _named(words: list[str], facts: list[str], columns: int) -> str:
    """`who (command, run, facts)`: what strangers wrote is cut where there is no room, the last of it first."""
    for index in reversed(range(len(words))):
        excess = len(_listed(words, facts)) - columns
        words[index] = shortened(words[index], max(_SHORTEST_WORD, len(words[index]) - max(0, excess)))
    return _listed(words, facts)


def _listed(words: list[str], facts: list[str]) -> str:
    return f"{words[0]} ({', '.join(fact for fact in (*words[1:], *facts) if fact)})"


def held(subject: Subject, before: str, record: LockRecord | None, now: datetime, after: str) -> str:
    """One line with the label and the holder in it, each as long as there is room for."""
    room = COLUMNS - len(before) - len(after)
    label = shortened(subject.label, max(_SHORTEST_LABEL, room - len(holder(record, now))))
    return fit(f"{label}{before}{holder(record, now, room - len(label))}{after}")


def word(text: str) -> str:
    return printable(text, 60)


def age(created: str, now: datetime) -> str:
    at = parse_created(created)
    return spoken_duration(max(0.0, (now - at).total_seconds())) if at else ""


def watch(record: LockRecord | None) -> str:
    link = printable(record.lease.holder.link, 200) if record and record.lease else ""
    return f"Watch it: {link}" if link and len(link) < COLUMNS - 10 else link


def way_out(subject: Subject, record: LockRecord | None) -> str:
    if subject.is_local:
        return "It ends with the process that holds it, on whichever machine that runs: there is nothing to unlock."
    if record is None or not record.id:
        return do("Look at the lock", subject.status)
    is_hold = record.lease is not None and record.lease.hold_until
    return do("To end the hold" if is_hold else "If that run is dead", subject.unlock(record.handle))
