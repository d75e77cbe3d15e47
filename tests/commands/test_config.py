"""`tfguard config validate`: stores and names of locks, which only the backends know."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfguard.commands.config import wrong_stores
from tfguard.config.file import inspect


@pytest.mark.parametrize(
    ("lock", "told"),
    [
        ("mode: named, name: a, store: 'xyz://a'", [("store", "xyz://a is no store.")]),
        ("mode: named, name: a, store: 's3://b?bogus=1'", [("store", "s3://b has the unknown option 'bogus'.")]),
        ("mode: named, name: a, store: 'postgres://u:hunter2@h/db'", [("store", "postgres://h/db ")]),
        ("mode: named, name: ../a, store: 's3://b'", [("name", "'../a' is no name for a lock.")]),
        ("mode: named, name: ' ', store: 's3://b'", [("name", "' ' is no name for a lock.")]),
        ("store: 'xyz://a'", [("store", "xyz://a is no store.")]),
        # What only a job knows, or this machine lacks.
        ("mode: named, name: 'a${UNSET}', store: '${UNSET}'", []),
        ("mode: named, name: a, store: 'k8s://ns'", []),
        ("mode: named, name: a, store: 'azblob://account/container'", []),
        ("mode: named, name: a, store: '${SET}'", [("store", "s3:///b names no bucket.")]),
    ],
)
def test_a_store_that_is_none_is_told_with_its_place(tmp_path: Path, lock: str, told: list[tuple[str, str]]) -> None:
    (tmp_path / "tfguard.yml").write_text(f"version: 1\npipelines:\n  p: {{lock: {{{lock}}}}}\n")
    environ = {"SET": "s3:///b"}
    config, problems = inspect(tmp_path / "tfguard.yml", environ)

    found = wrong_stores(config, environ)

    assert problems == []
    assert [each.key.rpartition(".")[2] for each in found] == [key for key, _ in told]
    assert all(each.what.startswith(what) for each, (_, what) in zip(found, told))
    assert all(f"tfguard.yml:3: pipelines.p.lock.{key}: " in str(each) for each, (key, _) in zip(found, told))
