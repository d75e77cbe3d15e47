"""
Globs as git's: `*` and `?` stay within one folder, `**` does not; a folder means all that is in it.

A glob comes with the checkout, so it is no regular expression: `**/**/**/…` would have one try more ways than there are
atoms. It is an automaton whose states are the bits of a number, so each character of a path costs the same, whatever
the glob.
"""

from __future__ import annotations

import os
import re

_PARTS = re.compile(r"(\*\*/|\*+|\?)")
#: `**/**/` says no more than `**/`, and `**` followed by stars no more than `**`.
_REPEATED = re.compile(r"(?:\*\*/){2,}")
_STARS = re.compile(r"\*{3,}")


class Glob:
    """One glob, absolute. `matches` takes time in proportion to the path's length."""

    def __init__(self, text: str) -> None:
        self._letters: dict[str, int] = {}  # For each letter the states that it leads out of,
        self._any = 0  # those that any letter but a slash does,
        self._loops = 0  # those that any letter leaves as they are,
        self._loops_inside = 0  # those that any letter but a slash does,
        self._skips = [0, 0]  # and those from which the next, or the one after it, is reached without a letter.
        self._states = 0
        text = _REPEATED.sub("**/", _STARS.sub("**", os.path.normpath(text)))
        for part in _PARTS.split(text):
            self._add(part)

    def matches(self, path: str) -> bool:
        """Whether the glob means this path, or a folder on the way to it."""
        end = 1 << self._states
        now = self._reached(1)
        for letter in path:
            if letter == "/" and now & end:
                return True
            inside = 0 if letter == "/" else ~0
            onward = self._letters.get(letter, 0) | (self._any & inside)
            now = self._reached((now & onward) << 1 | now & (self._loops | (self._loops_inside & inside)))
            if not now:
                return False
        return bool(now & end)

    def _reached(self, states: int) -> int:
        while True:
            more = states | (states & self._skips[0]) << 1 | (states & self._skips[1]) << 2
            if more == states:
                return states
            states = more

    def _add(self, part: str) -> None:
        state = 1 << self._states
        if part == "**/":  # Nothing, or folders: from the state behind it only a slash leads out.
            self._skips[0] |= state
            self._skips[1] |= state
            self._loops |= state << 1
            self._letters["/"] = self._letters.get("/", 0) | state << 1
            self._states += 2
        elif part in ("*", "**"):
            self._skips[0] |= state
            if part == "*":
                self._loops_inside |= state
            else:
                self._loops |= state
            self._states += 1
        elif part == "?":
            self._any |= state
            self._states += 1
        else:
            for letter in part:
                self._letters[letter] = self._letters.get(letter, 0) | 1 << self._states
                self._states += 1
