"""
The first words of a run's page: what it was, and in the right tense what it has done or would do.

A plan and a finished apply must not look alike: who reads only the head knows which it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tfguard.terraform.plan_json import PlannedChanges

#: Terraform's commands, as `Invocation.display` has them, once they have succeeded.
_DONE = {
    "plan": "Plan",
    "plan -destroy": "Plan to destroy",
    "apply": "Applied",
    "destroy": "Destroyed",
    "import": "Imported",
    "refresh": "Refreshed",
    "init": "Initialised",
}
#: And what each is called where it did not succeed.
_ASKED = {"plan -destroy": "Plan to destroy", "exec": "Program", "init": "Initialisation"}
_MARKS = {"succeeded": "✅", "interrupted": "⏹️"}
_ENDED = {"succeeded": "done", "interrupted": "stopped"}


class Headline(NamedTuple):
    """`mark` and `title` stand before the label, `ending` after it."""

    mark: str
    title: str
    ending: str


def headline(command: str, outcome: str, exit_code: int | None, changes: PlannedChanges | None) -> Headline:
    """Return the head of a run of `command`, which may be empty where nobody knows what it was."""
    is_plan, is_good = command.startswith("plan"), outcome == "succeeded"
    # A plan's 2 says that there are changes, as the counts do.
    code = "" if exit_code is None or (is_good and (exit_code == 0 or is_plan)) else f" (exit {exit_code})"
    if not command:
        return Headline(_MARKS.get(outcome, "❌"), "", f"{outcome}{code}")
    has_changes = changes is None or changes.has_changes
    nothing = "" if has_changes else "no changes"
    if is_good:
        title = _DONE.get(command, command.capitalize())
        mark = "📋" if is_plan and has_changes else "✅"
        return Headline(mark, title, nothing if command in _DONE else f"done{code}")
    title = _ASKED.get(command, command.capitalize())
    return Headline(_MARKS.get(outcome, "❌"), title, f"{_ENDED.get(outcome, outcome)}{code}")


class Counts(NamedTuple):
    """What is lost, to be told first and loudly; and the rest. Either may be empty."""

    lost: str
    rest: str


def counts(changes: PlannedChanges) -> Counts:
    """Say how many of what, as Terraform counts: what is replaced is destroyed, and added as well."""
    done = changes.is_done
    replaced = sum("replace" in action.split(", ") for action, _ in changes.rows)
    lost = list(_lost(changes.destroy, replaced, done=done))
    rest = [
        _count(changes.add, "added" if done else "to add"),
        _count(changes.change, "changed" if done else "to change"),
        _count(changes.imported, "imported" if done else "to import"),
        _count(changes.moved, "moved" if done else "to move"),
        _count(changes.forget, "forgotten" if done else "to forget"),
        _count(changes.drift, "changed outside Terraform"),
    ]
    return Counts("".join(lost), ", ".join(filter(None, rest)))


def _lost(destroyed: int, replaced: int, *, done: bool) -> Iterator[str]:
    if destroyed:
        yield f"{destroyed} {'destroyed' if done else 'to destroy'}"
        if replaced:
            these = f"{replaced} of them" if replaced < destroyed else "all of them"
            yield f" ({these} {'replaced' if done else 'to be replaced'})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number else ""
