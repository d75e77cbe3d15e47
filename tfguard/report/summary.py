"""
A run told on one page, as Markdown for people or as JSON for programs: how it ended, what it was, what it changes, and
Terraform's own words, folded.

Everything shown is a stranger's text. It stands in HTML, where Markdown is not read, escaped and without control signs;
in `<code>` or `<pre>`, where `@somebody` is nobody's name; and what is known to be secret is cut out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from tfguard import redaction
from tfguard.jobfiles.transcript import left_out
from tfguard.terraform.plan_json import PlannedChanges
from tfguard.text import printable

#: GitHub refuses the summary of a step altogether if it is above 1 MiB.
LIMIT_BYTES = 1024 * 1024
#: Whatever is less does not hold a run's facts.
SMALLEST_LIMIT_BYTES = 4000
_MAX_WORD = 300
_MAX_NOTES = 20
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
#: What Markdown would read even between tags.
_MARKDOWN = re.compile(r"[\\`*_\[\]!|~$]")
_MARKS = {"succeeded": "✅", "interrupted": "⏹️"}


@dataclass(frozen=True)
class Page:
    """The facts of one run. Times in seconds; `text` is what Terraform printed, or the beginning and the end of it."""

    label: str
    outcome: str
    exit_code: int | None = None
    who: str = ""
    run: str = ""
    link: str = ""
    waited: float | None = None
    held: float | None = None
    lock_id: str = ""
    token: int | None = None
    changes: PlannedChanges | None = None
    text: str = ""
    notes: tuple[str, ...] = ()


def render(page: Page, limit_bytes: int = LIMIT_BYTES) -> str:
    """Give the page as Markdown of at most `limit_bytes`; Terraform's text is cut in its middle to fit."""
    text = plain(page.text)
    parts = [_head(page)]
    for make in (_notes, _counts, _table, _error):
        # Half of what is left: a huge part must not push out the next.
        parts += [part] if (part := make(page, text, _room(parts, limit_bytes) // 2)) else []
    room = _room(parts, limit_bytes)
    parts += [_DETAILS.format(_escaped(text, room))] if text and room > 0 else []
    # An empty line at the end, too: a tag's block goes on to the next one, and a page may follow.
    return "\n\n".join([*parts, ""])


def render_json(page: Page, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """Give the facts as JSON; to fit, Terraform's text is cut, then the list of resources."""
    facts, limit = _facts(page, limit_bytes), limit_bytes
    whole, changes = facts["text"], facts["changes"] or {"resources": []}
    while (excess := len(data := _encoded(facts)) - limit_bytes) > 0 and limit > 0:
        limit = max(0, min(limit, len(whole.encode())) - excess)
        facts["text"] = cut(whole, limit)
    while len(data) > limit_bytes and changes["resources"]:
        changes["resources"] = changes["resources"][: len(changes["resources"]) // 2]
        data = _encoded(facts)
    return data


def plain(text: str) -> str:
    """Give Terraform's text without colours, control signs and secrets."""
    bare = _COLOUR.sub("", text).replace("\r\n", "\n").replace("\t", "    ")
    return redaction.redact("\n".join(printable(line, len(line) + 1) for line in bare.split("\n"))).strip("\n")


def first_error(text: str) -> str:
    """Terraform's first error in full, without its frame; empty if there is none."""
    found: list[str] = []
    for line in text.splitlines():
        bare = line.lstrip(" │╷╵|").rstrip()
        if found and line.startswith("╵"):
            break
        if not found and not bare.startswith("Error:"):
            continue
        if found and bare.startswith("Error:"):
            break
        found.append(bare)
    return "\n".join(found).strip()


def cut(text: str, limit_bytes: int) -> str:
    """Cut the middle out of what is too long, and say so."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit_bytes:
        return text
    half = max(0, (limit_bytes - len(left_out(len(data)).encode())) // 2)
    kept = (data[:half], data[len(data) - half :])
    note = left_out(len(data) - 2 * half)
    return kept[0].decode("utf-8", "ignore") + note + kept[1].decode("utf-8", "ignore")


# --- Markdown -------------------------------------------------------------------------------------------------------

_DETAILS = "<details><summary>Terraform's output</summary>\n\n<pre>{}</pre>\n\n</details>"


def _room(parts: Iterable[str], limit_bytes: int) -> int:
    """How many bytes are left for more parts, if Terraform's text is to be the last."""
    return limit_bytes - len(_DETAILS) - 2 - sum(len(part.encode()) + 2 for part in parts)


def _head(page: Page) -> str:
    code = "" if page.exit_code is None else f" (exit {page.exit_code})"
    who = _code(" · ".join(part for part in (page.who, page.run) if part))
    link = f'<a href="{html.escape(page.link)}">{who}</a>' if page.link else who
    lines = [
        # The one line that Markdown does read.
        f"### {_MARKS.get(page.outcome, '❌')} {_MARKDOWN.sub(_as_entity, _code(page.label))}: {page.outcome}{code}",
        f"<p>{link}</p>" if who else "",
        _times(page),
    ]
    return "\n\n".join(line for line in lines if line)


def _times(page: Page) -> str:
    if page.waited is None:
        return ""
    held = "" if page.held is None else f", held it {page.held:.0f} s"
    return f"Waited {page.waited:.0f} s for the lock{held}."


def _notes(page: Page, _text: str, room: int) -> str:
    shown: list[str] = []
    for note in page.notes[-_MAX_NOTES:]:
        part = f"<pre>{_escaped(plain(note), room)}</pre>"
        room -= len(part.encode()) + 2
        shown += [part] if room > 0 else []
    return "\n\n".join(shown)


def _counts(page: Page, _text: str, _room: int) -> str:
    changes = page.changes
    if changes is None:
        return ""
    add, change, destroy = changes.add, changes.change, changes.destroy
    if changes.is_done:
        return f"**{add} added, {change} changed, {destroy} destroyed.**"
    return f"**{add} to add, {change} to change, {destroy} to destroy.**" if changes.has_changes else "No changes."


def _table(page: Page, _text: str, room: int) -> str:
    if page.changes is None or not page.changes.rows:
        return ""
    table = "<table><tr><th>action</th><th>resource</th></tr>{}</table>"
    rows: list[str] = []
    for action, address in page.changes.rows:
        row = f"<tr><td>{_code(action)}</td><td>{_code(address)}</td></tr>"
        room -= len(row.encode())
        if room < len(table) + 100:
            rows.append(f"<tr><td></td><td>and {len(page.changes.rows) - len(rows)} more</td></tr>")
            break
        rows.append(row)
    return table.format("".join(rows))


def _error(page: Page, text: str, room: int) -> str:
    found = first_error(text) if page.outcome != "succeeded" else ""
    return f"<pre>{_escaped(found, room)}</pre>" if found else ""


def _code(text: str) -> str:
    """One line of a stranger's."""
    shown = html.escape(_line(text))
    return f"<code>{shown}</code>" if shown else ""


def _line(text: str) -> str:
    return printable(redaction.redact(text), _MAX_WORD)  # In this order: half a secret would not be known for one.


def _as_entity(sign: re.Match[str]) -> str:
    return f"&#{ord(sign[0])};"


def _escaped(text: str, room: int) -> str:
    """Escape text for between tags, cut so that it then has room."""
    limit = room
    while len((shown := html.escape(cut(text, limit), quote=False)).encode()) > room and limit > 0:
        limit -= max(1, (len(shown.encode()) - room) // 2)
    return shown


# --- JSON -----------------------------------------------------------------------------------------------------------


def _encoded(facts: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(facts)) + b"\n"


def _facts(page: Page, limit_bytes: int) -> dict[str, Any]:
    text = plain(page.text)
    return {
        "label": _line(page.label),
        "outcome": page.outcome,
        "exit_code": page.exit_code,
        "who": _line(page.who),
        "run": _line(page.run),
        "link": page.link,
        "lock_id": page.lock_id,
        "fencing_token": page.token,
        "waited_seconds": page.waited,
        "held_seconds": page.held,
        "changes": _changes(page.changes),
        "notes": [plain(note) for note in page.notes[-_MAX_NOTES:]],
        "first_error": cut(first_error(text), limit_bytes // 4) if page.outcome != "succeeded" else "",
        "text": text,
    }


def _changes(changes: PlannedChanges | None) -> dict[str, Any] | None:
    if changes is None:
        return None
    return {
        "add": changes.add,
        "change": changes.change,
        "destroy": changes.destroy,
        "has_changes": changes.has_changes,
        "is_done": changes.is_done,
        "resource_count": len(changes.rows),
        "resources": [{"action": _line(action), "address": _line(address)} for action, address in changes.rows],
    }
