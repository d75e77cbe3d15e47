"""What the runners of CI platforms would do with a job's log, from their own sources."""

from __future__ import annotations

import re

#: What GitHub's runner knows (`ActionCommandManager`), as far as it does anything.
_KNOWN = """
    set-env set-output save-state add-mask add-path add-matcher remove-matcher warning error notice debug group endgroup
    echo internal-set-repo-path
"""
_GITHUB = frozenset(_KNOWN.split())
_LINES = re.compile(r"\r\n|\r|\n")
_AT_START = re.compile(r"::([^ :]+)[^:]*::(.*)")  # after blanks
_WITHIN = re.compile(r"##\[([^\] ]+)[^\]]*\](.*)")
_OTHERS = re.compile(r"##(vso|teamcity)\[.*", re.IGNORECASE)


def obeyed(log: str) -> list[str]:
    """The lines that GitHub's, Azure's or TeamCity's runner obeys, between whatever stops and resumes it."""
    found: list[str] = []
    token = None
    for line in _LINES.split(log):
        if _OTHERS.search(line):
            found.append(line)
        command = _AT_START.match(line.lstrip()) or _WITHIN.search(line)
        name = command[1].lower() if command else ""
        if token is not None:
            token = None if name == token else token
        elif command and name == "stop-commands":
            found.append(line)
            token = command[2].lower()
        elif command and name in _GITHUB:
            found.append(line)
    return found
