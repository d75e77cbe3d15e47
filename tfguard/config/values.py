"""
What single values of tfguard.yml must be beyond their types.

Each rule takes a value of the right type, its variables put in, and returns what is wrong and what to write instead,
or None.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

from tfguard.config.document import clip
from tfguard.durations import parse_duration
from tfguard.programs import MANAGERS

Rule = Callable[[Any], "tuple[str, str] | None"]

#: What decides which programs run, and with which settings, is the operator's: it comes from the real environment.
FORBIDDEN_ENV = re.compile(
    "|".join(
        (
            r"PATH|HOME|USER|LOGNAME|TMPDIR|XDG_.*|(LD_|DYLD_|PYTHON|GIT_|TFGUARD_).*|TF_CLI_CONFIG_FILE|TERRAFORM_CONFIG",
            # Which version a manager's shim runs may be said, but not where it lies.
            rf"({MANAGERS})_(?!(.*_)?VERSION$).*",
            # What shells and interpreters run, or read, before the program that they were started for.
            r"BASH.*|ENV|SHELL|SHELLOPTS|ZDOTDIR|PS4|IFS|CDPATH|PROMPT_COMMAND|NODE_.*|NPM_.*|DENO_.*|PERL.*|RUBY.*|GEM_.*",
            r"BUNDLE_.*|LUA_.*|PHP.*|_JAVA_OPTIONS|JAVA_.*|JDK_JAVA_OPTIONS|CLASSPATH|DOTNET_.*|CORECLR_.*|COR_.*|GOFLAGS",
            # What the C library, and who answers for certificates, loads and believes.
            r"GCONV_PATH|LOCPATH|NLSPATH|MALLOC_.*|GLIBC_TUNABLES|HOSTALIASES|RESOLV_HOST_CONF|RES_OPTIONS|LOCALDOMAIN|TZDIR",
            r"SSL_CERT_FILE|SSL_CERT_DIR|SSLKEYLOGFILE|OPENSSL_.*|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|CURL_HOME",
            # What programs start for their users.
            r"EDITOR|VISUAL|PAGER|BROWSER|LESSOPEN|LESSCLOSE|LESSKEY.*|MANPAGER|SSH_ASKPASS.*|SUDO_ASKPASS|TERMINFO.*|TERMCAP",
            # AWS profiles may name a program that gives the credentials; a container's address gets a file's content.
            r"AWS_CONFIG_FILE|AWS_SHARED_CONFIG_FILE|AWS_SHARED_CREDENTIALS_FILE|AWS_CONTAINER_.*",
            r"BOTO_CONFIG|GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES|CLOUDSDK_.*",
        )
    ),
    re.IGNORECASE,
)

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IDENTIFIER = re.compile(r"[^\W\d][\w-]*")
#: Terraform takes a workspace name that stands in a URL unescaped.
_WORKSPACE = re.compile(r"[A-Za-z0-9_.~$&+:=@-]+")
_STEPS = ("init", "plan", "apply")
_MAX_PATH = 4096
#: Of all expressions together: some take long to compile.
_MAX_PATTERNS = 1000


def not_empty(value: Any) -> tuple[str, str] | None:
    return ("is empty", "Write a value, or remove the key.") if value == "" else None


def path(value: Any) -> tuple[str, str] | None:
    if len(value) > _MAX_PATH:
        return f"a path of more than {_MAX_PATH} characters", "No system has paths that long."
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


def regular_expressions(value: Any) -> tuple[str, str] | None:
    if sum(map(len, value)) > _MAX_PATTERNS:
        return f"more than {_MAX_PATTERNS} characters in all", "Look for less: a few words of an error are enough."
    return None


def regular_expression(value: Any) -> tuple[str, str] | None:
    """Each is compiled by itself, as it is looked for."""
    if len(value) > _MAX_PATTERNS:
        return None  # Said of all of them.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(value, re.IGNORECASE)
    except re.error as error:
        return f"not a regular expression ({clip(error.msg, 40)})", "Write it in Python's syntax."
    except (OverflowError, RecursionError):
        return "not a regular expression (too large)", "Write a simpler one."
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
