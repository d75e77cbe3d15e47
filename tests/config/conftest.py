from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tfguard.config.file import load
from tfguard.config.settings import Flags, Settings, resolve

Write = Callable[..., Path]
Resolve = Callable[..., Settings]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a tfguard.yml into a directory of its own, in which the test then works."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> Path:
        file = tmp_path / "tfguard.yml"
        file.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return file

    return write


@pytest.fixture
def settle(write: Write, tmp_path: Path) -> Resolve:
    """Give the settings of a pipeline in a file whose text is given."""

    def settle(
        text: str, pipeline: str | None = "prod", environ: Mapping[str, str] | None = None, flags: Flags | None = None
    ) -> Settings:
        environ = environ or {}
        config = load(write(text), environ)
        return resolve(config, pipeline, directory=tmp_path, environ=environ, flags=flags)

    return settle
