"""Where a page about the fleet may be written: it replaces what is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfguard.commands.status import _check_page
from tfguard.errors import UsageError


@pytest.mark.parametrize("name", ["-", "pipe", "device", "stdout", "profile"])
def test_what_is_no_ordinary_file_is_left_alone(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("device").symlink_to("/dev/null")
    Path("stdout").symlink_to("printed")
    Path("profile").symlink_to(".bashrc")
    Path("printed").touch()

    with pytest.raises(UsageError, match="is no ordinary file"):
        _check_page(name)


@pytest.mark.parametrize("name", ["new.html", "old.html", "link.html", "no/such.html"])
def test_a_page_that_is_there_is_written_anew(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.html").touch()
    Path("link.html").symlink_to("../index.html")

    _check_page(name)
