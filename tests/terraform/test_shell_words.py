"""TF_CLI_ARGS is split as Terraform splits it, which is not as a shell does. The real ones are asked."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.eventually import patience
from tfguard.terraform.shell_words import split

#: What Terraform 1.11.4 and OpenTofu 1.6.2 make of one value each, seen in their logs; None: "invalid command line".
#: As many words as possible in one value, for each costs a start of both.
MEASURED: dict[str, tuple[str, ...] | None] = {
    # A backslash takes the next sign as it is, between double quotes too; between single ones it is nothing special.
    r"""-var=v=a\\b a\ b "a\bc" 'a\b' "a\"b" x\;y é\é""": ("-var=v=a\\b", "a b", "abc", "a\\b", 'a"b', "x;y", "éé"),
    # Quotes may stand anywhere in a word; signs that mean something to a shell mean nothing.
    """a"b c"d'e f' a'"'b "it's" $HOME ${a} ~ * [a] {b,c} # !x %d a=b""": (
        *("ab cde f", 'a"b', "it's", "$HOME", "${a}", "~", "*", "[a]", "{b,c}", "#", "!x", "%d", "a=b"),
    ),
    # What is quoted is no syntax.
    """"(a)" ';' "a&b" '<' "$(a)" '`b`'""": ("(a)", ";", "a&b", "<", "$(a)", "`b`"),
    # Blanks, tabs and line ends part words.
    "a\tb\nc\r\nd  e ": ("a", "b", "c", "d", "e"),
    # An operator ends the line, without a word of warning; of `2>` the number is gone as well.
    "a;b": ("a",),
    "a & b": ("a",),
    "a|b": ("a",),
    "a <b": ("a",),
    "a 2>b": ("a",),
    "a2>b": ("a2",),
    ";": (),
    " ": (),
    # Refused.
    '"a': None,
    "'a": None,
    "a\\": None,
    "a (b)": None,
}
#: Not read alike by the two, or by later versions.
DOUBTFUL = ['a ""', "''", r"\a", "' '", r"a\tb", r"a\nb", "`a`", "$(a)", "a)b)", "2a>b"]


@pytest.mark.parametrize(("text", "words"), MEASURED.items())
def test_it_is_split_as_it_was_measured(text: str, words: tuple[str, ...] | None) -> None:
    found = split(text)

    assert not found.is_doubtful
    assert found.is_refused == (words is None)
    assert words is None or found.words == words


@pytest.mark.parametrize("text", DOUBTFUL)
def test_what_versions_read_differently_is_not_certain(text: str) -> None:
    assert not split(text).is_certain


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1).filter(str.strip)))
def test_what_we_write_for_terraform_is_read_back(words: list[str]) -> None:
    found = split(shlex.join(words))

    assert found.words == tuple(words)
    assert not found.is_refused


def test_a_byte_that_is_no_text_is_what_go_makes_of_it() -> None:
    assert split(os.fsdecode(b"-out=pl\xff")).words == ("-out=pl\N{REPLACEMENT CHARACTER}",)


@pytest.fixture
def binaries(tofu: str) -> list[str]:
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("needs terraform")
    return [terraform, tofu]


@pytest.mark.emulator
def test_terraform_and_opentofu_still_split_so(binaries: list[str]) -> None:
    for text, words in MEASURED.items():
        for binary in binaries:
            assert asked(binary, text) == words, (binary, text)


def asked(binary: str, text: str) -> tuple[str, ...] | None:
    """The words that it adds to its own, read from its log; None where it refuses."""
    environ = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "CHECKPOINT_DISABLE": "1", "TF_LOG": "info"}
    done = subprocess.run(
        [binary, "version"],
        env={**environ, "TF_CLI_ARGS_version": text},
        capture_output=True,
        text=True,
        timeout=patience(30),
    )
    found = re.search(r'CLI command args: \[\]string\{"version"(.*)\}', done.stderr)
    if found is None:
        assert "Error parsing extra CLI args from TF_CLI_ARGS_version" in done.stdout + done.stderr
        assert done.returncode == 1
        return None
    return tuple(re.sub(r"\\(.)", r"\1", word) for word in re.findall(r'"((?:[^"\\]|\\.)*)"', found[1]))
