"""What was printed is kept: its beginning, its end, and how much between them is missing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfguard import files
from tfguard.jobfiles.transcript import HEAD_BYTES, TAIL_BYTES, Transcript

ROOM = HEAD_BYTES + TAIL_BYTES

Open = Callable[[Path], Transcript]


@pytest.fixture
def create() -> Iterator[Open]:
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(closing(Transcript.create(path)))


def test_what_fits_is_kept_whole(create: Open, tmp_path: Path) -> None:
    kept = create(tmp_path / "folder" / "t")

    kept.write("é wie\n".encode())
    kept.write(b"\x1b[31mError\x1b[0m")

    assert kept.read() == "é wie\n\x1b[31mError\x1b[0m"


def test_only_its_owner_can_read_the_file(create: Open, tmp_path: Path) -> None:
    create(tmp_path / "t")

    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600


def test_of_much_text_the_beginning_and_the_end_are_kept_and_the_gap_is_named(create: Open, tmp_path: Path) -> None:
    kept = create(tmp_path / "t")
    lines = [f"line {number:07}\n".encode() for number in range(200_000)]

    for at in range(0, len(lines), 5000):
        kept.write(b"".join(lines[at : at + 5000]))

    text = kept.read()
    head, _, rest = text.partition("\n… ")
    count, _, tail = rest.partition(" bytes left out …\n")
    assert head.startswith("line 0000000\n") and tail.endswith("line 0199999\n")
    assert int(count) == sum(map(len, lines)) - len(head.encode()) - len(tail.encode())
    assert all(len(line) == 12 for line in head.splitlines() + tail.splitlines())
    assert (tmp_path / "t").stat().st_size <= ROOM + 8


def test_another_process_goes_on_where_the_first_one_stopped(create: Open, tmp_path: Path) -> None:
    first = create(tmp_path / "t")
    first.write(b"one ")
    second = Transcript.find(tmp_path / "t")
    assert second is not None

    with closing(second):
        second.write(b"two ")
        first.write(b"three")

        assert second.read() == "one two three"


def test_nobody_goes_on_with_what_nobody_has_begun(tmp_path: Path) -> None:
    assert Transcript.find(tmp_path / "t") is None


def test_where_there_can_be_no_file_it_is_kept_in_memory(create: Open, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = create(tmp_path / "file" / "t")

    kept.write(b"text")

    assert kept.read() == "text"


def test_a_link_in_its_place_is_not_followed(create: Open, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    os.symlink(tmp_path / "victim", tmp_path / "t")

    create(tmp_path / "t").write(b"text")

    assert (tmp_path / "victim").read_text() == "precious"


@given(st.binary(max_size=200))
def test_rubbish_in_the_file_is_no_reason_to_fail(tmp_path_factory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("rubbish") / "t"
    files.write(path, data)
    found = Transcript.find(path)
    assert found is not None

    with closing(found):
        found.read()
        found.write(b"text")
        found.read()
