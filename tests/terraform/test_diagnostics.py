"""Terraform's errors and warnings, read from what a real one has printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfguard.terraform.diagnostics import Diagnostic, read_diagnostics, read_first_error

TEXTS = Path(__file__).parent / "texts"
#: Of a failed apply of 1.11.4, with a check that warns.
ERROR = Diagnostic(
    *(
        "error",
        "local-exec provisioner error",
        "Error running command 'exit 3': exit status 3. Output:",
        "mod/main.tf",
        2,
    )
)
WARNING = Diagnostic("warning", "Check block assertion failed", "hm: 100%, really", "main.tf", 9)


@pytest.mark.parametrize("name", ["failed.txt", "failed-framed.txt"])
def test_each_has_its_place_and_what_it_says_whether_a_frame_is_drawn_or_not(name: str) -> None:
    assert read_diagnostics((TEXTS / name).read_text()) == (ERROR, WARNING)


def test_the_stream_of_json_has_the_same() -> None:
    def message(told: Diagnostic, **more: object) -> str:
        at = {"filename": told.file, "start": {"line": told.line, "column": 3}}
        facts = {"severity": told.severity, "summary": told.summary, "detail": told.detail, "range": at, **more}
        return json.dumps({"type": "diagnostic", "diagnostic": facts})

    nowhere = Diagnostic("error", "No place", "at all")
    lines = [message(WARNING), message(ERROR), message(nowhere, range=None), message(ERROR), '{"type": "diagnostic"}']

    assert read_diagnostics("\n".join(lines)) == (ERROR, nowhere, WARNING)


def test_what_follows_one_without_a_frame_is_no_part_of_it() -> None:
    text = (
        f"Warning: Argument is deprecated\n\n  on a.tf line 3:\n   3: x\n\nUse y.\n\n{'─' * 77}\n\nSaved the plan to: p"
    )

    assert read_diagnostics(text) == (Diagnostic("warning", "Argument is deprecated", "Use y.", "a.tf", 3),)


def test_values_and_words_of_other_programs_are_none() -> None:
    text = "x (local-exec): Error: no\n  Error: no\nOutputs:\n\na = <<EOT\nError: no\n\n  on main.tf line 3:\nEOT"

    assert read_diagnostics(text) == ()


def test_a_megabyte_of_beginnings_costs_no_more_than_others() -> None:
    assert len(read_diagnostics("Error: it broke\n│ \n" * 30_000)) == 1


def test_in_a_frame_stands_one_whatever_it_says() -> None:
    text = "╷\n│ Error: it broke\n│ \n│ Output:\n│ Error: Module not installed\n╵\n╷\n│ Error: two\n╵\n"

    assert [each.summary for each in read_diagnostics(text)] == ["it broke", "two"]
    assert read_first_error(text) == "Error: it broke\n\nOutput:\nError: Module not installed"


def test_the_first_error_is_no_value_of_a_plan_and_is_found_in_the_stream_of_json() -> None:
    told = {"severity": "error", "summary": "it broke", "detail": "badly", "range": {"filename": "a.tf", "start": {}}}
    told["range"]["start"]["line"] = 3  # type: ignore[index]

    assert read_first_error("      + input = <<-EOT\n            Error: no\n\nError: yes\n") == "Error: yes"
    assert read_first_error(json.dumps({"type": "diagnostic", "diagnostic": told})) == (
        "Error: it broke\n\n  on a.tf line 3\n\nbadly"
    )
