"""Terraform's LockInfo: written as Go writes it, read as Go reads it, and harmless to show."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfguard.clock import created, parse_created
from tfguard.lock.lockinfo import MAX_BYTES, LockInfo, decode, decode_object, new_lock_id
from tfguard.text import printable

#: Any text that can be encoded at all.
TEXTS = st.text(st.characters(exclude_categories=("Cs",)))
INSTANTS = st.datetimes(datetime(1970, 1, 2), datetime(9990, 1, 1), timezones=st.just(timezone.utc))  # noqa: DTZ001
INFOS = st.builds(
    LockInfo,
    id=TEXTS.filter(bool),
    operation=TEXTS,
    info=TEXTS,
    who=TEXTS,
    version=TEXTS,
    created=st.one_of(st.just(""), INSTANTS.map(created)),
    path=TEXTS,
)


def test_a_lock_is_written_byte_for_byte_as_terraform_writes_it():
    info = LockInfo(
        id="0aaf67c2-0001-4000-8000-000000000000",
        operation="OperationTypeApply",
        who="ana@ci-7",
        version="1.11.4",
        created="2026-11-20T10:00:00.123456Z",
        path="bucket/prod/terraform.tfstate",
    )

    assert info.encode() == (
        '{"ID":"0aaf67c2-0001-4000-8000-000000000000","Operation":"OperationTypeApply","Info":"","Who":"ana@ci-7",'
        '"Version":"1.11.4","Created":"2026-11-20T10:00:00.123456Z","Path":"bucket/prod/terraform.tfstate"}'
    )


@pytest.mark.parametrize(
    ("raw", "encoded"),
    [
        ("<&>", "\\u003c\\u0026\\u003e"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ('"\\', '\\"\\\\'),
        ("\n\r\t", "\\n\\r\\t"),
        ("\b\f", "\\b\\f"),
        ("\x00\x1f", "\\u0000\\u001f"),
        ("\x7f", "\x7f"),
        ("/", "/"),
        ("ünï ☃ 🔒", "ünï ☃ 🔒"),
    ],
)
def test_characters_are_escaped_where_go_escapes_them(raw, encoded):
    assert f'"Who":"{encoded}"' in LockInfo(id="x", who=raw).encode()


@given(INFOS)
def test_what_is_written_is_read_back_and_may_be_printed(info):
    text = info.encode()
    harmless = LockInfo(**{name: printable(value, MAX_BYTES) for name, value in msgspec.structs.asdict(info).items()})

    assert len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES or decode(text) == harmless


@given(INFOS)
def test_what_is_written_is_json_on_one_line_without_html(info):
    text = info.encode()

    assert json.loads(text)["ID"] == info.id
    assert not set(text) & set("<>&\n\r\u2028\u2029")


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("utf-8", "replace"))))
def test_no_text_makes_reading_fail(text):
    found = decode(text)

    assert found is None or found.id


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_json_makes_reading_fail(value):
    found = decode(json.dumps(value))

    assert found is None or isinstance(value, dict)


@given(st.sampled_from(["ID", "id", "Id", "iD"]), st.sampled_from(["Who", "WHO", "who"]))
def test_keys_are_read_in_any_case(id_key, who_key):
    assert decode(json.dumps({id_key: "x", who_key: "ana", "Extra": [1]})) == LockInfo(id="x", who="ana")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"x"',
        "{}",
        '{"ID": ""}',
        '{"ID": null}',
        '{"ID": 1}',
        '{"ID": "x", "Who": 1}',
        '{"ID": "x", "Who": ["a"]}',
        '{"ID": "x", "Created": "yesterday"}',
        '{"ID": "x"} trailing',
        '{"ID": "x"',
    ],
)
def test_what_terraform_cannot_read_is_no_lock_info(text):
    """A5"""
    assert decode(text) is None


def test_a_lock_of_unreasonable_size_or_depth_is_not_read():
    """A5"""
    assert decode('{"ID":"x","Who":"' + "a" * MAX_BYTES + '"}') is None
    assert decode('{"ID":"x","Who":"' + "\U0001f600" * (MAX_BYTES // 4) + '"}') is None
    assert decode('{"ID":"x","Who":' + "[" * 20_000 + "]" * 20_000 + "}") is None


def test_missing_fields_are_empty():
    assert decode('{"ID":"x","Who":null}') == LockInfo(id="x")


@given(st.text())
def test_only_objects_are_objects(text):
    assert isinstance(decode_object(text), (dict, type(None)))


@given(INSTANTS)
def test_an_instant_survives_being_written(at):
    assert parse_created(created(at)) == at


@pytest.mark.parametrize(
    ("microsecond", "fraction"), [(0, ""), (500_000, ".5"), (120, ".00012"), (123456, ".123456"), (100_000, ".1")]
)
def test_fractions_end_without_zeros(microsecond, fraction):
    at = datetime(2026, 11, 20, 10, 0, 0, microsecond, tzinfo=timezone.utc)

    assert created(at) == f"2026-11-20T10:00:00{fraction}Z"


def test_instants_are_written_in_utc():
    at = datetime(2026, 11, 20, 12, tzinfo=timezone(timedelta(hours=2)))

    assert created(at) == "2026-11-20T10:00:00Z"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T10:00:00.123456789Z", datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=timezone.utc)),
        ("2026-11-20T12:00:00+02:00", datetime(2026, 11, 20, 10, tzinfo=timezone.utc)),
        ("2026-11-20t10:00:00z", datetime(2026, 11, 20, 10, tzinfo=timezone.utc)),
        ("2026-11-20T10:00:00.5Z", datetime(2026, 11, 20, 10, 0, 0, 500_000, tzinfo=timezone.utc)),
        ("2026-13-20T10:00:00Z", None),
        ("2026-02-30T10:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("2026-11-20 10:00:00Z", None),
        ("2026-11-20T10:00:00", None),
        ("", None),
    ],
)
def test_instants_are_read_as_rfc_3339(text, expected):
    assert parse_created(text) == expected


@given(st.text())
def test_no_text_makes_reading_an_instant_fail(text):
    assert parse_created(text) is None or text[:1].isdigit()


def test_lock_ids_have_terraforms_form_and_are_never_the_same():
    ids = {new_lock_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(str(uuid.UUID(each)) == each for each in ids)


@given(st.text(), st.integers(1, 300))
def test_whatever_a_stranger_wrote_is_shown_on_one_bounded_line(text, limit):
    shown = printable(text, limit)

    assert len(shown) <= limit
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown


@pytest.mark.parametrize("evil", ["\x1b[2J", "\r", "\n", "\x9b", "\u202e", "\u2066", "\u2028", "\x07", "\x00"])
def test_what_steers_a_terminal_is_not_shown(evil):
    assert printable(f"ana{evil}@ci") == f"ana{evil.replace(evil[0], chr(0xFFFD))}@ci"
