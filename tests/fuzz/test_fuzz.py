"""The short form of `make fuzz`: every parser of strangers' bytes, for a moment."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.fuzz.fuzzing import check_repetition, examples, tolerant
from tests.fuzz.targets import CORPUS, TARGETS, Target

pytestmark = pytest.mark.fuzz
each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@each_target
def test_whatever_it_is_given_a_parser_gives_a_value_or_its_own_error(target: Target) -> None:
    @settings(max_examples=20)
    @given(text=examples(target))
    def reads(text: str) -> None:
        tolerant(target)(text)

    for kept in target.corpus():
        tolerant(target)(kept)
    reads()


@each_target
def test_its_work_grows_in_proportion_to_what_it_is_given(target: Target) -> None:
    for piece in target.pieces:
        check_repetition(target, ("", piece, ""), count=400)


#: What once took minutes, or would: a beginning, what is repeated, an end.
SLOW: dict[str, list[tuple[str, str, str]]] = {
    "duration": [("", "1", ""), ("", "1.", ""), ("", ".1", "!"), ("-", "1h", "x")],
    "tfguard.yml": [
        ("version: 1\npipelines: {p: {lock: {timeout: '", "1", "'}}}\n"),
        ("version: 1\npipelines: {p: {paths: ['", "**/", "x']}}\n"),
        ("version: 1\npipelines: {p: {retry: {init: {patterns: ['", "(", "']}}}}\n"),
        ("", "{a: ", ""),
        ("version: 1\npipelines: {p: {env: {", "A-: b, ? ", "}}}\n"),
    ],
    "glob": [("/", "**/", "x"), ("/", "**/a/", "x"), ("/", "*a", "x"), ("/", "**a", "x")],
    "hcl": [("", "<<a", ""), ("", "<<a-", " b"), ("", '"${', ""), ("", "/*", "")],
    "blocks": [("", "a {\n", ""), ("", "{", "}"), ("terraform {", "a {", "}")],
    "backend-values": [("a = ", "[", ""), ("", "a={b=", ""), ('a = "', '${"', '"')],
    "redaction": [("", "token", ""), ("", "://a:", ""), ("", "password=", "")],
    "closing": [("", "1 to forget, ", ""), ("Plan: ", "1 to import, ", "")],
}


@pytest.mark.parametrize(
    ("target", "parts"),
    [(target, parts) for target in TARGETS for parts in SLOW.get(target.name, ())],
    ids=lambda value: getattr(value, "name", None) or repr(value[1]),
)
def test_what_once_took_minutes_is_work_in_proportion(target: Target, parts: tuple[str, str, str]) -> None:
    check_repetition(target, parts)


def test_no_corpus_is_left_over_from_a_target_that_is_gone() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= {target.name for target in TARGETS}


def test_work_out_of_proportion_is_found() -> None:
    bad = Target("bad", lambda text: [text.count(sign) for sign in text], ("a", "b"))

    with pytest.raises(AssertionError, match="bad"):
        check_repetition(bad, ("", "ab", ""), count=800)
