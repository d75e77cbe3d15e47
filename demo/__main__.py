"""`python -m demo`: tell the story, and exit 0; 1 where something did not happen, and what."""

from __future__ import annotations

import sys

from demo import story
from demo.runs import Stuck


def main() -> int:
    """Play, and say what went wrong in one line."""
    try:
        story.play()
    except Stuck as error:
        sys.stderr.write(f"\nThe demo came to a halt: {error}.\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
