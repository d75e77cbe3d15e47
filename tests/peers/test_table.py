"""The docs' table is the one that the script writes."""

from __future__ import annotations

from tests.peers.__main__ import PAGE
from tests.peers.rows import ROWS


def test_the_readme_has_every_row_and_every_client() -> None:
    written = PAGE.read_text(encoding="utf-8").partition("<!-- peers -->")[2].partition("<!-- /peers -->")[0]
    heading, _, *rows = [line.strip("| ").split(" | ") for line in written.strip().splitlines()]

    assert heading[1] == "plain Terraform" and heading[-1] == "tfguard"
    assert [row[0] for row in rows] == list(ROWS)
    assert all(len(row) == len(heading) for row in rows)
