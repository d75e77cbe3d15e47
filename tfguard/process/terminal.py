"""The terminal that a run may have been started on."""

from __future__ import annotations

import contextlib
import os


def is_foreground() -> bool:
    """Whether stdin is our controlling terminal, and we its foreground group."""
    with contextlib.suppress(OSError):
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    return False
