"""
A tfguard whose first keeper breaks down: a RuntimeError at the first call of one method. Its successors are sound.

    python broken.py MODULE.CLASS.METHOD FIRED WORDS…

FIRED is created when it happens. `-I` keeps a keeper from importing anything of ours, so it is told in its own words.
"""

from __future__ import annotations

import sys
from pathlib import Path

_BROKEN = """
import importlib, sys
sys.path.append(sys.argv[2])
from tfguard.process.keeper import main
where, kind, name = {method!r}.rsplit(".", 2)
kind = getattr(importlib.import_module("tfguard." + where), kind)
sound = getattr(kind, name)
def broken(*args, **kwargs):
    setattr(kind, name, sound)
    open({fired!r}, "x").close()
    raise RuntimeError("a test breaks this")
setattr(kind, name, broken)
main(*map(int, sys.argv[3:6]))
"""


def main(method: str, fired: str, *words: str) -> None:
    from tfguard.process import launch

    sound, start = launch._KEEPER, launch._launch

    def start_the_broken_one(environ: object) -> object:
        launch._KEEPER = _BROKEN.format(method=method, fired=fired)
        launch._launch = start
        try:
            return start(environ)
        finally:
            launch._KEEPER = sound

    launch._launch = start_the_broken_one
    sys.argv = ["tfguard", *words]
    from tfguard.__main__ import main as tfguard

    tfguard()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main(*sys.argv[1:])
