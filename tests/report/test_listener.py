"""A new listener is a module with a `listen`, and a row: it hears how every run ended, and can harm none."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from tfguard.errors import Outcome
from tfguard.jobfiles.story import ReportFile
from tfguard.report import listener
from tfguard.report.platform_page import outputs
from tfguard.report.reporter import Reporter
from tfguard.report.run_ended import RunEnded
from tfguard.report.summary import Page, render_json

ENDED = RunEnded(
    label="prod", outcome=Outcome.FAILED, exit_code=1, lock="s/app", lock_id="0aaf", token=7, waited_seconds=1.5
)


class Webhook:
    def __init__(self) -> None:
        self.heard: list[Page] = []
        self.error: Exception | None = None

    def finish(self, page: Page) -> None:
        self.heard.append(page)
        if self.error is not None:
            raise self.error


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Webhook:
    made = Webhook()
    module = ModuleType("tests.webhook")
    module.listen = lambda environ, reports: made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tests.webhook", module)
    row = ("tests.webhook", lambda environ, reports: environ.get("WEBHOOK") == "1")
    monkeypatch.setattr(listener, "LISTENERS", (row, *listener.LISTENERS))
    monkeypatch.setattr("tfguard.report.reporter.LISTENERS", listener.LISTENERS)
    monkeypatch.setenv("TFGUARD_RECORDS", str(tmp_path))
    return made


def test_a_listener_hears_how_a_run_ended(monkeypatch: pytest.MonkeyPatch, webhook: Webhook) -> None:
    monkeypatch.setenv("WEBHOOK", "1")

    Reporter("console", -1).finish(ENDED)

    [page] = webhook.heard
    assert (page.label, page.outcome, page.exit_code, page.lock_id, page.token) == ("prod", "failed", 1, "0aaf", 7)
    assert page.waited_seconds == 1.5


def test_a_lock_that_terraform_knows_by_another_id_has_both_in_outputs_and_report(
    monkeypatch: pytest.MonkeyPatch, webhook: Webhook
) -> None:
    monkeypatch.setenv("WEBHOOK", "1")

    Reporter("console", -1).finish(msgspec.structs.replace(ENDED, force_unlock_id="1764380000000001"))

    [page] = webhook.heard
    found, shown = outputs(page), json.loads(render_json(page))
    assert (found["lock-id"], found["force-unlock-id"]) == ("0aaf", "1764380000000001")
    assert (shown["lock_id"], shown["force_unlock_id"]) == ("0aaf", "1764380000000001")


def test_who_is_not_wanted_is_not_even_imported(webhook: Webhook) -> None:
    report = Reporter("console", -1)
    report.finish(ENDED)

    assert (report.page, webhook.heard) == (None, [])


def test_a_listener_that_fails_keeps_nobody_else_from_hearing(
    monkeypatch: pytest.MonkeyPatch, webhook: Webhook, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEBHOOK", "1")
    webhook.error = RuntimeError("the server said 500")

    Reporter("console", -1, [ReportFile(path=str(tmp_path / "run.json"), limit=9000)]).finish(ENDED)

    assert '"outcome": "failed"' in (tmp_path / "run.json").read_text()
    assert "the server said 500" in capfd.readouterr().err


def test_the_line_of_a_run_without_a_lock_says_nothing_of_locks():
    unlocked = RunEnded(label="prod", outcome=Outcome.SUCCEEDED, exit_code=0)

    assert unlocked.as_event() == {"label": "prod", "outcome": "succeeded", "exit_code": 0}
