"""
The resources of a run as its page lists them: what is lost first, each opening to what changes in it.

All of it is a stranger's text. A `diff` stands in a fence that is longer than any run of backticks in it, so nothing
in it is Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

#: Terraform's actions, the gravest first: what they are called before and after.
GROUPS = (
    ("delete", "To destroy", "Destroyed"),
    ("replace", "To replace", "Replaced"),
    ("update", "To change", "Changed"),
    ("create", "To create", "Created"),
    ("import", "To import", "Imported"),
    ("move", "To move", "Moved"),
    ("forget", "To forget", "Forgotten"),
)
_OTHERS = ("", "Others", "Others")
_BACKTICKS = re.compile("`+")
#: What says what has no room.
_LAST_BYTES = 200


def listed(
    rows: Iterable[tuple[str, str]],
    diffs: Mapping[str, str],
    room: int,
    *,
    is_done: bool,
    code: Callable[[str], str],
    besides: str = "",
) -> str:
    """
    Return the list in at most `room` bytes, empty if there is no room for any of it.

    `rows`: (action, address); `diffs` by address. `code` writes a word of a stranger's. `besides` ends the title of
    each group. Addresses come before diffs, and those of the gravest before others; what has no room is counted.
    """
    shown, left_out = _addresses(_grouped(rows), room - _LAST_BYTES, is_done=is_done, code=code, besides=besides)
    room -= _LAST_BYTES + sum(map(_size, shown))
    parts, unopened = _opened(shown, diffs, room if not left_out else 0)
    if left_out and parts:
        parts.append(f"<p>and {left_out} more</p>")
    if unopened:
        parts.append(f"<p>What changes in {unopened} of them has no room here: the log has it.</p>")
    return "\n\n".join(parts)


class _Shown(NamedTuple):
    """A resource, and the title of its group if it is the first of it."""

    title: str
    label: str
    address: str

    def part(self, diff: str = "") -> str:
        made = folded(self.label, diff) if diff else f"<p>{self.label}</p>"
        return f"{self.title}\n\n{made}" if self.title else made


def _size(shown: _Shown) -> int:
    return len(shown.part().encode()) + 2


def _grouped(rows: Iterable[tuple[str, str]]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    known = [name for name, _, _ in GROUPS]
    for action, address in rows:
        words = action.split(", ")
        found.setdefault(next((name for name in known if name in words), ""), []).append((action, address))
    return [(before, after, found[name]) for name, before, after in (*GROUPS, _OTHERS) if name in found]


def _addresses(
    grouped: Iterable[tuple[str, str, list[tuple[str, str]]]],
    room: int,
    *,
    is_done: bool,
    code: Callable[[str], str],
    besides: str,
) -> tuple[list[_Shown], int]:
    """What has room, and how many resources have none."""
    shown: list[_Shown] = []
    left_out = 0
    for before, after, members in grouped:
        title = f"<p><strong>{after if is_done else before}{besides}</strong></p>"
        for action, address in members:
            one = _Shown(title, code(address) + _besides(action, code), address)
            room -= _size(one) if not left_out else 0
            if room < 0:
                left_out += 1
                continue
            shown.append(one)
            title = ""
    return shown, left_out


def _opened(shown: Iterable[_Shown], diffs: Mapping[str, str], room: int) -> tuple[list[str], int]:
    """Each as it stands on the page, open to its diff where that has room; and of how many it has none."""
    parts: list[str] = []
    unopened = 0
    for one in shown:
        part = one.part(diffs.get(one.address, ""))
        more = len(part.encode()) + 2 - _size(one)
        if more > room:
            part, more, unopened = one.part(), 0, unopened + 1
        room -= more
        parts.append(part)
    return parts, unopened


def _besides(action: str, code: Callable[[str], str]) -> str:
    """`update, import`: the group says only one of them."""
    return f" {code(action)}" if ", " in action or not action.isalpha() else ""


def folded(title: str, diff: str) -> str:
    """Return a `diff` that opens when its title, which is HTML, is clicked."""
    fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(diff)), default=0))
    return f"<details><summary>{title}</summary>\n\n{fence}diff\n{diff}\n{fence}\n\n</details>"
