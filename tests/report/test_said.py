"""What Terraform said is read once in a run, however many tell of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfguard import redaction
from tfguard.errors import Outcome
from tfguard.jobfiles.story import ReportFile
from tfguard.jobfiles.transcript import Transcript
from tfguard.report import said
from tfguard.report.job_page import JobPage
from tfguard.report.run_ended import RunEnded
from tfguard.terraform.diagnostics import Diagnostic

ERROR = b"""
\xe2\x95\xb7
\xe2\x94\x82 Error: Inconsistent dependency lock file
\xe2\x95\xb5
"""


def test_its_text_is_read_once_for_all_who_tell_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    environ = {"CI": "true", "GITHUB_ACTIONS": "true", "TFGUARD_CI_LOG": "1", "RUNNER_TEMP": str(tmp_path / "jobs")}
    environ["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary")
    reports = [ReportFile(path=str(tmp_path / name), limit=65_000) for name in ("a.md", "b.md", "c.json")]
    page = JobPage.of(environ, reports)
    assert page is not None
    page.begin("prod", "apply").write(ERROR)
    counts: Counter[str] = Counter()

    def counted(name: str, read: Callable[..., Any]) -> Callable[..., Any]:
        def count(*given: Any) -> Any:
            counts[name] += 1
            return read(*given)

        return count

    names = ("plain", "read_diagnostics", "cure", "read_first_error", "read_text", "read_closing")
    for name in names:
        monkeypatch.setattr(said, name, counted(name, getattr(said, name)))
    monkeypatch.setattr(Transcript, "read", counted("the file", Transcript.read))

    found = page.cure()
    page.finish(RunEnded(label="prod", outcome=Outcome.FAILED, exit_code=1))

    assert found.startswith("Lock file and configuration differ")
    assert all(found in Path(report.path).read_text() for report in reports)
    assert counts == dict.fromkeys((*names, "the file"), 1)


def test_a_message_in_json_stays_one_whatever_is_masked_or_broken_up_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", frozenset())
    monkeypatch.setattr(redaction, "_forms", ())
    redaction.register_secrets(["hunter2"])
    detail = "\x1b[31mno\x1b[0m\r\n::error::x ##[group] \u202e password=abc hunter2 https://me:word@host/"
    told = {"severity": "error", "summary": "token=abc", "detail": detail, "range": None}
    line = json.dumps({"@level": "error", "@message": detail, "type": "diagnostic", "diagnostic": told})

    found = said.Said(f"{line}\n")

    assert found.diagnostics == (
        Diagnostic(
            "error",
            "token=[redacted]",
            "no\n: :error::x # #[group] \ufffd password=[redacted] [redacted] https://me:[redacted]@host/",
        ),
    )
    assert found.first_error.startswith("Error: token=[redacted]\n\nno\n: :error")
    assert not {"hunter2", "abc", "\\u001b"} & set(re.split(r"[ =\[]", found.plain))


def test_a_line_that_is_broken_up_keeps_its_end() -> None:
    assert said.plain("##[a] ##[b] ##[c] the end") == "# #[a] # #[b] # #[c] the end"


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_a_message_that_is_nested_however_deeply_is_masked(depth: int) -> None:
    assert "word=abc" not in said.plain(f'{{"@a":{"[" * depth}"password=abc"{"]" * depth}}}')
