"""Tables as they come out of a pipe."""

from __future__ import annotations

from tfguard.table import aligned, print_table


def test_columns_are_aligned_and_lines_end_with_a_word():
    lines = aligned(("NAME", "HELD"), [("prod/network", ""), ("dev", "4 s")])

    assert lines == ["NAME          HELD", "prod/network", "dev           4 s"]


def test_strangers_words_cannot_move_the_cursor(capsys):
    print_table(("WHO",), [("ana\x1b[2J@ci",)])

    assert "\x1b" not in capsys.readouterr().out
