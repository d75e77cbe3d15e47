"""The pages hold together: no link leads nowhere, and no page is forgotten. `make docs` builds them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.pages import DOCS, README, ROOT, page, pages
from tfguard.clock import SystemClock
from tfguard.lock.store import Holder, Lease, LockRecord
from tfguard.lock.verdicts import Verdict, in_words

REPOSITORY = "https://github.com/example/tfguard"
RAW = "https://raw.githubusercontent.com/example/tfguard/main/"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def home(name: str) -> Path:
    return ROOT if name == "README" else (DOCS / name).parent


def anchors(text: str) -> set[str]:
    """The names of a page's headings, as both GitHub and mkdocs make them of plain words."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", pages())
def test_no_link_leads_nowhere(name: str) -> None:
    text = pages()[name]
    lost = []
    for link in LINK.findall(text):
        place, _, anchor = link.partition("#")
        if place.startswith(f"{REPOSITORY}/"):
            there = ROOT / re.sub(r"^/(tree|blob)/main/", "", place.removeprefix(REPOSITORY))
            is_there = place == f"{REPOSITORY}/issues" or there.exists()
        elif place.startswith(RAW):
            is_there = (ROOT / place.removeprefix(RAW)).exists()
        elif place.startswith("https://"):
            continue
        else:
            there = home(name) / place if place else None
            is_there = there is None or there.exists()
            is_there = is_there and (not anchor or anchor in anchors(there.read_text() if there else text))
        lost += [] if is_there else [link]

    assert lost == []


def test_every_page_is_in_the_menu_once() -> None:
    def leaves(node: Any) -> list[str]:
        if isinstance(node, str):
            return [node]
        return [leaf for part in (node.values() if isinstance(node, dict) else node) for leaf in leaves(part)]

    menu = leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])

    assert sorted(menu) == sorted(f"{name}.md" for name in pages() if name != "README")


def test_the_readme_is_read_in_a_few_minutes() -> None:
    assert len(README.splitlines()) <= 150


def test_the_readmes_links_work_on_a_package_page_too() -> None:
    assert [link for link in LINK.findall(README) if not link.startswith("https://")] == []


@pytest.mark.parametrize("verdict", Verdict)
def test_the_runbook_says_what_to_do_at_each_verdict(verdict: Verdict) -> None:
    lease = Lease(beat=1, duration_ms=1, holder=Holder(who="ana"), hold_until="2999-01-01T00:00:00Z")
    record = LockRecord(text="", info=None, lease=lease)
    word = in_words(verdict, record, SystemClock()).partition(":")[0].partition(" until")[0]

    assert re.search(rf"^\| `{word}", page("how-to/stuck"), re.MULTILINE), word
