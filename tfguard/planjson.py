"""
What a saved plan will do, from `terraform show -json`: how many of what, and to which resources.

Only addresses and actions are read, never a value: what is sensitive in a plan cannot get out through here.
"""

from __future__ import annotations

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
    """`rows`: (action, address) of every resource that is not left alone, in the plan's order."""

    add: int = 0
    change: int = 0
    destroy: int = 0
    has_changes: bool = False
    rows: tuple[tuple[str, str], ...] = ()


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


def _word(actions: tuple[str, ...]) -> str:
    return "replace" if len(actions) > 1 else actions[0]
