"""Tables as they come out of a pipe, and on terminals of any width."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pexpect
import pytest

from tfguard.report.table import aligned, print_table


def test_columns_are_aligned_and_lines_end_with_a_word():
    lines = aligned(("NAME", "HELD"), [("prod/network", ""), ("dev", "4 s")])

    assert lines == ["NAME          HELD", "prod/network", "dev           4 s"]


def test_strangers_words_cannot_move_the_cursor(capsys):
    print_table(("WHO",), [("ana\x1b[2J@ci",)])

    assert "\x1b" not in capsys.readouterr().out


ROOT = Path(__file__).parents[2]
TABLE = (
    "from tfguard.report.table import print_table;"
    "print_table(('LOCK', 'STATE', 'VERDICT'), [('prod/network', 'held', 'alive'),"
    " ('prod/dns', '', 'the next run will take over in 3m')])"
)
STYLES = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(columns: int, *argv: str, directory: Path = ROOT, **environ: str) -> str:
    """What the table, or a program of ours, looks like on a real terminal of that width."""
    child = pexpect.spawn(
        sys.executable,
        list(argv or ("-c", TABLE)),
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **environ},  # type: ignore[arg-type]
        dimensions=(24, columns),
        encoding="utf-8",
        timeout=60,
    )
    child.expect(pexpect.EOF)
    return child.before or ""


def lines_of(shown: str) -> list[str]:
    return [STYLES.sub("", line).rstrip() for line in shown.splitlines()]


def test_a_terminal_gets_bold_headings_and_aligned_columns():
    shown = on_terminal(100)

    assert "\x1b[1mLOCK" in shown
    assert lines_of(shown) == [
        "LOCK          STATE  VERDICT",
        "prod/network  held   alive",
        "prod/dns             the next run will take over in 3m",
    ]


def test_a_command_prints_its_table_so(tmp_path):
    terraform = tmp_path / "terraform"
    terraform.write_text("#!/bin/sh\nexit 1\n")
    terraform.chmod(0o755)
    (tmp_path / "tfguard.yml").write_text("version: 1\npipelines:\n  prod/dns: {dir: dns}\n")
    (tmp_path / "dns").mkdir()
    (tmp_path / "dns" / "main.tf").write_text('terraform {\n  backend "s3" {}\n}\n')
    path = f"{tmp_path}:{os.environ['PATH']}"

    shown = on_terminal(100, "-m", "tfguard", "status", "--all", directory=tmp_path, PATH=path, HOME=str(tmp_path))

    assert "\x1b[1m" in shown
    headings, row, *_ = lines_of(shown)
    assert headings.split() == [
        "LOCK",
        "STATE",
        "HOLDER",
        "SINCE",
        "VERDICT",
        "WAITING",
        "LAST",
        "RUN",
        "WHAT",
        "TO",
        "DO",
    ]
    assert row.split()[:4] == ["prod/dns", "unknown", "not", "initialised,"]
    assert row.endswith("  tfguard -p prod/dns init")


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colour_gets_none(environ):
    shown = on_terminal(100, **environ)

    assert not re.search(r"\x1b\[3[0-9]|\x1b\[4[0-9]", shown)
    assert "prod/network  held   alive" in shown


def test_a_longer_cell_is_folded_between_words():
    lines = lines_of(on_terminal(40))

    assert [line[21:].strip() for line in lines[2:]] == ["the next run will", "take over in 3m"]


def test_where_words_would_be_torn_each_row_has_lines_of_its_own():
    lines = lines_of(on_terminal(24))

    assert lines[:5] == ["LOCK     prod/network", "STATE    held", "VERDICT  alive", "", "LOCK     prod/dns"]
    assert " ".join(" ".join(lines[5:]).split()) == "VERDICT the next run will take over in 3m"


def test_nothing_is_lost_however_narrow_the_terminal_is():
    shown = "".join(lines_of(on_terminal(5))).replace(" ", "")

    assert shown == "LOCKprod/networkSTATEheldVERDICTaliveLOCKprod/dnsVERDICTthenextrunwilltakeoverin3m"


def test_words_have_their_colour_on_a_terminal_and_names_have_none():
    rows = "[('held', 'held', 'expired: the next takes over'), ('b', 'free', '')], {'held': 'yellow', 'expired': 'red'}"
    program = f"from tfguard.report.table import print_table; print_table(('A', 'B', 'C'), {rows})"

    coloured, plain = on_terminal(80, "-c", program), on_terminal(80, "-c", program, NO_COLOR="1")

    assert "held  \x1b[33mheld\x1b[0m  \x1b[31mexpired\x1b[0m: the next" in coloured
    assert lines_of(coloured) == lines_of(plain)
    assert "\x1b[3" not in plain
