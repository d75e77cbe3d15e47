"""
Which part of what a run has printed Terraform itself says of the run, and how it names a resource there.

Values and errors may say anything, also what looks like a line of Terraform's own. The text is without colours here.
"""

from __future__ import annotations

import re

#: From here on an apply prints values, as they are.
_VALUES = re.compile(r"^Outputs:\s*$", re.MULTILINE)
#: Errors are what Terraform prints last, but for those of an `init`, or of a lock, that another try has cured. In a
#: frame no line of theirs is at the margin.
_ERRORS = re.compile(r"^Error: (?!Error acquiring the state lock)", re.MULTILINE)
_BEGUN = re.compile(r"^\w+ (?:will perform the following actions:|has been successfully initialized!)", re.MULTILINE)

_CUT_OUT = r"\[redacted\]"
_NAME = rf"(?:[^\W\d]|{_CUT_OUT})(?:[\w-]|{_CUT_OUT})*"
#: A text among the keys may hold anything but a line's end. Where its own end was cut out with a secret, it ends there.
_KEY = rf'\[(?:\d+\]|"(?:[^"\\\n]|\\.)*"\]|"(?:[^"\\\n]|\\.)*?{_CUT_OUT})'
#: `module.a["b c"].aws_instance.web[0]`: no blank outside its keys.
ADDRESS = rf"{_NAME}(?:{_KEY})?(?:\.{_NAME}(?:{_KEY})?)+"


def before_values(text: str) -> str:
    """Return what is printed before the values of outputs."""
    return _before(_VALUES, text, 0)


def before_errors(text: str) -> str:
    """Return what is printed before the values of outputs, and before errors that have no frame."""
    begun = _BEGUN.search(text)
    return _before(_ERRORS, before_values(text), begun.end() if begun else 0)


def _before(mark: re.Pattern[str], text: str, start: int) -> str:
    found = mark.search(text, start)
    return text[: found.start()] if found else text
