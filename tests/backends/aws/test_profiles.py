"""The reader of AWS's shared files: what `whom` has no row for, and that nothing in a file can hurt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfguard.backends.aws.profiles import MAX_BYTES, expanded, parse, read_profiles, read_small
from tfguard.errors import StoreMisconfigured


def values(text: str) -> dict[str, dict[str, str]]:
    return {name: section.values for name, section in parse(text, "file").items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a]\nk = v", {"a": {"k": "v"}}),
        ("[a]\nk = v # why\nl = v#why\nm=v\t; why", {"a": {"k": "v", "l": "v#why", "m": "v"}}),
        ("[a]\n# no\n  ; no\nk = v", {"a": {"k": "v"}}),
        ("[a]\nk = v\n[b]\nk = w\n[a]\nk = x", {"a": {"k": "x"}, "b": {"k": "w"}}),
        ("k = lost\n[a]\nrubbish\nK : v=w", {"a": {"k": "v=w"}}),
        ('[a]\nk = \'v\'\nl = "v\nm = ""', {"a": {"k": "v", "l": '"v', "m": '""'}}),
        ("[a]\nk = one\n  two", {"a": {"k": "one\ntwo"}}),
        ("[a]\nk = one\n  l = two", {"a": {"k": "one", "l": "two"}}),
        ("[ profile\t b ] ; why", {"profile b": {}}),
        ("[a\nk = v\n]\n[]", {"": {}}),
        ("[a]\r\nk = v\r\n", {"a": {"k": "v"}}),
        ("[a]\nk = v\u2028w\x0bx", {"a": {"k": "v\u2028w\x0bx"}}),
    ],
)
def test_a_file_is_read_as_leniently_as_go_reads_it(text: str, expected: dict[str, dict[str, str]]) -> None:
    assert values(text) == expected


def test_what_is_indented_below_a_key_without_value_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("[default]\nservices = x\n[services x]\ns3 =\n  endpoint_url = http://a\n  other = b\nsts = none\n")

    found = read_profiles([str(path)], [])

    default = found.profile("default")
    assert default is not None
    assert found.service(default, "s3", "endpoint_url") == "http://a"
    assert found.service(default, "sts", "endpoint_url") == ""


@given(st.text(alphabet="[]=:#; \t\n\rabk'\"$\x00é", max_size=300))
def test_no_text_is_too_odd(text: str) -> None:
    for section in parse(text, "file").values():
        assert section.values.keys() == section.files.keys()


@pytest.mark.parametrize("unit", ["[", "[a]\n", "a = b\n", " a = b\n", "a = \n b = c\n", "\t#", "= ", "a = 'b\n c\n"])
def test_a_long_file_takes_a_moment(unit: str) -> None:
    text = "[a]\nk = v\n" + unit * (200_000 // len(unit))

    assert parse(text, "file")  # Minutes, if any of it took quadratic time.


def test_only_files_of_a_sensible_length_are_read(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"#" * (MAX_BYTES + 1))
    os.mkfifo(tmp_path / "fifo")

    for name, why in {"long": "longer than 1 MiB", "fifo": "not a file", ".": "not a file"}.items():
        with pytest.raises(StoreMisconfigured, match=why):
            read_small(str(tmp_path / name))
    with pytest.raises(StoreMisconfigured, match="not a file"):
        read_small("/dev/zero")
    assert read_small(str(tmp_path / "none")) is None
    assert read_small("a\0b") is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [("~/x", "/h/x"), ("~", "/h"), ("$A/x", "/a/x"), ("${A}/x", "/a/x"), ("$NO/x", "/x"), ("~b/x", "~b/x"), ("", "")],
)
def test_a_path_is_expanded_as_terraform_does(path: str, expected: str) -> None:
    assert expanded(path, {"HOME": "/h", "A": "/a"}) == expected
