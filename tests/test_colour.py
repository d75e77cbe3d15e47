"""Who gets colours: people on a terminal, and those who force them."""

from __future__ import annotations

import io

import pytest

from tfguard import colour
from tfguard.findings import Finding, as_lines


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "on_a_terminal", "in_a_pipe"),
    [
        ({"TERM": "xterm"}, True, False),
        ({}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "xterm", "CI": "true"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, False),
        ({"TERM": "dumb", "CI": "true", "FORCE_COLOR": "1"}, True, True),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"FORCE_COLOR": "0", "CLICOLOR_FORCE": ""}, True, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
    ids=str,
)
def test_colours_are_wanted_as_the_customs_say(
    environ: dict[str, str], on_a_terminal: bool, in_a_pipe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "CI", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert (colour.is_wanted(Terminal()), colour.is_wanted(io.StringIO())) == (on_a_terminal, in_a_pipe)


def test_nothing_that_is_closed_is_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    closed = io.StringIO()
    closed.close()

    assert not colour.is_wanted(closed)


def test_of_a_finding_the_sign_alone_is_coloured() -> None:
    finding = Finding("binary", "failure", "none", "Get one.")

    plain, coloured = list(as_lines(finding, 8)), list(as_lines(finding, 8, is_coloured=True))

    assert plain == ["✗ binary    none", "            → Get one."]
    assert coloured == ["\x1b[31m✗\x1b[0m binary    none", plain[1]]
