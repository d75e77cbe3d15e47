"""
What single values of tfguard.yml must be beyond their types.

Each rule takes a value of the right type, its variables put in, and returns what is wrong and what to write instead,
or None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tfguard.config.document import clip
from tfguard.durations import parse_duration

Rule = Callable[[Any], "tuple[str, str] | None"]

#: What decides which programs run, and with which settings, is the operator's: it comes from the real environment.
FORBIDDEN_ENV = re.compile(
    r"PATH|HOME|(LD_|DYLD_|PYTHON|GIT_|TFGUARD_).*|TF_CLI_CONFIG_FILE|TERRAFORM_CONFIG"
    # Their profiles may name a program that gives the credentials.
    r"|AWS_CONFIG_FILE|AWS_SHARED_CONFIG_FILE|AWS_SHARED_CREDENTIALS_FILE",
    re.IGNORECASE,
)

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IDENTIFIER = re.compile(r"[^\W\d][\w-]*")
#: Terraform takes a workspace name that stands in a URL unescaped.
_WORKSPACE = re.compile(r"[A-Za-z0-9_.~$&+:=@-]+")
_STEPS = ("init", "plan", "apply")


def not_empty(value: Any) -> tuple[str, str] | None:
    return ("is empty", "Write a value, or remove the key.") if value == "" else None


def path(value: Any) -> tuple[str, str] | None:
    return ("an empty path", "Write a path, or remove the item.") if value == "" else None


def workspace(value: Any) -> tuple[str, str] | None:
    if _WORKSPACE.fullmatch(value):
        return None
    return "not a workspace name that Terraform takes", "Write letters, digits, - _ and dots."


def steps(value: Any) -> tuple[str, str] | None:
    known = [step for step in value if step in _STEPS]
    if known and known == sorted(set(known), key=_STEPS.index):
        return None
    return "steps are some of init, plan, apply, each once, in this order", "Write it like [init, plan, apply]."


def not_negative(value: Any) -> tuple[str, str] | None:
    return ("expected 0 or more", "0 means one try.") if seconds(value) < 0 else None


def positive(value: Any) -> tuple[str, str] | None:
    return ("expected more than 0", "Remove the key for no limit.") if seconds(value) <= 0 else None


def regular_expression(value: Any) -> tuple[str, str] | None:
    try:
        re.compile(value)
    except re.error as error:
        return f"not a regular expression ({clip(error.msg, 40)})", "Write it in Python's syntax."
    return None


def variable_name(name: Any) -> tuple[str, str] | None:
    if _IDENTIFIER.fullmatch(name):
        return None
    return "not a valid Terraform variable name", "Write letters, digits, _ and -."


def environment_name(name: Any) -> tuple[str, str] | None:
    if not _ENV_NAME.fullmatch(name):
        return "not a valid environment variable name", "Write letters, digits and _."
    if FORBIDDEN_ENV.fullmatch(name):
        return "may not be set here", "It steers more than Terraform: set it where tfguard is started."
    return None


def seconds(value: Any) -> float:
    """Return a duration in seconds."""
    return parse_duration(str(value))
