"""
What Terraform's own text tells of single resources: what a plan would change in each, what has changed outside
Terraform, and what an apply has done to which before it ended. A `-json` stream tells the same, without the blocks.

Terraform masks what is sensitive in this text itself. It stays Terraform's: only its marks move to where a `diff` has
them. The text is without colours here, and may have a hole in its middle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from tfguard.terraform.own_text import ADDRESS, before_errors
from tfguard.terraform.plan_json import read_messages

#: (action, address), in Terraform's order.
Rows = tuple[tuple[str, str], ...]

#: `  # aws_instance.web["a b"] will be destroyed`: what follows an address, and what it is called in a plan's JSON.
#: What is only read during an apply is called nothing.
_PHRASES = {
    "will be created": "create",
    "will be updated": "update",
    "will be destroyed": "delete",
    "will be replaced": "replace",
    "must be replaced": "replace",
    "is tainted": "replace",
    "will be imported": "import",
    "will be read": "",
    "will no longer be managed": "forget",
    "will be removed from the OpenTofu state": "forget",
    "has moved to": "move",
    "has changed": "update",
    "has been deleted": "delete",
}
_HEADER = re.compile(
    rf"^ {{1,2}}# ({ADDRESS})(?: \(deposed object \w{{1,16}}\))? "
    rf"({'|'.join(_PHRASES)}|will be|must be|has been)\b(?: (\S.*?)$)?",
    re.MULTILINE,
)
#: What is said below a header of what is done besides.
_BESIDES = {"move": "  # (moved from ", "import": "  # (imported from "}
#: What has changed outside Terraform stands between these, before what is planned.
_OUTSIDE = re.compile(r"^Note: Objects have changed outside of ", re.MULTILINE)
_RULE = re.compile(r"^─{20}", re.MULTILINE)
_ACTIONS = re.compile(r"^\w+ will perform the following actions:", re.MULTILINE)
_OUTPUTS = re.compile(r"^Changes to Outputs:\n((?:  .*\n?)+)", re.MULTILINE)
#: A block ends where a line begins at the margin, but for the marks that are so long that they begin there.
_MARGIN = re.compile(r"^(?!-/\+ |\+/- )\S", re.MULTILINE)
_MARK = re.compile(r"^( *)(-/\+|\+/-|[+~.-]|<=)(?= )")
#: What opens a text of several lines, which may look like anything.
_OPENING = re.compile(r"( *)([+~-] )?.*<<-EOT(?: # forces replacement)?")
#: Of these lines, too, Terraform says by a mark what happens to each.
_OF_LINES = ("+ ", "- ", "~ ")
_AS_DIFF = {"+": "+", "-": "-", "~": "!", "-/+": "!", "+/-": "!", "<=": " ", ".": "  "}
#: As `jobfiles.transcript` and a page say that something was left out.
_HOLE = re.compile(r"^… \d+ bytes left out …$", re.MULTILINE)

_DONE = re.compile(
    rf"^({ADDRESS})(?: \(deposed object \w{{1,16}}\))?: (Creation|Modifications|Destruction|Import) complete\b",
    re.MULTILINE,
)
_BEGUN = re.compile(
    rf"^{ADDRESS}(?: \(deposed object \w{{1,16}}\))?: (?:Creating|Modifying|Destroying|Importing|Provisioning)\b",
    re.MULTILINE,
)
_WORDS = {"Creation": "create", "Modifications": "update", "Destruction": "delete", "Import": "import"}
_DONE_JSON = frozenset(_WORDS.values())
_PLANNED_JSON = {name: name for name in ("create", "update", "delete", "replace", "move", "import")} | {
    "remove": "forget"
}


class _Resource(msgspec.Struct):
    addr: str = ""


class _Hook(msgspec.Struct):
    resource: _Resource = msgspec.field(default_factory=_Resource)
    action: str = ""


class _Message(msgspec.Struct):
    type: str = ""
    hook: _Hook | None = None
    change: _Hook | None = None


class RunText(msgspec.Struct, frozen=True):
    """
    `planned`, `drifted` and `done`: what a plan would do, what has changed outside Terraform, and what an apply says
    that it has done; `has_begun`: it says that it has begun with anything. `blocks` and `drift_blocks`: what Terraform
    shows of each, by address, as a `diff`; `outputs`: so what would change in outputs. `is_cut`: of its middle nothing
    is known.
    """

    planned: Rows = ()
    drifted: Rows = ()
    done: Rows = ()
    blocks: Mapping[str, str] = {}
    drift_blocks: Mapping[str, str] = {}
    outputs: str = ""
    is_cut: bool = False
    has_begun: bool = False


def read_text(text: str) -> RunText:
    """Read all that a run's text tells. Never raises: what it does not know is not there."""
    is_cut, text = _HOLE.search(text) is not None, before_errors(text)
    outside, plan = _split(text)
    drifted, drift_blocks = _read_blocks(outside)
    planned, blocks = _read_blocks(plan)
    outputs = _OUTPUTS.search(plan)
    return RunText(
        planned=planned or tuple(_messages(text, "planned_change")),
        drifted=drifted or tuple(_messages(text, "resource_drift")),
        done=tuple((_WORDS[done[2]], done[1]) for done in _DONE.finditer(text)) or tuple(_done_messages(text)),
        blocks=blocks,
        drift_blocks=drift_blocks,
        outputs=_as_block(outputs[1]) if outputs else "",
        is_cut=is_cut,
        has_begun=_BEGUN.search(text) is not None
        or any(True for _ in read_messages(text.splitlines(), "apply_start", _Message)),
    )


