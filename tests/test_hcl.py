"""HCL taken apart: nothing inside a text, a heredoc or a comment is taken for a block."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfguard import hcl


def taken_apart(source: str) -> list[hcl.Token]:
    return list(hcl.tokens(source))


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("region", "word"),
        ("région-2", "word"),
        ("-12.5", "number"),
        ('""', "text"),
        (r'"a \" { \\"', "text"),
        ('"${a}"', "text"),
        ('"${lookup(var.m, "{")}"', "text"),
        ('"${jsonencode({ "a" = "${b}" })} and %{ if c }d%{ endif }"', "text"),
        ('"$${ and %%{ and $ and 5%"', "text"),
        ('"${a\n+ b}"', "text"),
        ("<<EOT\n} {\nEOT", "heredoc"),
        ("<<-EOT\n  {\n  EOT", "heredoc"),
        ("<<EOT\r\n{\r\nEOT", "heredoc"),
        ("<<EOT\nEOTs\n", "broken"),
        ("/* {", "broken"),
        ('"no end', "broken"),
        ('"${no end', "broken"),
        ('"no end\\', "broken"),
        ("{", "sign"),
        ("\n", "sign"),
    ],
)
def test_what_belongs_together_is_one(source: str, kind: hcl.Kind) -> None:
    assert taken_apart(source) == [(kind, source)]


@pytest.mark.parametrize("source", ["# {", "// {", "/* {\n */", " \t\r"])
def test_comments_and_spaces_are_nothing(source: str) -> None:
    assert taken_apart(source) == []


def test_a_text_without_an_end_ends_with_its_line() -> None:
    assert taken_apart('a = "b\nc') == [
        ("word", "a"),
        ("sign", "="),
        ("broken", '"b'),
        ("sign", "\n"),
        ("word", "c"),
    ]


def test_a_heredoc_ends_at_the_first_line_that_is_its_mark() -> None:
    assert taken_apart("<<EOT\n EOT \n}") == [("heredoc", "<<EOT\n EOT"), ("sign", "\n"), ("sign", "}")]


@pytest.mark.parametrize("part", ['"', '"${', '"${"', "<<A\n", "/*", "{", "\\", '"\\', "$${", "a\n"])
def test_whatever_goes_on_and_on_comes_to_an_end(part: str) -> None:
    assert "".join(word for _, word in hcl.tokens(part * 200_000)).count("{") == (part * 200_000).count("{")


@given(st.text(alphabet='ab1-"\\$%{}<#/*=\n\r \té'))
def test_nothing_is_lost_and_nothing_added(source: str) -> None:
    at = 0
    for kind, word in hcl.tokens(source):
        assert word
        found = source.index(word, at)
        assert kind != "sign" or len(word) == 1
        at = found + len(word)


@pytest.mark.parametrize(
    ("source", "is_whole"),
    [
        ('a "b" {\n  c = [{ d = (1) }] # }\n  e = "}${f("}")}" /* { */\n}\n', True),
        ("a = <<EOT\n{ <<<<<<< EOT\nEOT\nb = 1 < 2 && 3 >= 2\n", True),
        ("a = (1 <\n  2)\n", True),
        ("a {", False),
        ("a }", False),
        ("a = [}", False),
        ('a = "\n', False),
        ("/* a", False),
        ("a = <<EOT\n", False),
        ("<<<<<<< HEAD\n=======\n>>>>>>> b\n", False),
        ("<<<<<<< HEAD\na = 1\n=======\na = 2\n>>>>>>> b\n", False),
    ],
)
def test_a_file_that_was_left_half_written_is_not_whole(source: str, is_whole: bool) -> None:
    assert hcl.is_whole(source) is is_whole
