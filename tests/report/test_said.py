"""What Terraform said is read once in a run, however many tell of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfguard.errors import Outcome
from tfguard.jobfiles.story import ReportFile
from tfguard.jobfiles.transcript import Transcript
from tfguard.report import said
from tfguard.report.job_page import JobPage
from tfguard.report.run_ended import RunEnded

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
