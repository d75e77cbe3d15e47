"""SECURITY.md says what the tests here show."""

from __future__ import annotations

import re

from tests.e2e.conftest import ROOT
from tests.support.pages import README, page

PAGE = (ROOT / "SECURITY.md").read_text()


def test_it_says_how_to_report_what_is_trusted_and_what_a_pull_requests_job_may_be_given() -> None:
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == [
        "Reporting",
        "What is trusted",
        "What is not trusted, and what is promised",
        "What a pull request's job may be given",
        "What is not promised",
    ]
    assert "SECURITY.md" in README


def test_the_commands_that_no_mark_surrounds_are_documented() -> None:
    for text in (PAGE, README, page("reference/action")):
        for word in ("`output`", "`show`", "`state pull`", "-json"):
            assert word in text
