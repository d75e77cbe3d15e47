"""
The code under test: the product's own modules, compiled once more so that a deliberate fault stays in the copy.

Nothing in them is rewritten. They run unchanged, in threads of simulated time (`threads`), on simulated machines.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import tfguard
from tests.simulation.postgres import Kernel, Link

_PACKAGE = Path(tfguard.__file__).parent
#: What runs for real, each after what it imports of the others.
MODULES = (
    "lock.deadlines", "guard.watchdog", "guard.front_rules", "lock.lease", "lock.acquire", "lock.queue_record",
    "lock.queue", "lock.turn", "lock.waiting", "lock.resting", "lock.session", "guard.keeper_rules",
    "guard.handover", "backends.pg.table", "backends.pg.carrier", "backends.pg.store",
)  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """One deliberate change: `old` must stand in the module exactly once."""

    module: str
    old: str
    new: str

    def apply(self, package: Path) -> None:
        """Change the module's file in a copy of the package."""
        path = _file_of(self.module, package)
        path.write_text(self.changed(path.read_text(encoding="utf-8")), encoding="utf-8")

    def is_possible(self) -> bool:
        """Whether the source is still what this edit quotes."""
        return _file_of(self.module, _PACKAGE).read_text(encoding="utf-8").count(self.old) == 1

    def changed(self, source: str) -> str:
        found = source.count(self.old)
        if found != 1:
            raise LookupError(f"{self.module} has {found} of: {self.old}")
        return source.replace(self.old, self.new)


class Code:
    """
    One copy of the modules, as attributes. `wrong` names a fault of the simulated world's instead, if there is one.

    Signs of life are rarer than anything else in a line; here they keep step with the short leases of the simulation.
    """

    def __init__(self, edits: Iterable[Edit] = (), *, wrong: str = "") -> None:
        self.wrong = wrong
        self._modules = _load(tuple(edits))
        self.queue_record.SIGN_SECONDS = 3.0
        for name in ("os", "select", "threads", "time"):
            for module in ("carrier", "store"):
                self._modules[module].__dict__[name] = Kernel
        for name in ("table", "carrier"):
            self._modules[name].__dict__["Connection"] = Link
        for name in ("acquire", "lease", "session"):
            self._modules[name].__dict__["boot_id"] = lambda: "boot"

    def __getattr__(self, name: str) -> ModuleType:
        try:
            return self._modules[name]
        except KeyError:
            raise AttributeError(name) from None

    def name_locks_by(self, new_id: Callable[[], str]) -> None:
        """Let lock IDs be such that a seed gives the same ones each time."""
        for name in ("acquire", "waiting"):
            self._modules[name].__dict__["new_lock_id"] = new_id


def _load(edits: tuple[Edit, ...]) -> dict[str, ModuleType]:
    """Compile each module once more; return the copies by the last words of their names."""
    names = {name: f"{tfguard.__name__}.{name}" for name in MODULES}
    sound = {name: importlib.import_module(full) for name, full in names.items()}
    copies: dict[str, ModuleType] = {}
    try:
        for name, full in names.items():
            copies[name] = ModuleType(full)
            _put(full, copies[name])
            _compile(name, copies[name], edits)
    finally:
        for name, full in names.items():
            _put(full, sound[name])
    return {name.rpartition(".")[2]: copy for name, copy in copies.items()}


def _put(full: str, module: ModuleType) -> None:
    """Let whoever imports this name get this module, by either form of the statement."""
    package, _, name = full.rpartition(".")
    sys.modules[full] = module
    setattr(sys.modules[package], name, module)


def _file_of(name: str, package: Path) -> Path:
    return package.joinpath(*name.split(".")).with_suffix(".py")


def _compile(name: str, module: ModuleType, edits: tuple[Edit, ...]) -> None:
    path = _file_of(name, _PACKAGE)
    source = path.read_text(encoding="utf-8")
    for edit in edits:
        if edit.module == name:
            source = edit.changed(source)
    exec(compile(source, str(path), "exec"), module.__dict__)
