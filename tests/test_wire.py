"""Words as JSON: every byte arrives among ourselves, and others always get UTF-8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Union

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfguard.backends.local.spec import LocalSpec
from tfguard.backends.target import Target
from tfguard.guard import messages
from tfguard.jobfiles.run_record import RunRecord
from tfguard.jobfiles.story import PlanFiles, Story
from tfguard.lock.lockinfo import MAX_BYTES, LockInfo, decode
from tfguard.lock.queue_record import QueueState, Run, Ticket
from tfguard.lock.queue_record import decode as decode_queue
from tfguard.lock.queue_record import encode as encode_queue
from tfguard.lock.store import Holder
from tfguard.text import as_bytes, printable, valid
from tfguard.wire import Unpacker, pack, parse, publish, unpack

#: A name, an argument, a variable: as Python shows it.
NAMES = st.binary(max_size=12).map(os.fsdecode)
#: What else Python may hold for a text: half a pair, and what looks like an escape of ours.
TEXTS = st.one_of(NAMES, st.text(st.characters(categories=["Cs", "Cc", "Ll"])), st.just("\x00dcff"), st.just("\\u0000"))


class Kinds(msgspec.Struct, frozen=True, tag=True):
    text: str
    more: tuple[str, ...] = ()
    named: dict[str, str] = {}
    numbered: dict[int, str] = {}
    raw: bytes = b""
    part: Union[float, None] = None


@given(st.builds(Kinds, TEXTS, st.lists(TEXTS).map(tuple), st.dictionaries(TEXTS, TEXTS), raw=st.binary(max_size=3)))
def test_what_is_packed_is_unpacked_as_it_was(value: Kinds) -> None:
    line = pack(value)

    assert b"\n" not in line
    assert json.loads(line.decode())
    assert unpack(line, Kinds) == value


@given(st.lists(NAMES), NAMES, st.dictionaries(NAMES, NAMES))
def test_a_program_is_started_with_the_bytes_that_it_was_given(
    argv: list[str], directory: str, environ: dict[str, str]
) -> None:
    spawn = messages.Spawn(argv=argv, directory=directory, environ=environ)

    assert Unpacker(messages.ToKeeper).unpack(pack(spawn)) == spawn


@given(NAMES, NAMES)
def test_a_run_is_settled_where_it_ran(directory: str, config: str) -> None:
    target = Target(label=directory, path="p", backend="local", workspace="", stores=(LocalSpec(path=directory),))
    record = RunRecord(label=directory, again="", target=target, directory=directory, config=config)
    story = Story(label=directory, files=PlanFiles(plan=directory, shown=config))

    assert unpack(pack(record).decode().encode(), RunRecord) == record
    assert unpack(pack(story), Story) == story


@given(TEXTS)
def test_others_read_a_valid_text(text: str) -> None:
    published = json.loads(publish({text: [text]}).decode())

    assert published == {valid(text): [valid(text)]}
    assert publish(text) == publish(valid(text))


@given(NAMES)
def test_a_lock_record_and_a_line_can_be_stored(name: str) -> None:
    info = LockInfo(id="1", who=name, path=name)
    holder = Holder(who=name, command=name)
    state = QueueState(runs=(Run(holder=holder, ended_at=""),), tickets=(Ticket(id="2", holder=holder),))

    read = decode(info.encode())

    stored = json.loads(info.encode())["Path"]
    assert stored == valid(name)
    assert LockInfo(id="1", who=stored, path=stored).encode() == info.encode()  # OpenTofu compares both.
    assert read is not None
    assert read.path == printable(stored, MAX_BYTES)
    assert decode_queue(encode_queue(state)).runs[0].holder == Holder(who=stored, command=stored)


@given(st.binary())
def test_bytes_come_back_and_can_always_be_shown(data: bytes) -> None:
    name = os.fsdecode(data)

    assert as_bytes(name) == data
    printable(name, 10_000).encode()


@pytest.mark.parametrize(
    ("data", "shown"), [(b"J\xfcrgen", "J\ufffdrgen"), (b"\xe2\x82", "\ufffd\ufffd"), ("Jürgen".encode(), "Jürgen")]
)
def test_each_byte_that_is_no_text_is_shown_as_terraform_shows_it(data: bytes, shown: str) -> None:
    assert printable(os.fsdecode(data)) == shown


#: Classes of which nobody has asked yet, each asked of by many threads at once.
MANY_AT_ONCE = """
from __future__ import annotations
import sys, threading, msgspec
from tfguard.wire import parse

sys.setswitchinterval(1e-6)

# The outer one is half known while the inner one is looked at.
TEXT = "class Inner(msgspec.Struct):" + "".join(f"\\n    a{n}: list[dict[str, int]] = []" for n in range(30))
TEXT += "\\nclass Outer(msgspec.Struct):\\n    inner: Inner | None = None\\n    last: int = 0"
for _ in range(100):
    exec(TEXT)
    together = threading.Barrier(8)

    def ask():
        together.wait()
        parse(b'{"last":1}', Outer)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for each in threads: each.start()
    for each in threads: each.join()
"""


def test_threads_that_read_a_class_for_the_first_time_at_once_crash_nothing() -> None:
    """They crash msgspec."""
    ended = subprocess.run([sys.executable, "-c", MANY_AT_ONCE], capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr


#: What it is, and what is no value of the class that was asked for.
NOT_IT = {
    "nothing": b"",
    "cut off": b"{",
    "another class": b"[]",
    "no UTF-8": b'{"a": "\xff"}',
    "half a sign": "{'\ud800'",
    "too deep": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("content", NOT_IT.values(), ids=NOT_IT)
def test_whatever_is_not_what_was_asked_for_is_one_error(content: bytes | str) -> None:
    with pytest.raises(msgspec.DecodeError):
        parse(content, dict[str, object])
