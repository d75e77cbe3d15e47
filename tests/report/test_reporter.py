"""How a run ends in words: in silence for who has seen it go well, in its line of facts for everybody else."""

from __future__ import annotations

import msgspec
import pytest

from tfguard.errors import Outcome
from tfguard.report import log
from tfguard.report.reporter import Reporter
from tfguard.report.run_ended import RunEnded

WELL = RunEnded(
    label="prod/network",
    outcome=Outcome.SUCCEEDED,
    exit_code=0,
    lock="locks/prod",
    waited_seconds=0.2,
    held_seconds=3.4,
    release="released",
)
WAITED = msgspec.structs.replace(WELL, waited_seconds=35.2)
KEPT = msgspec.structs.replace(WELL, release="unknown")
FAILED = msgspec.structs.replace(WELL, outcome=Outcome.FAILED, exit_code=1)


def ending(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    ended: RunEnded,
    *,
    log_format: log.Format = "console",
    verbosity: int = 0,
    is_terminal: bool = True,
    ci: str = "",
) -> str:
    monkeypatch.setattr("os.isatty", lambda _: is_terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("CI", ci)
    log.configure(log_format, verbosity)
    Reporter(log_format, verbosity).finish(ended)
    return capfd.readouterr().err


def test_on_a_terminal_a_run_that_went_well_ends_in_silence(monkeypatch, capfd) -> None:
    assert ending(monkeypatch, capfd, WELL) == ""


def test_one_that_has_waited_says_so_in_a_sentence(monkeypatch, capfd) -> None:
    assert ending(monkeypatch, capfd, WAITED) == "prod/network: released; waited 35 s, held 3 s.\n"


@pytest.mark.parametrize("ended", [KEPT, FAILED], ids=["its lock may be kept", "it failed"])
def test_one_that_did_not_go_well_keeps_its_line(monkeypatch, capfd, ended: RunEnded) -> None:
    assert "run.finished" in ending(monkeypatch, capfd, ended)


@pytest.mark.parametrize(
    "where", [{"ci": "true"}, {"verbosity": 1}, {"log_format": "json"}, {"is_terminal": False}], ids=str
)
def test_everybody_else_gets_the_line(monkeypatch, capfd, where: dict[str, object]) -> None:
    assert "run.finished" in ending(monkeypatch, capfd, WAITED, **where)


@pytest.mark.parametrize(("ended", "told"), [(FAILED, ["cure", "told"]), (WELL, ["told"])], ids=["failed", "well"])
def test_a_failure_that_is_known_ends_with_its_cure_before_the_page_is_told(monkeypatch, capfd, ended, told) -> None:
    happened: list[str] = []

    class KnownPage:
        def cure(self) -> str:
            happened.append("cure")
            return "Run tfguard init."

        def hear(self, level: str, event: str, text: str, facts: object) -> None:
            assert (level, event) == ("warning", "failure.recognised")

        def finish(self, _: RunEnded) -> None:
            happened.append("told")

    report = Reporter("console", 0)
    report.page = KnownPage()
    log.configure("console", 0)

    report.finish(ended)

    assert happened == told
    last = capfd.readouterr().err.splitlines()[-1:]
    assert (last == ["prod/network: Run tfguard init."]) == (ended is FAILED)


@pytest.mark.parametrize("ended", [FAILED, WELL], ids=["failed", "well"])
def test_without_a_page_the_cure_is_known_by_the_last_that_went_through_us(monkeypatch, capfd, ended) -> None:
    monkeypatch.setenv("CI", "true")
    log.configure("console", 0)
    report = Reporter("console", 0)
    report.last_words = lambda: "\x1b[31m│ \x1b[0mError: Inconsistent dependency lock file\n╵\n"

    report.finish(ended)

    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("prod/network: Lock file and configuration differ:") == (ended is FAILED)
