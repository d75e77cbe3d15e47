"""
A run told on one page of Markdown: how it ended, what it was, what it changes, and Terraform's own words, folded.

Everything shown is a stranger's text: it is escaped, and what is known to be secret has been taken out.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from tfguard import log
from tfguard.planjson import PlannedChanges

#: GitHub refuses a summary above 1 MiB altogether; other steps' text is not counted in.
LIMIT_BYTES = 1_000_000
_MAX_ROWS = 500
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_MARKS = {"succeeded": "✅", "interrupted": "⏹️"}


@dataclass(frozen=True)
class Page:
    """The facts of one run. Times in seconds; `text` is what Terraform printed, or the end of it."""

    label: str
    outcome: str
    exit_code: int | None = None
    who: str = ""
    run: str = ""
    link: str = ""
    waited: float | None = None
    held: float | None = None
    changes: PlannedChanges | None = None
    text: str = ""
    notes: tuple[str, ...] = ()


def render(page: Page, limit_bytes: int = LIMIT_BYTES) -> str:
    """Give the page as Markdown of at most `limit_bytes`; Terraform's text is cut in its middle to fit."""
    text = log.redact(_COLOUR.sub("", page.text)).strip()
    head = log.redact("\n\n".join(part for part in _parts(page, text) if part))
    room = limit_bytes - len(head.encode()) - 200
    folded = _folded(text, room) if text and room > 0 else ""
    return f"{cut(head, limit_bytes - 2)}\n{folded}"


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
    note = f"\n… {len(data) - limit_bytes} bytes left out …\n".encode()
    half = max(0, (limit_bytes - len(note)) // 2)
    kept = data[:half] + note + (data[-half:] if half else b"")
    return kept.decode("utf-8", "ignore")


def _parts(page: Page, text: str) -> list[str]:
    code = "" if page.exit_code is None else f" (exit {page.exit_code})"
    who = html.escape(" · ".join(part for part in (page.who, page.run) if part))
    return [
        f"### {_MARKS.get(page.outcome, '❌')} {html.escape(page.label)}: {page.outcome}{code}",
        f'<a href="{html.escape(page.link)}">{who}</a>' if page.link else who,
        _times(page),
        *(f"<pre>{html.escape(note)}</pre>" for note in page.notes),
        _counts(page.changes),
        _table(page.changes),
        _error(text) if page.outcome != "succeeded" else "",
    ]


def _times(page: Page) -> str:
    if page.waited is None:
        return ""
    held = "" if page.held is None else f", held it {page.held:.0f} s"
    return f"Waited {page.waited:.0f} s for the lock{held}."


def _counts(changes: PlannedChanges | None) -> str:
    if changes is None:
        return ""
    if not changes.has_changes:
        return "No changes."
    return f"**{changes.add} to add, {changes.change} to change, {changes.destroy} to destroy.**"


def _table(changes: PlannedChanges | None) -> str:
    if changes is None or not changes.rows:
        return ""
    rows = [
        f"<tr><td>{html.escape(action)}</td><td><code>{html.escape(address)}</code></td></tr>"
        for action, address in changes.rows[:_MAX_ROWS]
    ]
    more = len(changes.rows) - _MAX_ROWS
    rows += [f"<tr><td></td><td>and {more} more</td></tr>"] if more > 0 else []
    return f"<table><tr><th>action</th><th>resource</th></tr>{''.join(rows)}</table>"


def _error(text: str) -> str:
    found = first_error(text)
    return f"<pre>{html.escape(found)}</pre>" if found else ""


def _folded(text: str, room: int) -> str:
    # `<pre>` at the start of a line of its own: so its blank lines do not end it, and nothing in it is Markdown.
    shown = cut(html.escape(text), room)
    return f"\n<details><summary>Terraform's output</summary>\n\n<pre>{shown}</pre>\n\n</details>\n"
