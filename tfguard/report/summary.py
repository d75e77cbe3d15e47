"""
A run told on one page, as Markdown for people or as JSON for programs: how it ended, what it was, what it changes, and
Terraform's own words, folded.

A limit counts the bytes of what is written: escaped, a sign may take six. What has no bound of its own is cut until its
written form fits; what always stands there is bounded so that the smallest page has room for it.

Everything shown is a stranger's text. It stands in HTML, where Markdown is not read, escaped and without control signs;
in `<code>` or `<pre>`, where `@somebody` is nobody's name; and what is known to be secret is cut out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from tfguard import redaction
from tfguard.ci.commit import Commit
from tfguard.jobfiles.story import PlanFiles
from tfguard.jobfiles.transcript import left_out
from tfguard.report.changed import Changed
from tfguard.report.headline import headline
from tfguard.report.said import Said, plain
from tfguard.terraform.fingerprint import Fingerprint
from tfguard.terraform.plan_json import PlannedChanges
from tfguard.text import printable, valid
from tfguard.wire import publish

#: How long a page may be where nobody says otherwise.
LIMIT_BYTES = 1024 * 1024
#: Whatever is less does not hold a run's facts: three words and a link, as they are written, and what is ours.
SMALLEST_LIMIT_BYTES = 4000
_MAX_WORD = 300
_MAX_WORD_BYTES = 600
#: A link that is cut leads nowhere: a longer one is left out.
_MAX_LINK_BYTES = 1000
_MAX_NOTES = 20
#: What a run is called of which nobody knows what it was about.
NOBODYS = "tfguard"
_SHORT_SHA = 12
_COMMAND = re.compile(r"^([^\S\n]*)/", re.MULTILINE)


class Page(msgspec.Struct, frozen=True):
    """
    The facts of one run. Times in seconds; `text` is what Terraform printed, or the beginning and the end of it
    (`Said`, where several tell of it); `holder` is who held the lock, as JSON. `command`: what was asked of Terraform
    (`plan`, `state mv`). `workspace` is Terraform's, empty where it is not known; `job_workspace` the one that the job
    itself names.
    """

    label: str
    outcome: str
    exit_code: int | None = None
    who: str = ""
    run: str = ""
    link: str = ""
    waited_seconds: float | None = None
    held_seconds: float | None = None
    lock_id: str = ""
    force_unlock_id: str = ""
    token: int | None = None
    changes: PlannedChanges | None = None
    text: str = ""
    notes: tuple[str, ...] = ()
    holder: str = ""
    files: PlanFiles | None = None
    command: str = ""
    fingerprint: Fingerprint | None = None
    workspace: str = ""
    job_workspace: str = ""
    commit: Commit = Commit()


def render(page: Page, limit_bytes: int = LIMIT_BYTES) -> str:
    """Return the page as Markdown of at most `limit_bytes`; Terraform's text is cut in its middle to fit."""
    changed = Changed(page.command, page.outcome, page.changes, Said.of(page.text))
    parts = [_head(page)]
    # Half of what is left: a huge part must not push out the next.
    for make in (_notes, _counts, _fingerprint, _error, _cure, _resources, _outputs, _outside, _output):
        part = make(page, changed, _room(parts, limit_bytes) // (1 if make in (_fingerprint, _output) else 2))
        if part and _size(_joined([*parts, part])) <= limit_bytes:
            parts.append(part)
    return _joined(parts)


def render_json(page: Page, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """
    Return the facts as JSON of at most `limit_bytes`.

    To fit, Terraform's text is cut, then the list of resources; if that is not enough, the notes and the first error.
    """
    facts = _facts(page, limit_bytes)

    def shorten(within: dict[str, Any], name: str, most: int, cut_to: Callable[[int], Any]) -> None:
        def fits(limit: int) -> bool:
            within[name] = cut_to(limit)
            return len(_encoded(facts)) <= limit_bytes

        fits(_largest(most, fits))

    text, notes, error, changes = facts["text"], facts["notes"], facts["first_error"], facts["changes"]
    shorten(facts, "text", _size(text), lambda limit: cut(text, limit))
    parts = list(facts["fingerprint_parts"].items())
    shorten(facts, "fingerprint_parts", len(parts), lambda count: dict(parts[:count]) if count == len(parts) else {})
    if changes is not None:
        resources = changes["resources"]
        shorten(changes, "resources", len(resources), lambda count: resources[:count])
    longest = max(map(_size, notes), default=0)
    shorten(facts, "notes", longest, lambda limit: [cut(note, limit) for note in notes] if limit else [])
    shorten(facts, "first_error", _size(error), lambda limit: cut(error, limit))
    return _encoded(facts)


def cut(text: str, limit_bytes: int) -> str:
    """Cut the middle out of what is too long, and say so. What says so is given in any case, for all of the text."""
    data = valid(text).encode()
    if len(data) <= limit_bytes:
        return text
    half = max(0, (limit_bytes - _size(left_out(len(data)))) // 2)
    head, tail = data[:half].decode("utf-8", "ignore"), data[len(data) - half :].decode("utf-8", "ignore")
    return head + left_out(len(data) - _size(head + tail)) + tail


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number up to `most` that fits, as nearly as halving finds it; 0 if none does."""
    if fits(most):
        return most
    least = 0
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if fits(middle) else (least, middle)
    return least


def _size(text: str) -> int:
    return len(valid(text).encode())


# --- Markdown -------------------------------------------------------------------------------------------------------

_DETAILS = "<details><summary>Terraform's output</summary>\n\n<pre>{}</pre>\n\n</details>"


def _room(parts: Iterable[str], limit_bytes: int) -> int:
    """How many bytes are left for more parts, if Terraform's text is to be the last."""
    return limit_bytes - len(_DETAILS) - 2 - _size(_joined(parts))


def _joined(parts: Iterable[str]) -> str:
    # An empty line at the end, too: a tag's block goes on to the next one, and a page may follow.
    return "\n\n".join([*parts, ""])


def _head(page: Page) -> str:
    mark, title, ending = headline(page.command, page.outcome, page.exit_code, page.changes)
    who = _code(" · ".join(part for part in (page.who, page.run) if part))
    link = _link(page, html.escape)
    linked = f'<a href="{html.escape(link)}">{who}</a>' if link else who
    before, after = f"{title}: " if title else "", f": {ending}" if ending else ""
    lines = [
        # No `###`: Markdown would make a link of an address in the label.
        f"<h3>{mark} {_word(before, html.escape)}{_code(page.label)}{after}</h3>",
        f"<p>{linked}</p>" if who else "",
        _place(page),
        _times(page),
    ]
    return "\n\n".join(line for line in lines if line)


def _place(page: Page) -> str:
    """Which workspace, and of which commit: short, as platforms show it."""
    head, merged = (_code(sha[:_SHORT_SHA]) for sha in page.commit)
    told = [
        f"Workspace {_code(page.workspace)}" if page.workspace else "",
        f"commit {head}" + (f", merged as {merged}" if merged else "") if head else "",
    ]
    text = " · ".join(filter(None, told))
    return f"<p>{text[:1].upper()}{text[1:]}</p>" if text else ""


def _times(page: Page) -> str:
    if page.waited_seconds is None:
        return ""
    held = "" if page.held_seconds is None else f", held it {page.held_seconds:.0f} s"
    return f"Waited {page.waited_seconds:.0f} s for the lock{held}."


def _wrapping(escaped: str) -> str:
    """Lines of ours, which may be wider than a phone: a `pre` would hide their ends. No line is empty in HTML."""
    return f"<p>{'<br>'.join(f'<code>{line}</code>' for line in escaped.split(chr(10)) if line.strip())}</p>"


def _notes(page: Page, _: Changed, room: int) -> str:
    shown: list[str] = []
    for note in page.notes[-_MAX_NOTES:]:
        part = _wrapping(_escaped(plain(note), room))
        room -= _size(part) + 2
        shown += [part] if room > 0 else []
    return "\n\n".join(shown)


def _counts(_: Page, changed: Changed, _room: int) -> str:
    return changed.counts()


def _fingerprint(page: Page, _changed: Changed, _room: int) -> str:
    return f"<p>Fingerprint: {_code(page.fingerprint.text)}</p>" if page.fingerprint else ""


def _resources(_: Page, changed: Changed, room: int) -> str:
    return changed.resources(room, _code)


def _outputs(_: Page, changed: Changed, room: int) -> str:
    return changed.outputs(room)


def _outside(_: Page, changed: Changed, room: int) -> str:
    return changed.outside(room, _code)


def _error(page: Page, changed: Changed, room: int) -> str:
    found = changed.said.first_error if page.outcome != "succeeded" else ""
    return f"<pre>{_escaped(found, room)}</pre>" if found else ""


def _cure(page: Page, changed: Changed, _room: int) -> str:
    found = changed.said.cure if page.outcome != "succeeded" else ""
    return f"<p>{html.escape(found)}</p>" if found else ""


def _output(_: Page, changed: Changed, room: int) -> str:
    return _DETAILS.format(_escaped(changed.said.plain, room)) if changed.said.plain else ""


def _code(text: str, written: Callable[[str], str] = html.escape) -> str:
    """One line of a stranger's."""
    shown = written(_word(text, written))
    return f"<code>{shown}</code>" if shown else ""


def _escaped(text: str, room: int) -> str:
    """Escape text for between tags, cut so that it then has room."""

    def shown(limit: int) -> str:
        # A line that begins with `/close` is a command to GitLab, even in a `pre`.
        return _COMMAND.sub(r"\1&#47;", html.escape(cut(text, limit), quote=False))

    return shown(_largest(max(0, min(room, _size(text))), lambda limit: _size(shown(limit)) <= room))


def _word(text: str, written: Callable[[str], str]) -> str:
    """One line of a stranger's, within the bytes that a word may take as it is written."""
    safe = redaction.redact(text)  # Before it is cut: half a secret would not be known for one.

    def fits(limit: int) -> bool:
        return _size(written(printable(safe, limit))) <= _MAX_WORD_BYTES

    return printable(safe, _largest(_MAX_WORD, fits))


def _link(page: Page, written: Callable[[str], str]) -> str:
    return page.link if _size(written(page.link)) <= _MAX_LINK_BYTES else ""


# --- JSON -----------------------------------------------------------------------------------------------------------


def _encoded(facts: dict[str, Any]) -> bytes:
    return msgspec.json.format(publish(facts)) + b"\n"


def _as_json(text: str) -> str:
    return publish(text).decode()


def _line(text: str) -> str:
    return _word(text, _as_json)


def _facts(page: Page, limit_bytes: int) -> dict[str, Any]:
    said = Said.of(page.text)
    return {
        "label": _line(page.label),
        "command": _line(page.command),
        "outcome": page.outcome,
        "exit_code": page.exit_code,
        "who": _line(page.who),
        "run": _line(page.run),
        "link": _link(page, _as_json),
        "workspace": _line(page.workspace),
        "commit": _line(page.commit.head),
        "merged_as": _line(page.commit.merged),
        "lock_id": page.lock_id,
        "force_unlock_id": page.force_unlock_id or page.lock_id,
        "fencing_token": page.token,
        "waited_seconds": page.waited_seconds,
        "held_seconds": page.held_seconds,
        "fingerprint": page.fingerprint.text if page.fingerprint else "",
        "fingerprint_parts": dict(page.fingerprint.parts) if page.fingerprint else {},
        "changes": _changes(page.changes),
        "notes": [plain(note) for note in page.notes[-_MAX_NOTES:]],
        "first_error": cut(said.first_error, limit_bytes // 4) if page.outcome != "succeeded" else "",
        "cure": said.cure if page.outcome != "succeeded" else "",
        "text": said.plain,
    }


def _changes(changes: PlannedChanges | None) -> dict[str, Any] | None:
    if changes is None:
        return None
    return {
        "add": changes.add,
        "change": changes.change,
        "destroy": changes.destroy,
        "import": changes.imported,
        "move": changes.moved,
        "forget": changes.forget,
        "drift": changes.drift,
        "has_changes": changes.has_changes,
        "is_done": changes.is_done,
        "resource_count": len(changes.rows),
        "resources": [{"action": _line(action), "address": _line(address)} for action, address in changes.rows],
    }
