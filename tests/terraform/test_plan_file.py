from __future__ import annotations

import os
import subprocess
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import parts
from tfguard.backends.target import PlannedBackend
from tfguard.terraform import plan_file
from tfguard.terraform.plan_file import UnreadablePlan, read_planned_at, read_planned_backend


def number(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + number(rest) if rest else bytes([low])


def message(field: int, data: bytes) -> bytes:
    return number(field << 3 | 2) + number(len(data)) + data


def backend(kind: bytes, config: bytes, workspace: bytes = b"default") -> bytes:
    return message(13, message(1, kind) + message(2, message(1, config)) + message(3, workspace))


def write_plan(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tfplan", content)
    return path


def reason(path: Path) -> str:
    found = read_planned_backend(path)
    assert isinstance(found, UnreadablePlan)
    return found.reason


def test_the_backend_and_the_age_of_a_real_plan_are_read(tmp_path: Path) -> None:
    parts.terraform()
    (tmp_path / "main.tf").write_text(
        'terraform {\n  backend "local" {\n    path = "deep/x.tfstate"\n  }\n}\nresource "terraform_data" "a" {}\n'
    )
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1"}
    for line in (["init"], ["workspace", "new", "stage"], ["plan", "-out=tf plan"]):
        subprocess.run(["terraform", *line], cwd=tmp_path, env=environ, check=True, capture_output=True)

    found = read_planned_backend(tmp_path / "tf plan")

    expected = {"path": "deep/x.tfstate", "workspace_dir": None}
    planned_at = read_planned_at(tmp_path / "tf plan")
    assert found == PlannedBackend("local", expected, "stage")
    assert planned_at is not None
    assert abs(datetime.now(timezone.utc) - planned_at) < timedelta(minutes=10)


def test_fields_before_the_backend_are_passed_over_and_extensions_are_unset(tmp_path: Path) -> None:
    config = msgspec.msgpack.encode({"bucket": "b", "later": msgspec.msgpack.Ext(0, b"\0"), "n": 3, "deep": {"a": [1]}})
    content = (
        number(1 << 3) + number(300)
        + message(3, b"x" * 200_000)
        + number(8 << 3 | 1) + b"8" * 8
        + number(9 << 3 | 5) + b"4444"
        + backend(b"s3", config)
    )  # fmt: skip

    found = read_planned_backend(write_plan(tmp_path / "plan", content))

    assert found == PlannedBackend("s3", {"bucket": "b", "later": None, "n": 3, "deep": {"a": [1]}}, "default")
    assert "bucket" not in repr(found)


def test_what_is_no_plan_has_a_reason(tmp_path: Path) -> None:
    bookmark = tmp_path / "bookmark"
    bookmark.write_text('{"remote_plan_format":1,"run_id":"run-1"}')
    text = tmp_path / "text"
    text.write_text("hello")
    os.mkfifo(tmp_path / "pipe")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("other", b"")

    assert "cloud plan" in reason(bookmark)
    assert "no saved plan" in reason(text)
    assert "no such plan file" in reason(tmp_path / "missing")
    assert "no such plan file" in reason(tmp_path / "nul\0byte")
    assert "ordinary size" in reason(tmp_path)
    assert "ordinary size" in reason(tmp_path / "pipe")
    assert "KeyError" in reason(tmp_path / "zip")
    assert "names no backend" in reason(write_plan(tmp_path / "plan", message(3, b"x")))


@pytest.mark.parametrize(
    "config",
    [b"", b"\x93\x01\x02\x03", b"\xc1", b"\x81\x01\x02", b"\x81\xa1a" * 5000, b"\x81\xa1\x80\x01"],
    ids=["none", "list", "bad", "key", "deep", "not text"],
)
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, config: bytes) -> None:
    assert "bad configuration" in reason(write_plan(tmp_path / "plan", backend(b"s3", config)))


def test_a_backend_of_no_name_is_refused(tmp_path: Path) -> None:
    assert "a name is no text" in reason(write_plan(tmp_path / "plan", backend(b"\x80", msgspec.msgpack.encode({}))))


def test_a_zip_bomb_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_file, "_MAX_PLAN_BYTES", 100_000)
    bomb = write_plan(tmp_path / "bomb", message(3, bytes(10_000_000)))
    boast = write_plan(tmp_path / "boast", number(13 << 3 | 2) + number(2**40))

    assert bomb.stat().st_size < 20_000
    assert "too large" in reason(bomb)
    assert "too large" in reason(boast)


@pytest.mark.parametrize("stamp", [b"", b"yesterday", b"\xff", b"2026-11-21"])
def test_an_age_that_is_none_is_unknown(tmp_path: Path, stamp: bytes) -> None:
    assert read_planned_at(write_plan(tmp_path / "plan", message(21, stamp))) is None
    assert read_planned_at(tmp_path / "missing") is None


@given(st.binary(max_size=64), st.integers(min_value=0, max_value=200), st.booleans())
def test_damage_never_raises(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, is_inside: bool) -> None:
    path = tmp_path_factory.mktemp("damaged") / "plan"
    content = backend(b"s3", msgspec.msgpack.encode({"bucket": "b"}))
    write_plan(path, content[:at] + noise + content[at:] if is_inside else content)
    if not is_inside:
        data = path.read_bytes()
        path.write_bytes(data[:at] + noise + data[at + len(noise) :])

    assert isinstance(read_planned_backend(path), (PlannedBackend, UnreadablePlan))
    assert read_planned_at(path) is None or not is_inside
