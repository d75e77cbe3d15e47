"""What `--expect` may name, and how an apply's flags are shared out between its plan and the apply of that plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfguard.errors import UsageError
from tfguard.run import expected
from tfguard.run.expected import Expected, read_expectation
from tfguard.terraform import command_line

PRINT = "p1-" + "0a" * 20


def test_a_fingerprint_is_taken_as_it_is() -> None:
    assert read_expectation(PRINT) == Expected(PRINT)


def test_a_report_also_says_what_was_planned(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"label": "x", "fingerprint": PRINT, "fingerprint_parts": {"a.b": "00"}}))

    assert read_expectation(str(path)) == Expected(PRINT, {"a.b": "00"})


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 9999, '{"fingerprint": ""}', '{"fingerprint": 1}', '{"fingerprint": "p1-0"}', "\x00"]
)
def test_a_report_of_no_plan_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)

    with pytest.raises(UsageError, match=r"--expect .* is (no report|the report) of"):
        read_expectation(str(path))


@pytest.mark.parametrize("given", ["", "p1-", PRINT.upper(), PRINT + "\n", f" {PRINT}", "p2-" + "0" * 40, "x.yml"])
def test_what_is_neither_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="neither a plan's fingerprint"):
        read_expectation(given)


def test_flags_are_shared_out_with_their_values() -> None:
    line = "apply -auto-approve -var-file p.tfvars -no-color -var a=b -parallelism 3 -target=x.y -json --refresh=false"
    found = command_line.parse(line.split(), {"TF_CLI_ARGS_apply": "-compact-warnings"})

    plan = expected._flags(found, lambda name: name not in expected._OF_APPLY)
    apply = expected._flags(found, lambda name: name in expected._OF_BOTH)

    assert plan == line.split()[2:]
    assert apply == ["-no-color", "-parallelism", "3", "-json"]
