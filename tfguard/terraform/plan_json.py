"""
What a run changes, how many of what and which resources: from `terraform show -json`, else from its closing line.

Only addresses and actions are read, never a value: what is sensitive in a plan cannot get out through here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

#: Terraform's actions → (add, change, destroy), as its own closing line counts them.
_COUNTED: dict[tuple[str, ...], tuple[int, int, int]] = {
    ("create",): (1, 0, 0),
    ("update",): (0, 1, 0),
    ("delete",): (0, 0, 1),
    ("delete", "create"): (1, 0, 1),
    ("create", "delete"): (1, 0, 1),
}
_QUIET = frozenset({("no-op",), ("read",)})
#: The lines that close a plan, an apply and a destroy.
_PLANNED = re.compile(r"^(?:Plan:.*? )?(\d+) to add, (\d+) to change, (\d+) to destroy\.|^(No changes)\.", re.MULTILINE)
_DONE = re.compile(
    r"^(?:Apply complete! Resources: (?:\d+ imported, )?(\d+) added, (\d+) changed, |"
    r"Destroy complete! Resources: )(\d+) destroyed",
    re.MULTILINE,
)


class _Change(msgspec.Struct):
    actions: list[str] = []


class _Resource(msgspec.Struct):
    address: str = ""
    change: _Change = msgspec.field(default_factory=_Change)


class _Plan(msgspec.Struct):
    resource_changes: list[_Resource] = []
    output_changes: dict[str, _Change] = {}


@dataclass(frozen=True)
class PlannedChanges:
    """
    `rows`: (action, address) of every resource that is not left alone, in the plan's order; none where only the
    closing line is known. `is_done`: it has been changed, not only planned.
    """

    add: int = 0
    change: int = 0
    destroy: int = 0
    has_changes: bool = False
    rows: tuple[tuple[str, str], ...] = ()
    is_done: bool = False


def read_changes(text: bytes) -> PlannedChanges | None:
    """Read what `terraform show -json PLAN` printed; None if it is no such thing. Never raises."""
    try:
        plan = msgspec.json.decode(text, type=_Plan)
    except (msgspec.DecodeError, RecursionError):
        return None
    rows = [(tuple(each.change.actions), each.address) for each in plan.resource_changes]
    rows = [(actions, address) for actions, address in rows if actions and actions not in _QUIET]
    sums = [_COUNTED.get(actions, (0, 0, 0)) for actions, _ in rows]
    outputs = [tuple(each.actions) for each in plan.output_changes.values()]
    return PlannedChanges(
        add=sum(each[0] for each in sums),
        change=sum(each[1] for each in sums),
        destroy=sum(each[2] for each in sums),
        has_changes=bool(rows) or any(actions and actions not in _QUIET for actions in outputs),
        rows=tuple((_word(actions), address) for actions, address in rows),
    )


def read_closing_line(text: str) -> PlannedChanges | None:
    """Read the last of the lines with which Terraform closes; without colours. None if there is none."""
    if done := list(_DONE.finditer(text)):
        add, change, destroy = (int(number or 0) for number in done[-1].groups())
        return PlannedChanges(add, change, destroy, has_changes=add + change + destroy > 0, is_done=True)
    if planned := list(_PLANNED.finditer(text)):
        *numbers, is_empty = planned[-1].groups()
        add, change, destroy = (int(number or 0) for number in numbers)
        return PlannedChanges(add, change, destroy, has_changes=not is_empty)
    return None


def _word(actions: tuple[str, ...]) -> str:
    return "replace" if len(actions) > 1 else actions[0]
