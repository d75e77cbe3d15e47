"""What is said of an error: whom it is about, put before it once, and commands that address the same state again."""

from __future__ import annotations

import signal

import pytest

from tfguard.errors import NAMED, ConfigError, Interrupted, StoreDenied, TfguardCommand, TfguardError
from tfguard.report.messages.failing import failure
from tfguard.report.messages.phrases import Subject

PROD = Subject("prod", command="tfguard -p prod")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigError("it is wrong.", "Correct it."), "prod: it is wrong.\nCorrect it."),
        (ConfigError("it is wrong.", "Correct it.", about="dev"), "dev: it is wrong.\nCorrect it."),
        (ConfigError("dev is held by ana.", about=NAMED), "dev is held by ana."),
        (ConfigError("produce is wrong."), "prod: produce is wrong."),
        (ConfigError("s3/iam is wrong."), "prod: s3/iam is wrong."),
        (ConfigError("no init.", TfguardCommand("init")), "prod: no init.\nRun: tfguard -p prod init"),
        (
            ConfigError("/x is rubbish.", TfguardCommand("init", lead="Remove it and run"), about=NAMED),
            "/x is rubbish.\nRemove it and run: tfguard -p prod init",
        ),
        (
            Interrupted("stopped", signal_number=signal.SIGTERM),
            "prod: stopped by SIGTERM: nothing more is run; the lock, if held, is released.",
        ),
    ],
)
def test_an_error_is_told_with_whom_it_is_about(error: TfguardError, said: str) -> None:
    assert failure(error, PROD) == said


def test_the_lines_of_an_error_are_facts_however_they_were_given():
    errors = [StoreDenied("no.", "Ask.", action="a", resource="r"), StoreDenied("no.\nAsk.", action="a", resource="r")]

    assert {(error.what, error.advice, str(error)) for error in errors} == {("no.", ("Ask.",), "no.\nAsk.")}


def test_a_command_in_an_error_reads_as_one_without_options_where_nobody_knows_them():
    assert str(ConfigError("no init.", TfguardCommand("init"))) == "no init.\nRun: tfguard init"
