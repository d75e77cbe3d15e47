"""
Whatever a stranger wrote where we read: a value, or the parser's own error, and never a traceback.

Beside the parsers' own modules, which have theirs: what crosses the wire, lies in a store, or is printed by another.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.support.fakes import FakeClock
from tfguard import files
from tfguard.backends.aws import dynamodb, s3
from tfguard.backends.urls import parse_store_url
from tfguard.config.variables import UnsetVariable, expand, malformed_reference
from tfguard.errors import ConfigError
from tfguard.guard import messages
from tfguard.jobfiles import run_record, story
from tfguard.lock import lockinfo, queue_record, verdicts
from tfguard.lock.lockinfo import LockInfo
from tfguard.lock.store import Holder, Lease, LockRecord
from tfguard.report.messages import operating, phrases, running, waiting
from tfguard.terraform import plan_json
from tfguard.wire import Unpacker, pack

NOW = datetime(2026, 11, 21, tzinfo=timezone.utc)
SUBJECT = phrases.Subject("prod/network")

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
HOSTILE = st.sampled_from(
    [
        "\x1b]0;owned\x07",
        "\u202egnp",
        "::error::owned",
        "\r\n::set-output name=a::b",
        "[red]",
        "{x}",
        "%s",
        "\x9b2J",
        "\0",
    ]
)
#: What JSON can say, with numbers beyond any machine's.
NUMBERS = st.integers() | st.sampled_from([10**30, -(10**30), 10**400, 1e308, -1e308, 5e-324, 2**63, -1])
COUNTS = st.integers(0, 2**53)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT | HOSTILE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
HOLDERS = st.builds(Holder, who=TEXT | HOSTILE, command=TEXT | HOSTILE, run=TEXT | HOSTILE, link=TEXT | HOSTILE)
INSTANTS = TEXT | st.sampled_from(["2026-11-21T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "x"])
LEASES = st.builds(
    Lease,
    beat=COUNTS,
    duration_ms=COUNTS,
    holder=HOLDERS,
    is_changing=st.booleans(),
    token=COUNTS,
    boot=TEXT,
    sent=st.floats(allow_nan=False, allow_infinity=False),
    beaten_at=INSTANTS,
    hold_until=INSTANTS,
    reason=TEXT | HOSTILE,
)
INFOS = st.builds(
    LockInfo,
    id=TEXT | HOSTILE,
    operation=TEXT | HOSTILE,
    info=HOSTILE,
    who=TEXT | HOSTILE,
    created=INSTANTS,
    path=HOSTILE,
)
RECORDS = st.builds(LockRecord, text=TEXT, info=st.none() | INFOS, lease=st.none() | LEASES)


#: What moves a cursor, hides text or turns it round.
UNCLEAN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def is_clean(text: str) -> bool:
    """Whether text can stand on a terminal, and in a log that takes commands, without doing anything there."""
    return not UNCLEAN.search(text) and not any(line.startswith("::") for line in text.split("\n"))


def object_with(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """JSON objects of which some fields are nearly right."""
    right = st.fixed_dictionaries({}, optional={name: field | JSON for name, field in fields.items()})
    return (right | JSON).map(json.dumps)


# --- what lies in a store -------------------------------------------------------------------------------------------


@given(info=TEXT | INFOS.map(LockInfo.encode), lease=LEASES)
def test_a_lock_item_is_read_as_it_was_written(info: str, lease: Lease) -> None:
    record = LockRecord(text=info, info=lockinfo.decode(info), lease=lease)
    item = dynamodb.DynamoDBStore._item(_Spec(), record)  # type: ignore[arg-type]  # it needs a spec alone

    assert dynamodb._record(item) == record


@given(
    item=st.dictionaries(
        st.sampled_from(["Info", "TfguardBeat", "TfguardLease", "Queue", "Revision", "LockID"]),
        st.dictionaries(st.sampled_from(["S", "N", "BOOL", "NULL", "L"]), TEXT | JSON, max_size=1),
        max_size=6,
    )
)
def test_any_item_is_a_record_and_only_a_whole_lease_is_one(item: dict[str, Any]) -> None:
    record = dynamodb._record(item)
    line = dynamodb._queue(item)

    assert isinstance(record, LockRecord)
    assert record.lease is None or item["TfguardBeat"]["N"] == str(record.lease.beat)
    assert isinstance(
        queue_record.decode(line.text) if isinstance(line.text, str) else queue_record.QueueState(),
        queue_record.QueueState,
    )


@given(info=INFOS, lease=st.none() | LEASES)
def test_a_lock_object_is_read_as_it_was_written(info: LockInfo, lease: Lease | None) -> None:
    text = info.encode()

    assert s3._split(s3._body(LockRecord(text=text, info=info, lease=lease)).decode()) == (text, lease)


@given(body=TEXT | object_with(ID=TEXT, tfguard=LEASES.map(msgspec.to_builtins)))
def test_any_object_is_text_and_perhaps_a_lease(body: str) -> None:
    text, lease = s3._split(body)

    assert body.startswith(text[:-1])
    assert lease is None or isinstance(lease, Lease)


@given(
    text=TEXT
    | object_with(token=NUMBERS, runs=st.lists(JSON), tickets=st.lists(JSON), last_number=NUMBERS, errored=TEXT)
)
def test_any_queue_record_is_a_line(text: str) -> None:
    state = queue_record.decode(text)

    assert queue_record.decode(queue_record.encode(state)) == state


@given(content=st.binary(max_size=60) | object_with(revision=NUMBERS, queue=TEXT).map(str.encode))
def test_any_queue_file_is_a_line(content: bytes) -> None:
    found = queue_record.decode_record(content)

    assert queue_record.decode(found.text) is not None
    assert queue_record.decode_record(queue_record.encode_record(found)) == found


# --- what is shown of it --------------------------------------------------------------------------------------------


@given(record=RECORDS, has_leases=st.booleans(), seconds=st.floats(0, 1e9))
def test_whatever_a_record_says_is_told_on_clean_short_lines(
    record: LockRecord, has_leases: bool, seconds: float
) -> None:
    clock = FakeClock()
    verdict = verdicts.judge(record, clock, has_leases=has_leases)
    told = [
        verdicts.in_words(verdict, record, clock),
        waiting.busy(SUBJECT, record, NOW, waited_seconds=seconds),
        waiting.took_over(SUBJECT, record, NOW),
        waiting.takeover_refused(SUBJECT, record, NOW),
        running.lost(SUBJECT, "another's", record, NOW),
        operating.not_held(SUBJECT, record, NOW),
        operating.is_alive(SUBJECT, record, NOW),
        operating.has_changed(SUBJECT, record, NOW),
        operating.needs_answers(SUBJECT, record, NOW),
        operating.unlocked(SUBJECT, record, NOW, is_written=True),
    ]

    for text in told:
        assert is_clean(text), text
        assert len(text) < 2000


# --- what crosses the wire, and what others print -------------------------------------------------------------------

MESSAGES = [*get_args(messages.ToKeeper), *get_args(messages.ToFront)]
NAMES = [kind.__name__ for kind in MESSAGES]


#: What two processes of ours say to each other is any text that Python has, and numbers that JSON has.
st.register_type_strategy(str, st.text(st.characters(categories=["L", "Cs", "Cc", "P"]), max_size=8))
st.register_type_strategy(int, COUNTS)
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_message_arrives_as_it_was_sent(kind: type) -> None:
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(message=st.from_type(kind))
    def arrives(message: Any) -> None:
        side = messages.ToKeeper if kind in get_args(messages.ToKeeper) else messages.ToFront
        # hypothesis gives a default that is made anew each time as what makes it.
        sent = msgspec.convert(msgspec.to_builtins(message, enc_hook=lambda default: default.factory()), type=kind)
        assert Unpacker(side).unpack(pack(sent)) == sent

    arrives()


@given(
    line=st.binary(max_size=40)
    | object_with(type=st.sampled_from([kind.__name__ for kind in MESSAGES])).map(str.encode)
)
def test_any_line_on_the_wire_is_a_message_or_is_refused(line: bytes) -> None:
    for side in (messages.ToKeeper, messages.ToFront):
        try:
            message = Unpacker(side).unpack(line)
        except (msgspec.DecodeError, UnicodeError):
            continue
        assert type(message) in get_args(side)


CHANGES = st.lists(st.fixed_dictionaries({}, optional={"address": TEXT | JSON, "change": JSON}), max_size=3)


@given(text=st.binary(max_size=60) | object_with(resource_changes=CHANGES, output_changes=JSON).map(str.encode))
def test_any_plan_is_changes_or_nothing(text: bytes) -> None:
    changes = plan_json.read_changes(text)

    assert changes is None or changes.add >= 0


@given(text=TEXT | st.from_regex(r"(Plan: |Apply complete! Resources: )[0-9]{0,30} (to )?add(ed)?, .{0,30}"))
def test_any_closing_line_is_changes_or_nothing(text: str) -> None:
    changes = plan_json.read_closing(text)

    assert changes is None or (changes.add, changes.change, changes.destroy) >= (0, 0, 0)


# --- what lies on a disk --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "record.json"


@given(content=st.binary(max_size=60) | object_with(label=TEXT, again=TEXT, target=JSON, token=NUMBERS).map(str.encode))
def test_any_run_record_is_one_or_none(place: Path, content: bytes) -> None:
    for path in (place, place.with_suffix(run_record.STORY_SUFFIX)):
        files.write(path, content)

    assert run_record.read(place) is None or run_record.read(place).label is not None
    assert story.read(place) is None or story.read(place).label is not None


# --- what a user writes ---------------------------------------------------------------------------------------------


@given(
    url=TEXT | st.builds("{}://{}{}?{}".format, st.sampled_from(["dynamodb", "s3", "file", "x"]), TEXT, TEXT, TEXT),
    name=TEXT | HOSTILE | st.sampled_from(["../x", "/etc/passwd", "a/../../b", "prod/network"]),
)
def test_any_store_is_a_place_or_one_clear_error(url: str, name: str) -> None:
    told = ""
    try:
        assert parse_store_url(url, name, {"AWS_REGION": "eu-west-1"}) and ".." not in name.split("/")
    except ConfigError as error:
        told = str(error)

    assert is_clean(told) and all(len(line) <= 120 for line in told.split("\n"))


@given(text=TEXT | st.from_regex(r"(\$\{[A-Z]{0,3}(:-)?[^}]{0,5}\}?|\$\$|\$|x)*"))
def test_any_text_expands_or_names_the_unset_variable(text: str) -> None:
    assume(malformed_reference(text) is None)
    try:
        assert isinstance(expand(text, {"A": "${B}"}), str)
    except UnsetVariable:
        assert "$" in text


class _Spec:
    """A store that has nothing but the name of its lock."""

    class _spec:  # noqa: N801 - a store calls it so
        lock_id = "bucket/key"
