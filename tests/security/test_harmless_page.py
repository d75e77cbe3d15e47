"""Whatever fails while a page is made is a warning: the run ends as it has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfguard.errors import Outcome
from tfguard.report import job_page
from tfguard.report.job_page import JobPage
from tfguard.report.run_ended import RunEnded

#: What a page is made with, each of which may fail in a way that nobody has thought of.
PARTS = [
    *(
        "find_listeners",
        "read_changes",
        "come_to",
        "annotation_lines",
        "placed",
        "Said",
        "Said.of",
        "find_commit",
        "find_job",
        "stream_for",
        "publish",
        "_print",
    ),
    *("summary.Page", "identity.identify", "secrets.token_hex", "valid"),
    *("Transcript.create", "Transcript.read", "Story.save", "run_record.forget_story"),
    *("run_record.new_path", "os.path.join"),
]
ENVIRON = {
    "GITHUB_ACTIONS": "true",
    "CI": "true",
    "TFGUARD_CI_LOG": "1",
    "RUNNER_TEMP": "/tmp",
    "GITHUB_RUN_ID": "1",
}


def tell_a_run(page: JobPage | None, folder: Path) -> None:
    """Everything that a run asks of its page, in order."""
    if page is None:
        return
    page.hear("warning", "run.failed", "it failed", {"holder": {"who": "ana"}})
    page.begin("prod").write(b"Apply complete! Resources: 1 added, 0 changed, 0 destroyed.\n")
    with page.fenced(["apply"]):
        page.hear("warning", "run.failed", "it failed again", {})
    page.note_signal(2)
    page.place_plan(None, lambda: str(folder), is_unattended=True)
    page.take_changes(b"", status=0, is_refresh_only=False)
    page.cure()
    page.finish(RunEnded(label="prod", outcome=Outcome.SUCCEEDED, exit_code=0))
    page.forget()


@pytest.mark.parametrize("part", PARTS)
def test_whatever_fails_in_a_page_ends_no_run(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    environ = {**ENVIRON, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "RUNNER_TEMP": str(tmp_path)}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    reached = []

    def fail(*_: object, **__: object) -> None:
        reached.append(part)
        raise RuntimeError("nobody has thought of it")

    monkeypatch.setattr(f"{job_page.__name__}.{part}", fail)
    tell_a_run(JobPage.of(environ), tmp_path)
    monkeypatch.undo()

    assert reached
    assert "Traceback" not in capfd.readouterr().err
