"""Secrets, kept out of everything that is written: known values, and what looks like one by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tfguard.text import as_bytes, valid

_REDACTED = "[redacted]"


#: Shorter texts are no secrets worth the name, and cutting them out would tear every other word apart.
_MIN_SECRET = 6


_SENSITIVE = r"secret|passw|passphrase|token|credential|authorization|(?:api|access|private|customer)[_-]?key|tf_var_"


_SENSITIVE_KEY = re.compile(_SENSITIVE, re.IGNORECASE)


#: Nobody registers what people write into arguments and addresses: `-var db_password=…`, `https://user:…@host`.
_SENSITIVE_IN_TEXT = re.compile(
    # The rest of a name is bounded: a megabyte of `tokentokentoken…` must not take minutes.
    rf"((?:{_SENSITIVE})[\w-]{{0,64}}[\"']?\s?=\s?)[^\s&]+|(://[^\s/:@]*:)[^\s/@]+(?=@)",
    re.IGNORECASE,
)


#: Variables and settings whose value must never be printed, by their name. Wider than `_SENSITIVE`: nobody is kept from
#: reading a value here, it is only cut out of texts; but a region or an environment's name must stay readable.
_SECRET_NAME = re.compile(rf"{_SENSITIVE}|_sas\b|sas_token|conn_str|private|_auth\b|_key$", re.IGNORECASE)


_PUBLIC_NAME = re.compile(r"_FILE$|_PATH$|_URL$|_ENDPOINT$|^TFGUARD_|^key$|_prefix$", re.IGNORECASE)


_secrets: tuple[str, ...] = ()


def register_secrets(values: Iterable[str]) -> None:
    """Cut these texts out of every event from now on. Those under 6 characters are passed over."""
    global _secrets
    found = [value for value in values if len(value) >= _MIN_SECRET]
    # What a program has printed of a value that is no UTF-8 is read, and shown, with U+FFFD in it.
    known = {*_secrets, *found, *map(valid, found), *map(_read, found)}
    # The longest first: one secret may contain another.
    _secrets = tuple(sorted(known, key=len, reverse=True))


def _read(value: str) -> str:
    """What a program's output is read as where it shows this value: Python makes one sign of some two bytes."""
    return as_bytes(value).decode("utf-8", "replace")


def secrets_among(values: Mapping[str, Any]) -> list[str]:
    """Return what a mapping (environment, backend settings) holds under names that mean a secret, at any depth."""
    found: list[str] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += secrets_among(value)
        elif isinstance(value, str) and is_secret_name(name):
            found.append(value)
    return found


def is_secret_name(name: str) -> bool:
    """Whether a variable or setting of this name holds a secret: `TF_VAR_db_password` does, `TF_VAR_region` not."""
    bare = re.sub(r"^TF_VAR_", "", name)
    return _SECRET_NAME.search(bare) is not None and _PUBLIC_NAME.search(bare) is None


def redact(text: str) -> str:
    """Return the text without any registered secret, and without what stands where secrets stand (`password=…`)."""
    for secret in _secrets:
        text = text.replace(secret, _REDACTED)
    return _SENSITIVE_IN_TEXT.sub(lambda match: (match[1] or match[2]) + _REDACTED, text)
