"""
What the system refuses us: no defect of ours, and no error that somebody has foreseen where it came up.

A disk is full, a limit is too low, a folder is gone or may not be entered. Whoever can do without goes on, and whoever
knows more says more; what is left arrives here, as an OSError or a UnicodeError, and gets its sentence.
"""

from __future__ import annotations

import errno
import os

from tfguard import files
from tfguard.errors import SurroundingsError
from tfguard.text import printable

#: Error → what to do about it, for a person. Any other (a bad descriptor, a bad argument) is a defect of ours.
_ADVICE = {
    errno.EMFILE: "Allow this shell more open files: ulimit -n 256",
    errno.ENFILE: "The whole machine has too many files open.",
    errno.ENOSPC: "Make room on that disk, or let the output go elsewhere.",
    errno.EDQUOT: "Make room on that disk, or let the output go elsewhere.",
    errno.EFBIG: "Files may not become so large here: see ulimit -f.",
    errno.EROFS: "It lies on a file system that is read-only; name another place.",
    errno.EACCES: "Let this user use it.",
    errno.EPERM: "Let this user use it.",
    errno.ENOMEM: "Free some memory.",
    errno.EAGAIN: "Allow this user more processes: see ulimit -u.",
    errno.ENAMETOOLONG: "Give it a shorter name.",
    errno.ELOOP: "Links lead in a circle there.",
    errno.EIO: "The device does not work.",
    errno.ESTALE: "The file system has gone away.",
    errno.EPIPE: "Whoever reads our output has gone.",
    errno.ENODEV: "It is no ordinary file.",
    errno.ENXIO: "It is no ordinary file.",
    errno.EISDIR: "It should be a file.",
    errno.ENOTDIR: "Part of that path is no folder.",
    errno.ENOENT: "Make it, or name another.",
    errno.ETXTBSY: "Somebody is writing it: try again.",
}
_GONE = "The directory that we were started in is gone."


def as_refused(error: Exception) -> SurroundingsError | None:
    """Say what the system has refused; None where the error is a defect of ours."""
    if isinstance(error, UnicodeError):
        return SurroundingsError(_of_text(error), "Write it in UTF-8.")
    if not isinstance(error, OSError) or error.errno not in _ADVICE:
        return None
    if error.errno == errno.ENOENT and files.is_directory_gone():
        return SurroundingsError(_GONE, "Go to one that is there: cd")
    named = f"{_shown(error.filename)}: " if error.filename is not None else ""
    return SurroundingsError(f"{named}{os.strerror(error.errno)}.", _ADVICE[error.errno])


def _shown(name: object) -> str:
    return printable(os.fsdecode(name) if isinstance(name, (bytes, str)) else str(name), 120)


def _of_text(error: UnicodeError) -> str:
    if isinstance(error, (UnicodeEncodeError, UnicodeDecodeError)):
        found = error.object[max(0, error.start - 20) : error.end + 20]
        return f"{printable(ascii(found), 90)} cannot be read or written as {error.encoding}: {error.reason}."
    return f"A text cannot be read or written: {printable(str(error), 120)}."
