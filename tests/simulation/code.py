"""
The code under test: the product's own modules, compiled once more so that a deliberate fault stays in the copy.

Nothing in them is rewritten. They run unchanged, in threads of simulated time (`threads`), on simulated machines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import tfguard

_PACKAGE = Path(tfguard.__file__).parent
#: What runs for real, each after what it imports of the others.
MODULES = (
    "deadlines", "takeover", "watchdog", "vigil", "lease", "queue", "ledger", "line", "waiting", "tenure", "conduct",
    "journal",
)  # fmt: skip


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


class Code:
    """
    One copy of the modules, as attributes. `wrong` names a fault of the simulated world's instead, if there is one.

    Signs of life are rarer than anything else in a line; here they keep step with the short leases of the simulation.
    """

    def __init__(self, edits: Iterable[Edit] = (), *, wrong: str = "") -> None:
        self.wrong = wrong
        self._modules = _load(tuple(edits))
        self.queue.SIGN_SECONDS = 3.0
        for name in ("lease", "tenure"):
            self._modules[name].__dict__["boot_id"] = lambda: "boot"

    def __getattr__(self, name: str) -> ModuleType:
        try:
            return self._modules[name]
        except KeyError:
            raise AttributeError(name) from None

    def name_locks_by(self, new_id: Callable[[], str]) -> None:
        """Let lock IDs be such that a seed gives the same ones each time."""
        for name in ("lease", "waiting"):
            self._modules[name].__dict__["new_lock_id"] = new_id


def _load(edits: tuple[Edit, ...]) -> dict[str, ModuleType]:
    names = {name: f"{tfguard.__name__}.{name}" for name in MODULES}
    before = {name: sys.modules.get(full) for name, full in names.items()}
    copies: dict[str, ModuleType] = {}
    try:
        for name, full in names.items():
            copies[name] = ModuleType(full)
            sys.modules[full] = copies[name]
            setattr(tfguard, name, copies[name])
            _compile(name, copies[name], edits)
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(names[name], None)
                delattr(tfguard, name)
            else:
                sys.modules[names[name]] = module
                setattr(tfguard, name, module)
    return copies


def _compile(name: str, module: ModuleType, edits: tuple[Edit, ...]) -> None:
    path = _PACKAGE / f"{name}.py"
    source = path.read_text(encoding="utf-8")
    for edit in edits:
        if edit.module == name:
            source = edit.changed(source)
    exec(compile(source, str(path), "exec"), module.__dict__)
