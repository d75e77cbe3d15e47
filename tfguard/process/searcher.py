"""
Looking for regular expressions that came with a checkout: in a process of its own, which ends by itself.

One expression of a dozen letters can take longer than anybody waits, and nothing stops it from inside the process that
tries it. This one has a bound on its own processor time, so it is the same on a busy machine. It knows nothing of what
it looks through but one file, which is there for it alone.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import warnings

from tfguard.process import bare

#: How much of a processor's time all expressions of one text may take, in seconds.
CPU_SECONDS = 2
#: A machine that gives it none for so long, in seconds, is of no use either.
_PATIENCE_SECONDS = 60
FOUND, NOT_FOUND = 0, 3  # 1 is what Python itself ends with.


def command(path: str) -> list[str]:
    """
    Return the command line that reads, in the file at `path`, a JSON list of two: what to look for, and in what texts.

    Case makes no difference. Its status is FOUND or NOT_FOUND; with any other it could not tell in time.
    """
    return bare.command("searcher", words=[path])


def main(words: list[str]) -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_PATIENCE_SECONDS)
    warnings.simplefilter("ignore")  # Of an expression that may come to mean something else.
    with open(words[0], encoding="utf-8") as file:
        patterns, texts = json.load(file)
    # Each by itself: `(?i)` may begin an expression, and would stand in the middle of them all.
    found = any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns for text in texts)
    return FOUND if found else NOT_FOUND
