"""
libpq, by psycopg's module for it, and without the rest of psycopg: nothing of that is used, and to import it takes
longer than all that we ask of a server.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Mapping
from types import ModuleType

_NAME = "psycopg"
_loading = threading.Lock()


def libpq() -> ModuleType:
    """Return `psycopg.pq`. Raises ImportError."""
    name = f"{_NAME}.pq"
    with _loading:
        if _NAME not in sys.modules and (spec := importlib.util.find_spec(_NAME)) is not None:
            sys.modules[_NAME] = package = importlib.util.module_from_spec(spec)
            importlib.import_module(name)
            package.__class__ = _Unread
        return importlib.import_module(name)


class _Unread(ModuleType):
    """A package of which only single modules have been loaded: the whole is, once somebody wants something of it."""

    def __getattr__(self, name: str) -> object:
        if not name.startswith("__") and self.__spec__ and self.__spec__.loader:
            self.__class__ = ModuleType  # type: ignore[assignment]  # from now on it is what it would have been
            self.__spec__.loader.exec_module(self)
            return getattr(self, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def conninfo(given: Mapping[str, str]) -> bytes:
    """Write parameters as libpq reads them."""
    return " ".join(f"{word}='{_escaped(value)}'" for word, value in given.items()).encode()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
