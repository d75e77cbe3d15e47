"""The tables of the reference are current, each stands in one page, and each example is what it says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.pages import pages
from tfguard.config.file import inspect
from tools import reference


@pytest.mark.parametrize("name", [name for name, text in pages().items() if reference.names(text)])
def test_the_tables_of_a_page_are_current(name: str) -> None:
    text = pages()[name]

    assert reference.current(text) == text, "make docs writes it anew"


def test_each_table_stands_in_one_page() -> None:
    found = Counter(name for text in pages().values() for name in reference.names(text))

    assert found == Counter(list(reference.TABLES))


@pytest.mark.parametrize("path", reference.EXAMPLES)
def test_the_example_of_a_key_is_taken(tmp_path: Path, path: str) -> None:
    *above, last = path.split(".")
    beside = {"lock.mode": ", name: network, store: file:///locks", "lock.name": ", mode: named, store: file:///locks"}
    value = f"{last}: {reference.EXAMPLES[path]}{beside.get(path, '')}"
    for key in reversed(above):
        value = f"{key}: {{ {value} }}"
    file = tmp_path / "tfguard.yml"
    file.write_text(f"version: 1\npipelines:\n  prod: {{ {value} }}\n", encoding="utf-8")

    assert inspect(file, {})[1] == []
