"""
The real lock code as coroutines: every call to a store becomes a point at which the scheduler may let others run.

`lease.py` calls its store and waits. To interleave thousands of such calls a second, in an order that a seed decides,
its source is compiled once more with each `store.read()` turned into `yield Request(store, "read")`, and each call to a
function that does so into `yield from`. Nothing else changes. A `Fault` is a deliberate change of the source: see
`mutants`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import tfguard

_PACKAGE = Path(tfguard.__file__).parent
_OPERATIONS = frozenset({"read", "create", "replace", "delete"})


@dataclass(frozen=True)
class Request:
    """One call to a store, on its way to the scheduler."""

    store: Any
    operation: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Edit:
    """One deliberate change: `old` must stand in the module exactly once."""

    module: str
    old: str
    new: str

    def apply(self, package: Path) -> None:
        """Change the module's file in a copy of the package."""
        path = package / f"{self.module}.py"
        path.write_text(self.changed(path.read_text(encoding="utf-8")), encoding="utf-8")

    def changed(self, source: str) -> str:
        found = source.count(self.old)
        if found != 1:
            raise LookupError(f"{self.module}.py has {found} of: {self.old}")
        return source.replace(self.old, self.new)


def load(module: str, edits: Iterable[Edit] = (), *, is_suspending: bool = True) -> ModuleType:
    """Compile `tfguard.<module>` anew, with faults, and with its store calls suspending if asked."""
    path = _PACKAGE / f"{module}.py"
    source = path.read_text(encoding="utf-8")
    for edit in edits:
        if edit.module == module:
            source = edit.changed(source)
    tree = ast.parse(source)
    if is_suspending:
        tree = ast.fix_missing_locations(_Suspending(tree).visit(tree))
    made = ModuleType(f"simulated_{module}")
    made.__dict__["Request"] = Request
    sys.modules[made.__name__] = made  # `dataclass` looks its class's module up by name.
    exec(compile(tree, str(path), "exec"), made.__dict__)
    return made


def _is_store_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _OPERATIONS
        and "store" in ast.unparse(node.func.value).lower()
    )


class _Suspending(ast.NodeTransformer):
    """Rewrites the calls. Functions are told apart by name alone, which holds within one small module."""

    def __init__(self, tree: ast.Module) -> None:
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        self.names: set[str] = set()
        while fresh := {each.name for each in functions if self._suspends(each)} - self.names:
            self.names |= fresh

    def _suspends(self, function: ast.FunctionDef) -> bool:
        return any(_is_store_call(node) or self._is_call(node) for node in ast.walk(function))

    def _is_call(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in self.names

    def visit_Call(self, node: ast.Call) -> ast.AST:
        is_store_call = _is_store_call(node)
        self.generic_visit(node)
        if is_store_call:
            assert isinstance(node.func, ast.Attribute)
            arguments = ast.Tuple(elts=node.args, ctx=ast.Load())
            request = ast.Call(
                func=ast.Name("Request", ast.Load()),
                args=[node.func.value, ast.Constant(node.func.attr), arguments],
                keywords=[],
            )
            return ast.Yield(request)
        return ast.YieldFrom(node) if self._is_call(node) else node
