"""
Programs that tfguard starts for itself: which file each is, and what of the environment it gets.

They need little, and are asked about a checkout that may be a stranger's. So they get no secret, and nothing that a
pipeline's `env` could set: `config.values` refuses each of these names there.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping

from tfguard.redaction import is_secret_name

#: Which a program may be found by, and how it speaks.
_PLAIN = re.compile(r"PATH|HOME|USER|LOGNAME|TMPDIR|XDG_[A-Z_]+|SYSTEMROOT")
#: A language is a name; as a path it would be a file of somebody's choosing.
_LANGUAGES = re.compile(r"LANG|LANGUAGE|LC_[A-Z]+")
#: How version managers are told where their versions are, and which of them is meant.
MANAGERS = "ASDF|MISE|RTX|TENV|TFENV|TOFUENV|TOFUTF|TFSWITCH"
_OF_MANAGERS = re.compile(rf"({MANAGERS})_[A-Z_]+|TF_VERSION")


def environment(environ: Mapping[str, str], *, for_managers: bool = False) -> dict[str, str]:
    """Return what of these variables a program of ours gets; `for_managers`: it may be a version manager's shim."""
    return {
        name: value
        for name, value in environ.items()
        if _PLAIN.fullmatch(name)
        or (_LANGUAGES.fullmatch(name) and "/" not in value)
        or (for_managers and _OF_MANAGERS.fullmatch(name) and not is_secret_name(name))
    }


def find(name: str, environ: Mapping[str, str]) -> str:
    """
    Return where the program is on PATH. Relative entries are skipped: a working directory may hold anything.

    Raises:
        FileNotFoundError: It is nowhere there.
    """
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, name)
        if os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
