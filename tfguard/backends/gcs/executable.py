"""
Programs that print a token for Google (`credential_source.executable`), run as all are that print credentials.

google-auth finds and judges what they print, and would run them itself: with a deadline that whoever holds their output
open outlasts, and with that output in its error. Like Terraform it runs none unless
GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES is 1, which no pipeline's `env` can set.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
from google.auth import pluggable

from tfguard import programs
from tfguard.backends.environ import is_in_checkout, own_environment
from tfguard.backends.gcs.answers import lines_of
from tfguard.backends.gcs.asking import NoToken
from tfguard.errors import StoreMisconfigured
from tfguard.text import printable
from tfguard.wire import parse

_NAMES = ("GOOGLE_BACKEND_CREDENTIALS", "GOOGLE_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS")


def take_over() -> None:
    """Let google-auth run these programs by `programs.ask` from now on."""
    pluggable.subprocess = _Programs


def refuse_checkouts(given: str) -> None:
    """Raise StoreMisconfigured where such credentials come from a checkout; `given` is their JSON, or where it is."""
    if _is_ours(given) or ("{" not in given and not is_in_checkout(given)):
        return
    where = "the gcs backend" if "{" in given else printable(given, 60)
    raise StoreMisconfigured(
        lines_of(f"These credentials for Google are part of this checkout, and run a program: {where}"),
        "tfguard does not run it: move that file elsewhere, or name it in GOOGLE_APPLICATION_CREDENTIALS yourself.",
    )


def _is_ours(given: str) -> bool:
    """Whether whoever started us, and no pipeline's environment, has said so."""
    said = [text for name in _NAMES if (text := own_environment().get(name))]
    if "{" in given:
        return given in said
    return any(os.path.realpath(os.path.expanduser(each)) == os.path.realpath(given) for each in said)


class _Programs:
    """What google-auth wants of `subprocess`."""

    PIPE, STDOUT = subprocess.PIPE, subprocess.STDOUT

    @staticmethod
    def run(argv: Sequence[str], *, timeout: float, env: Mapping[str, str], **_: object) -> Any:
        name = printable(os.path.basename(argv[0] if argv else ""), 40)
        try:
            said = programs.ask(argv, env, timeout)
        except OSError as error:
            raise NoToken(f"the program {name} gave none: {error.strerror}") from None
        if said.status:
            words = said.last_words()
            raise NoToken(f"the program {name} {said.ending()}{f': {words}' if words else ''}")
        try:
            parse(said.output or b"{}", dict[str, Any])
        except msgspec.DecodeError:
            raise NoToken(f"the program {name} printed no JSON") from None
        return SimpleNamespace(returncode=0, stdout=said.output)
