"""
How our small helpers are started: a bare Python that imports nothing but the standard library and what is named.

`-I`: nothing of the caller's environment or directory is imported. `-S`: no installed package either, so it is quick.
`-X utf8`: whatever the locale is, a name's bytes mean the same to all of us.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])
_CODE = (
    "import sys; sys.path.append(sys.argv.pop(1)); from tfguard.process.{module} import main;"
    " sys.exit(main(*map(int, sys.argv[2:{end}]){rest}))"
)


def name_in(words: Sequence[bytes]) -> bytes:
    """
    Return the name that a process of ours shows in its command line, however it was started; empty of any other.

    It stands behind Python's options, its code and the path that the code takes; of a fork, behind the program.
    """
    rest = deque(words[1:])
    while rest and rest[0].startswith(b"-"):
        option = rest.popleft()
        if option in (b"-X", b"-c") and rest:
            rest.popleft()
        if option == b"-c":
            break
    return next((word for word in list(rest)[:2] if word.startswith(b"tfguard-")), b"")


def command(module: str, *numbers: int, words: list[str] | None = None) -> list[str]:
    """The command line that calls `main` of a module of this package: with these numbers, then a list of words."""
    end = 2 + len(numbers)
    code = _CODE.format(module=module, end=end, rest="" if words is None else f", sys.argv[{end}:]")
    name = f"tfguard-{module}"
    return [sys.executable, "-I", "-S", "-X", "utf8", "-c", code, _ROOT, name, *map(str, numbers), *(words or [])]
