"""Every row has its test, and the index is true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.faults.rows import ROWS

ROOT = Path(__file__).parents[2]
#: A test may play several rows: `test_r1_r7_…`.
_NAMED = re.compile(r"test_((?:[a-z]\d_)+)")


def named_in(path: Path) -> set[str]:
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in found if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def rows_played() -> set[str]:
    names = [name for path in Path(__file__).parent.glob("test_*.py") for name in named_in(path)]
    return {row for name in names if (found := _NAMED.match(name)) for row in found[1].strip("_").split("_")}


def test_every_row_is_a_test_here_and_every_test_a_row() -> None:
    assert rows_played() == set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_what_a_row_names_elsewhere_exists(row: str) -> None:
    for test in ROWS[row].elsewhere:
        file, _, name = test.partition("::")
        assert name in named_in(ROOT / file), test
