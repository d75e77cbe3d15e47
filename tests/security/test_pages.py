"""A page and a report do nothing but tell: no link that a stranger chose, no file that a stranger named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tfguard.errors import UsageError
from tfguard.report import report_file, summary
from tfguard.report.summary import Page

ADDRESSES = [
    "https://evil.example/login",
    "www.evil.example",
    "ana@evil.example",
    "[x](https://evil.example)",
    "<a@b.c>",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_of_a_strangers_stands_where_markdown_would_make_a_link_of_it(address: str) -> None:
    page = Page(label=address, outcome="failed", who=address, run=address, text=address, notes=(address,))

    read_as_markdown = [token.content for token in MarkdownIt().parse(summary.render(page)) if token.type == "inline"]

    assert not [text for text in read_as_markdown if "evil" in text or "@" in text]


def write(path: Path) -> None:
    (report,) = report_file.read_options([str(path)], None)
    report_file.write(report, Page(label="x", outcome="succeeded"))


@pytest.mark.parametrize("target", ["victim.md", "nowhere.md", "folder/victim.md"])
def test_a_report_replaces_a_link_and_never_what_it_names(tmp_path: Path, target: str) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("victim.md", "folder/victim.md"):
        (tmp_path / name).write_text("precious")
    (tmp_path / "r.md").symlink_to(tmp_path / target)

    write(tmp_path / "r.md")

    assert not (tmp_path / "r.md").is_symlink()
    assert "<h3>" in (tmp_path / "r.md").read_text()
    assert {(tmp_path / name).read_text() for name in ("victim.md", "folder/victim.md")} == {"precious"}
    assert not (tmp_path / "nowhere.md").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "r.json", "main.tf", "x.md.tf", "."])
def test_a_link_to_what_is_no_report_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "r.md").symlink_to(target)

    with pytest.raises(UsageError, match="is a link to"):
        report_file.read_options([str(tmp_path / "r.md")], None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_users_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.md").symlink_to("other.md")
    os.lchown(tmp_path / "r.md", 1234, 1234)

    with pytest.raises(UsageError, match="another user's link"):
        report_file.read_options([str(tmp_path / "r.md")], None)


def test_a_link_that_came_meanwhile_is_replaced_too(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (report,) = report_file.read_options([str(tmp_path / "r.md")], None)
    (tmp_path / "r.md").symlink_to("victim")

    report_file.write(report, Page(label="x", outcome="succeeded"))

    assert (tmp_path / "victim").read_text() == "precious"
