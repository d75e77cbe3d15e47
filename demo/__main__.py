"""`python -m demo`: tell the story, and exit 0; 1 where something did not happen, and what."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

from demo import story
from demo.runs import Stuck


def main() -> int:
    """Play, and say what went wrong in one line. Whatever ends it, its runs and folders end with it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        story.play()
    except Stuck as error:
        sys.stderr.write(f"\nThe demo came to a halt: {error}.\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _end(number: int, _frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
