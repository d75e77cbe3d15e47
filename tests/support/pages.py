"""The pages that people read: README.md and those of docs/."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def page(name: str) -> str:
    """Return a page of docs/, named without its ending."""
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def pages() -> dict[str, str]:
    """Return each page of docs/, and README.md as ``README``, by its name without its ending."""
    names = sorted(str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md"))
    return {"README": README, **{name: page(name) for name in names}}


def blocks(text: str, kind: str = r"\w*") -> list[str]:
    """Return what stands between fences."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
