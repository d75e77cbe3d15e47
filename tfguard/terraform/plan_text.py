"""
What Terraform's own text tells of single resources: what a plan would change in each, and what an apply has done to
which before it ended.

Terraform masks what is sensitive in this text itself. It stays Terraform's: only its marks move to where a `diff` has
them. The text is without colours here, and may have a hole in its middle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from tfguard.terraform.plan_json import read_messages

#: `  # aws_instance.web["a b"] will be destroyed`. What follows an address is one of these.
_HEADER = re.compile(
    r"^  # (\S.*?) (?:will (?:be|no longer)|must be|is tainted|has (?:moved|been|changed))\b", re.MULTILINE
)
#: Before this line stands what has changed outside Terraform.
_ACTIONS = re.compile(r"^Terraform will perform the following actions:", re.MULTILINE)
#: A block ends where a line begins at the margin, but for the marks that are so long that they begin there.
_MARGIN = re.compile(r"^(?!-/\+ |\+/- )\S", re.MULTILINE)
_MARK = re.compile(r"^( *)(-/\+|\+/-|[+~-]|<=)(?= )")
_AS_DIFF = {"+": "+", "-": "-", "~": "!", "-/+": "!", "+/-": "!", "<=": " "}

_DONE = re.compile(r"^(\S.*?): (Creation|Modifications|Destruction|Import) complete\b", re.MULTILINE)
_WORDS = {"Creation": "create", "Modifications": "update", "Destruction": "delete", "Import": "import"}
_DONE_JSON = frozenset(_WORDS.values())


class _Resource(msgspec.Struct):
    addr: str = ""


class _Hook(msgspec.Struct):
    resource: _Resource = msgspec.field(default_factory=_Resource)
    action: str = ""


class _Message(msgspec.Struct):
    type: str = ""
    hook: _Hook | None = None


def read_blocks(text: str) -> dict[str, str]:
    """Return what a plan's text says of each resource that it would change, by address, each as a `diff`."""
    start = found.end() if (found := _ACTIONS.search(text)) else 0
    headers = list(_HEADER.finditer(text, start))
    blocks: dict[str, str] = {}
    for number, header in enumerate(headers):
        end = headers[number + 1].start() if number + 1 < len(headers) else len(text)
        if margin := _MARGIN.search(text, header.end(), end):
            end = margin.start()
        blocks[header[1]] = "\n".join(_as_diff(line) for line in text[header.start() : end].rstrip().split("\n"))
    return blocks


def read_done(text: str) -> tuple[tuple[str, str], ...]:
    """Return (action, address) of all that an apply says it has done, in its order; of `-json` as well."""
    by_line = [(_WORDS[done[2]], done[1]) for done in _DONE.finditer(text)]
    return tuple(by_line or _done_messages(text))


def _done_messages(text: str) -> Iterator[tuple[str, str]]:
    for message in read_messages(text.splitlines(), "apply_complete", _Message):
        if message.hook is not None and message.hook.action in _DONE_JSON:
            yield message.hook.action, message.hook.resource.addr


def _as_diff(line: str) -> str:
    """Put Terraform's mark where a diff has it, and nothing of the value's own there."""
    found = _MARK.match(line)
    if found is None:
        return f"  {line.strip()}" if line.startswith("  # ") else f" {line}" if line else line
    return f"{_AS_DIFF[found[2]]}{found[1]}{' ' * (len(found[2]) - 1)}{line[found.end() :]}"
