from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfguard.config.document import Problem, read_document
from tfguard.config.file import inspect
from tfguard.errors import ConfigError


def read(tmp_path: Path, text: str | bytes) -> Any:
    file = tmp_path / "tfguard.yml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_document(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("NO", "NO"),
        ("on", "on"),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("-3", -3),
        ("1_000", "1_000"),
        ("22:30", "22:30"),
        ("2024-01-01", "2024-01-01"),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        ("1e999", "1e999"),
        ("~", None),
        ("", None),
        ("null", None),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("! 1", "1"),
        ("=", "="),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(tmp_path: Path, text: str, value: Any) -> None:
    document = read(tmp_path, f"key: {text}\n")

    found = document.root.plain()["key"]

    assert (found, type(found)) == (value, type(value))


def test_keys_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    document = read(tmp_path, "NO: a\n1: b\ntrue: c\n")

    assert document.root.plain() == {"NO": "a", "1": "b", "true": "c"}


def test_every_value_knows_its_line(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 1\nb:\n  c:\n    - x\n    - y\n  d: {e: 2}\n")

    lines = [document.line(path) for path in [("a",), ("b",), ("b", "c"), ("b", "c", 1), ("b", "d", "e")]]

    assert lines == [1, 2, 3, 5, 6]


def test_what_is_missing_stands_where_its_map_stands(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 1\nb:\n  c: 2\n")

    assert document.where(("b", "missing", "more")).endswith("tfguard.yml:2")


def test_anchors_aliases_and_merge_keys_work(tmp_path: Path) -> None:
    text = "x-base: &base {a: 1, b: 2}\nx-more: &more {b: 3, c: 4}\none: {<<: *base, a: 9}\ntwo: {<<: [*base, *more]}\n"

    plain = read(tmp_path, text).root.plain()

    assert plain["one"] == {"a": 9, "b": 2}
    assert plain["two"] == {"a": 1, "b": 2, "c": 4}


def test_an_alias_stands_on_its_own_line(tmp_path: Path) -> None:
    document = read(tmp_path, "x: &x 1\na:\n  b: *x\n")

    assert document.line(("a", "b")) == 3


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    document = read(tmp_path, b"\xef\xbb\xbfversion: 1\n")

    assert document.root.plain() == {"version": 1}


@pytest.mark.parametrize("count", [1000, 100_000])
@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused_and_harms_nobody(tmp_path: Path, opening: str, count: int) -> None:
    with pytest.raises(ConfigError, match=r"nested more than|not valid YAML"):
        read(tmp_path, opening * count)


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))

    with pytest.raises(ConfigError, match="more than 50000 values"):
        read(tmp_path, bomb)


def test_aliases_that_pile_up_are_as_deep_as_what_they_stand_for(tmp_path: Path) -> None:
    tower = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 100))

    with pytest.raises(ConfigError, match="nested more than 40 deep"):
        read(tmp_path, tower)


def test_an_alias_inside_its_own_anchor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tfguard.yml:1: \*a refers to no anchor above"):
        read(tmp_path, "a: &a [*a]\n")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        read(tmp_path, "# " + "x" * (1 << 20))


def test_a_message_has_neither_long_lines_nor_control_characters() -> None:
    problem = Problem("tfguard.yml:1", "a\x1b[31m", "x" * 500, "line\nbreak")

    lines = str(problem).split("\n")

    assert len(lines) == 2
    assert all(len(line) <= 120 and line.isprintable() for line in lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.text(alphabet=st.sampled_from("ab:-{}[]&*!|>%@`#'\"\n\t ,?<\\0$\x00\x85é"), max_size=60) | st.binary(max_size=40)
)
def test_whatever_a_file_holds_the_answer_is_values_or_one_clear_error(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "tfguard.yml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())

    try:
        _, problems = inspect(file, {})
        messages = [str(problem) for problem in problems]
    except ConfigError as error:
        messages = [str(error)]

    assert messages, "version: 1 is missing at least"
    assert all(len(line) <= 120 for message in messages for line in message.split("\n"))
    assert all(message.count("\n") <= 2 for message in messages)
