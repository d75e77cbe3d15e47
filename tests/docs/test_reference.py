"""The tables of the reference are current, each stands in one page, and each example is what it says."""

from __future__ import annotations

import ast
import inspect as inspect_source
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.support.pages import page, pages
from tfguard.commands import lock_facts
from tfguard.config.file import inspect
from tfguard.findings import Finding
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


#: Of the program itself, which nobody is to set or to read; or the inputs of the action on their way.
INTERNAL = r"TFGUARD_(INPUT|TEST|PINNED|BEFORE)_|TFGUARD_(COMPLETE|SENTINEL|OIDC_TOKEN)\b"


def test_every_variable_of_ours_is_in_the_reference() -> None:
    sources = [*(reference.ROOT / "tfguard").rglob("*.py"), *(reference.ROOT / "action").rglob("*.py")]
    found = {name for each in sources for name in re.findall(r"\bTFGUARD_[A-Z_]+\b", each.read_text(encoding="utf-8"))}
    told = set(re.findall(r"\bTFGUARD_[A-Z_]+\b", page("reference/environment")))

    assert {name for name in found if not re.match(INTERNAL, name) and not name.endswith("_")} <= told


@pytest.mark.parametrize("name", ["facts_of", "_lock_facts", "_ticket_facts", "run_facts"])
def test_each_key_of_the_json_is_in_the_reference(name: str) -> None:
    tree = ast.parse(inspect_source.getsource(getattr(lock_facts, name)))
    made = next(node.value for node in ast.walk(tree) if isinstance(node, ast.Return))
    assert isinstance(made, ast.Dict)
    keys = {str(key.value) for key in made.keys if isinstance(key, ast.Constant)}
    table = page("reference/outputs").partition(f"<!-- keys: {name} -->")[2].strip().partition("\n\n")[0]

    assert set(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in table.splitlines()))) == keys


def test_each_key_of_a_finding_is_in_the_reference() -> None:
    section = page("reference/outputs").partition("doctor --json")[2].partition("## ")[0]

    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(Finding.__struct_fields__)
