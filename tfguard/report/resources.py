"""
The resources of a run as its page lists them: what is lost first, each opening to what changes in it.

All of it is a stranger's text. A `diff` stands in a fence that is longer than any run of backticks in it, so nothing
in it is Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

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
#: What says that there are more, and ends an open group.
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
    each group. Where the diffs have no room, the addresses have; what has none is counted.
    """
    grouped = [((after if is_done else before) + besides, members) for before, after, members in _grouped(rows)]
    for with_diffs in (True, False):
        parts, left_out = _parts(grouped, diffs if with_diffs else {}, room - _LAST_BYTES, code=code)
        if not left_out:
            return "\n\n".join(parts)
    return "\n\n".join([*parts, f"<p>and {left_out} more</p>"]) if parts else ""


def _grouped(rows: Iterable[tuple[str, str]]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    known = [name for name, _, _ in GROUPS]
    for action, address in rows:
        words = action.split(", ")
        found.setdefault(next((name for name in known if name in words), ""), []).append((action, address))
    return [(before, after, found[name]) for name, before, after in (*GROUPS, _OTHERS) if name in found]


def _parts(
    grouped: Sequence[tuple[str, list[tuple[str, str]]]],
    diffs: Mapping[str, str],
    room: int,
    *,
    code: Callable[[str], str],
) -> tuple[list[str], int]:
    """The parts that have room, and how many resources have none."""
    parts: list[str] = []
    left_out = 0
    for name, members in grouped:
        title = f"<p><strong>{name}</strong></p>"
        for action, address in members:
            part = _one(code(address), diffs.get(address, ""), also=_besides(action, code))
            size = len("\n\n".join([title, part, ""]).encode())
            if left_out or size > room:
                left_out += 1
                continue
            room -= size
            parts += [title, part] if title else [part]
            title = ""
    return parts, left_out


def _besides(action: str, code: Callable[[str], str]) -> str:
    """`update, import`: the group says only one of them."""
    return f" {code(action)}" if ", " in action or not action.isalpha() else ""


def _one(address: str, diff: str, *, also: str) -> str:
    if not diff:
        return f"<p>{address}{also}</p>"
    return folded(f"{address}{also}", diff)


def folded(title: str, diff: str) -> str:
    """Return a `diff` that opens when its title, which is HTML, is clicked."""
    fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(diff)), default=0))
    return f"<details><summary>{title}</summary>\n\n{fence}diff\n{diff}\n{fence}\n\n</details>"
