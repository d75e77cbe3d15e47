"""
docs/picture.svg: what `make demo` shows, as a terminal does. `make picture` plays it and draws it.

Everything in it was said by a real session; what tells nothing here, or stands at no certain place, is left out. The
demo's test compares what is said with the picture, but for numbers.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "picture.svg"
#: Who says it, and what a line must have in it to be shown.
_SHOWN = {
    "": ("Three people start", "kill -9 of all", "Nobody unlocks it"),
    "ada": (": locked (",),
    "ben": (
        "is held by ada",
        "You are 1st",
        "took the lock over",
        "The state may miss",
        ": locked after",
        "Apply complete",
    ),
    "cleo": ("is held by ada", "You are 2nd", ": locked after", "Apply complete"),
}
_COLORS = {"": "#e6edf3", "ada": "#56d4dd", "ben": "#e3b341", "cleo": "#d2a8ff"}
_SAID = re.compile(r" *(?P<who>ada|ben|cleo) \| (?P<what>.*)")
_COLUMNS = 78
_LINE, _SIGN, _EDGE, _BAR = 19, 7.85, 18, 34
_FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


class Line(NamedTuple):
    """What somebody said; the story itself if `who` is empty."""

    who: str
    what: str


def scene(output: str) -> list[Line]:
    """Return what of the demo's output is shown."""
    found: dict[tuple[str, str], Line] = {}
    for line in map(_heard, output.partition("\n$ ")[0].splitlines()):
        for word in _SHOWN[line.who]:
            if word in line.what:
                found.setdefault((line.who, word), line)  # Who waits says it anew whenever the holder is another.
    return list(found.values())


def shown(svg: str) -> list[Line]:
    """Return what a picture shows."""
    found = re.findall(r'<text class="(\w*)"[^>]*data-what="([^"]*)"', svg)
    return [Line(who, html.unescape(what)) for who, what in found]


def shape(lines: Sequence[Line]) -> list[Line]:
    """Return lines without what is another one each time: numbers, and the program's kind."""
    return [Line(line.who, re.sub(r"[0-9a-f]*\d[0-9a-f]*", "0", line.what)) for line in lines]


def drawn(lines: Sequence[Line]) -> str:
    """Return the picture: dark, like a terminal, on a light page and on a dark one."""
    rows = [row for line in lines for row in _rows(line)]
    height = _BAR + len(rows) * _LINE + _EDGE
    width = round(_COLUMNS * _SIGN + 2 * _EDGE)
    text = "\n".join(row.format(y=_BAR + (number + 1) * _LINE - 4) for number, row in enumerate(rows))
    colors = "".join(f".{who} {{ fill: {color} }} " for who, color in _COLORS.items() if who)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" \
aria-labelledby="what">
<title id="what">make demo: three runs in line for one lock; one is killed, and the next takes over</title>
<style>text {{ font: 13px {_FONT}; white-space: pre }} .story {{ fill: {_COLORS[""]}; font-weight: bold }} \
.said {{ fill: #adbac7 }} {colors}</style>
<rect width="{width}" height="{height}" rx="8" fill="#1c2128" stroke="#57606a"/>
<circle cx="20" cy="17" r="5" fill="#f47067"/><circle cx="37" cy="17" r="5" fill="#daaa3f"/>\
<circle cx="54" cy="17" r="5" fill="#57ab5a"/>
{text}
</svg>
"""


def main() -> int:
    """Play the demo, and draw it; 1 if it came to a halt."""
    done = subprocess.run([sys.executable, "-m", "demo"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return done.returncode
    PICTURE.write_text(drawn(scene(done.stdout)), encoding="utf-8")
    return 0


def _heard(line: str) -> Line:
    said = _SAID.fullmatch(line)
    return Line(said["who"], said["what"]) if said else Line("", line)


def _rows(line: Line) -> Iterator[str]:
    """The rows of one line; the first carries the whole of it, for `shown`."""
    lead = f"{line.who:>6} │ " if line.who else ""
    unbroken = re.sub(r"(?<=\d) (?=(s|min|h)\b)", "\N{NO-BREAK SPACE}", line.what)
    parts = textwrap.wrap(unbroken, _COLUMNS - len(lead), break_on_hyphens=False)
    if not line.who and not line.what.startswith("Three"):
        yield ""
    for number, part in enumerate(parts):
        whole = f' data-what="{_safe(line.what)}"' if number == 0 else ""
        whose = f'<tspan class="{line.who}">{lead if number == 0 else " " * 7 + "│ "}</tspan>' if line.who else ""
        kind = "said" if line.who else "story"
        words = f'{whose}<tspan class="{kind}">{_safe(part)}</tspan>'
        yield f'<text class="{line.who}" x="{_EDGE}" y="{{y}}"{whole}>{words}</text>'


def _safe(text: str) -> str:
    return html.escape(text).replace("{", "&#123;").replace("}", "&#125;")


if __name__ == "__main__":
    sys.exit(main())
