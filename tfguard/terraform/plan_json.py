"""
What a run changes, how many of what and which resources: from `terraform show -json`, else from what closes a run.

Only addresses and actions are read, never a value: what is sensitive in a plan cannot get out through here. What closes
a run is a line of Terraform's own, or a message of its JSON stream; never anything that it prints of outputs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

import msgspec

from tfguard.terraform.own_text import before_errors
from tfguard.wire import parse

#: Terraform's actions → (add, change, destroy), as its own closing line counts them.
_COUNTED: dict[tuple[str, ...], tuple[int, int, int]] = {
    ("create",): (1, 0, 0),
    ("update",): (0, 1, 0),
    ("delete",): (0, 0, 1),
    ("delete", "create"): (1, 0, 1),
    ("create", "delete"): (1, 0, 1),
    ("create", "forget"): (1, 0, 0),
}
_QUIET = frozenset({("no-op",), ("read",)})
#: No run counts more than this many digits can tell.
_N = r"(\d{1,9})"
_MORE = r"(?:\d{1,9} to (?:forget|invoke), )*"
#: The lines that close a plan, an apply and a destroy.
_PLANNED = re.compile(
    rf"^(?:Plan: )?(?:{_N} to import, )?{_MORE}{_N} to add, {_N} to change, {_N} to destroy\b|^(No changes)\.",
    re.MULTILINE,
)
_DONE = re.compile(
    rf"^(?:Apply complete! Resources: (?:{_N} imported, )?{_N} added, {_N} changed, |"
    rf"Destroy complete! Resources: ){_N} destroyed",
    re.MULTILINE,
)


class _Change(msgspec.Struct):
    actions: list[str] = []
    importing: Any = None


class _Resource(msgspec.Struct):
    address: str = ""
    previous_address: str = ""
    change: _Change = msgspec.field(default_factory=_Change)


class _Plan(msgspec.Struct):
    resource_changes: list[_Resource] = []
    resource_drift: list[_Resource] = []
    output_changes: dict[str, _Change] = {}
    applyable: bool | None = None


class _Sums(msgspec.Struct):
    add: int = 0
    change: int = 0
    remove: int = 0
    imported: int = msgspec.field(default=0, name="import")
    operation: str = ""


class _Message(msgspec.Struct):
    type: str = ""
    changes: _Sums | None = None


class PlannedChanges(msgspec.Struct, frozen=True):
    """
    `rows`: (action, address) of every resource that is not left alone, in the plan's order; none where only what closed
    the run is known. `drift`: so many changed outside Terraform, in a plan that takes that over. `is_done`: it has been
    changed, not only planned.
    """

    add: int = 0
    change: int = 0
    destroy: int = 0
    imported: int = 0
    moved: int = 0
    forget: int = 0
    drift: int = 0
    has_changes: bool = False
    rows: tuple[tuple[str, str], ...] = ()
    is_done: bool = False


def read_changes(text: bytes, *, status: int = 0, is_refresh_only: bool = False) -> PlannedChanges | None:
    """
    Read what `terraform show -json PLAN` printed; None if it is no such thing. Never raises.

    Whether there is anything to apply, Terraform says itself: by the plan, or by the plan's exit `status` (2). One
    that is too old to say so is judged by what it would do.
    """
    try:
        plan = parse(text, _Plan)
    except msgspec.DecodeError:
        return None
    rows = list(_rows(plan.resource_changes))
    drift = list(_rows(plan.resource_drift)) if is_refresh_only else []
    sums = [_COUNTED.get(tuple(each.change.actions), (0, 0, 0)) for each in plan.resource_changes]
    counts = Counter(action for actions, _ in rows for action in actions)
    has_outputs = any(tuple(each.actions) not in {(), *_QUIET} for each in plan.output_changes.values())
    by_itself = plan.applyable if plan.applyable is not None else bool(rows or drift or has_outputs)
    return PlannedChanges(
        add=sum(each[0] for each in sums),
        change=sum(each[1] for each in sums),
        destroy=sum(each[2] for each in sums),
        imported=counts["import"],
        moved=counts["move"],
        forget=counts["forget"],
        drift=len(drift),
        has_changes=by_itself or status == 2,
        rows=tuple((", ".join(actions), address) for actions, address in (*rows, *drift)),
    )


def read_closing(text: str) -> PlannedChanges | None:
    """Read what closes a run, of its text without colours: a line, or a message of `-json`; None where neither does."""
    text = before_errors(text)
    if done := list(_DONE.finditer(text)):
        imported, add, change, destroy = (int(number or 0) for number in done[-1].groups())
        return _closing(_Sums(add, change, destroy, imported, "apply"))
    if sums := _sums(text):
        return _closing(sums)
    if planned := list(_PLANNED.finditer(text)):
        *numbers, is_empty = planned[-1].groups()
        imported, add, change, destroy = (int(number or 0) for number in numbers)
        return PlannedChanges(add, change, destroy, imported, has_changes=not is_empty)
    return None


def _closing(sums: _Sums) -> PlannedChanges:
    total = sums.add + sums.change + sums.remove + sums.imported
    is_done = sums.operation != "plan"
    return PlannedChanges(sums.add, sums.change, sums.remove, sums.imported, has_changes=total > 0, is_done=is_done)


def _sums(text: str) -> _Sums | None:
    """The counts of the last message that tells some."""
    found = (message.changes for message in read_messages(reversed(text.splitlines()), "change_summary", _Message))
    return next(filter(None, found), None)


class Typed(Protocol):
    """A message of Terraform's JSON stream, of which each says what it is."""

    @property
    def type(self) -> str:
        """Terraform's word for it."""
        ...


Message = TypeVar("Message", bound=Typed)


def read_messages(lines: Iterable[str], name: str, kind: type[Message]) -> Iterator[Message]:
    """Give the messages of this type among lines that may be anything."""
    for line in lines:
        if f'"{name}"' not in line:
            continue
        try:
            message = parse(line, kind)
        except msgspec.DecodeError:
            continue
        if message.type == name:
            yield message


def _rows(resources: list[_Resource]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is done to each resource that is not left alone, in words; a move or an import may come beside another."""
    for each in resources:
        actions = tuple(each.change.actions)
        words = [] if not actions or actions in _QUIET else [_word(actions)]
        if each.previous_address and each.previous_address != each.address:
            words.append("move")
        if each.change.importing is not None:
            words.append("import")
        if words:
            yield tuple(words), each.address


def _word(actions: tuple[str, ...]) -> str:
    if len(actions) == 1:
        return actions[0]
    return "forget" if "forget" in actions and "create" not in actions else "replace"
