"""
A tfguard that leaves a free lock ten times as long to each who stands ahead of it in line.

On a busy machine who is first may not come to look within the second that it is given, and is passed over: no harm, but
the order in which runs came is not the order in which they are served. A test of that order starts its runs by this.

    python unhurried.py WORDS…
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNHURRIED = (sys.executable, str(Path(__file__).resolve()))


def main(words: list[str]) -> None:
    from tests.support.eventually import patience
    from tfguard.lock import turn
    from tfguard.process import launch

    # `-I` keeps a keeper from importing anything of ours, so it is told in its own words.
    told = f"import importlib; importlib.import_module({turn.__name__!r}).TURN_SECONDS = {patience(turn.TURN_SECONDS)}"
    launch._KEEPER = launch._KEEPER.replace("; from ", f"; {told}; from ", 1)
    assert told in launch._KEEPER
    sys.argv = ["tfguard", *words]
    from tfguard.__main__ import main as tfguard

    tfguard()


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    main(sys.argv[1:])
