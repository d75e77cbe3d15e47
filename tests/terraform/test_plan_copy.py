"""A copy of a plan with another address of its backend, and nothing else changed."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import msgspec
import pytest

from tests.terraform.test_plan_file import backend, message, number, write_plan
from tfguard.backends.target import PlannedBackend
from tfguard.errors import ConfigError
from tfguard.terraform.plan_copy import copy_with
from tfguard.terraform.plan_file import read_planned_backend

CONFIG = {"address": "https://h/x", "lock_address": "https://h/x/lock", "retry_max": None, "password": "x" * 300}


def content(config: bytes) -> bytes:
    before = number(1 << 3) + number(3) + message(2, b"variables") + number(5 << 3 | 5) + b"\0\1\2\3"
    return before + backend(b"http", config) + message(14, b"1.11.4") + number(17 << 3 | 1) + b"\7" * 8


def test_one_attribute_is_another_and_all_else_is_as_it_was(tmp_path: Path) -> None:
    unknown = msgspec.msgpack.Ext(12, b"x")
    plan = write_plan(tmp_path / "p", content(msgspec.msgpack.encode({**CONFIG, "unknown": unknown})))
    with zipfile.ZipFile(plan, "a") as archive:
        archive.writestr("tfstate", b"{}")

    copy_with(plan, tmp_path / "copy", {"address": "https://h/x?ID=0-1"})

    expected = msgspec.msgpack.encode({**CONFIG, "unknown": unknown, "address": "https://h/x?ID=0-1"})
    with zipfile.ZipFile(tmp_path / "copy") as archive:
        assert archive.read("tfplan") == content(expected)
        assert archive.read("tfstate") == b"{}"
    planned = read_planned_backend(tmp_path / "copy")
    assert isinstance(planned, PlannedBackend)
    assert planned.config["address"] == "https://h/x?ID=0-1"
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "plan",
    [b"\x6a\xff", b"\x6a\x05\x0a\x01x\x12\x7f", message(13, message(2, message(1, b"\xc1"))), b"\xff" * 20, b"\x6b"],
    ids=["cut", "cut inside", "no config", "no number", "no field"],
)
def test_what_cannot_be_read_is_refused_in_two_lines(tmp_path: Path, plan: bytes) -> None:
    with pytest.raises(ConfigError, match="cannot be copied for a run under our lock"):
        copy_with(write_plan(tmp_path / "p", plan), tmp_path / "copy", {"address": "a"})


def test_a_place_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "p", content(msgspec.msgpack.encode(CONFIG)))
    (tmp_path / "copy").write_text("theirs")

    with pytest.raises(ConfigError):
        copy_with(plan, tmp_path / "copy", {"address": "a"})

    assert (tmp_path / "copy").read_text() == "theirs"
