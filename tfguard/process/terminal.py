"""The terminal that a run may have been started on, and what else may answer its questions."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
import termios


def is_foreground() -> bool:
    """Whether stdin is our controlling terminal, and we its foreground group."""
    with contextlib.suppress(OSError):
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    return False


def has_input() -> bool:
    """Whether stdin is a terminal, a file with something in it, or a pipe into which something has been written."""
    try:
        if os.isatty(0):
            return True
        found = os.fstat(0)
        if stat.S_ISREG(found.st_mode):
            return found.st_size > os.lseek(0, 0, os.SEEK_CUR)
        return bool(struct.unpack("i", fcntl.ioctl(0, termios.FIONREAD, b"\0" * 4))[0])
    except OSError:
        return False