def _split(text: str) -> tuple[str, str]:
    """What is told of changes outside Terraform, and what is told after it."""
    note = _OUTSIDE.search(text)
    if note is None:
        return "", text
    ends = [found.start() for form in (_RULE, _ACTIONS) if (found := form.search(text, note.end()))]
    end = min(ends, default=len(text))
    return text[note.end() : end], text[end:]


def _read_blocks(text: str) -> tuple[Rows, dict[str, str]]:
    headers = list(_HEADER.finditer(text))
    rows: list[tuple[str, str]] = []
    blocks: dict[str, str] = {}
    for number, header in enumerate(headers):
        end = headers[number + 1].start() if number + 1 < len(headers) else len(text)
        if margin := _MARGIN.search(text, header.end(), end):
            end = margin.start()
        action = _PHRASES.get(header[2], "")
        address = header[3] if action == "move" and header[3] else header[1]
        block = text[header.start() : end]
        if action:
            besides = [word for word, line in _BESIDES.items() if f"\n{line}" in block]
            rows.append((", ".join([action, *besides]), address))
        blocks.setdefault(address, _as_block(block))
    return tuple(rows), blocks


def _messages(text: str, name: str) -> Iterator[tuple[str, str]]:
    for message in read_messages(text.splitlines(), name, _Message):
        if message.change is not None and message.change.action in _PLANNED_JSON:
            yield _PLANNED_JSON[message.change.action], message.change.resource.addr


def _done_messages(text: str) -> Iterator[tuple[str, str]]:
    for message in read_messages(text.splitlines(), "apply_complete", _Message):
        if message.hook is not None and message.hook.action in _DONE_JSON:
            yield message.hook.action, message.hook.resource.addr


def _as_block(text: str) -> str:
    return "\n".join(_diff_lines(text.rstrip().split("\n")))


def _diff_lines(lines: Iterable[str]) -> Iterator[str]:
    """
    Of a text of several lines Terraform's marks stand 4 columns right of the opening's own, in front of the words; its
    end stands 2 columns left of them.
    """
    column = 0  # Of these marks; 0 outside such a text.
    for line in lines:
        if column and not line.startswith(" " * (column - 2) + "EOT"):
            is_marked = not line[:column].strip() and line[column : column + 2] in _OF_LINES
            yield _as_diff(line) if is_marked else _indented(line)
            continue
        opening = _OPENING.fullmatch(line)
        column = len(opening[1]) + (4 if opening[2] else 2) if opening else 0
        yield _as_diff(line)


def _as_diff(line: str) -> str:
    """Put Terraform's mark where a diff has it, and nothing of the value's own there."""
    found = _MARK.match(line)
    if found is None:
        return f"  {line.strip()}" if line.lstrip().startswith("# ") and line[:3].strip() else _indented(line)
    return f"{_AS_DIFF[found[2]]}{found[1]}{' ' * (len(found[2]) - 1)}{line[found.end() :]}"


def _indented(line: str) -> str:
    return f" {line}" if line else line
