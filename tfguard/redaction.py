"""Secrets, kept out of everything that is written: known values, and what looks like one by its name."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tfguard.text import as_bytes, valid, visible

REDACTED = "[redacted]"


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


#: A secret of more lines is cut out as a whole, and as its first lines.
_MAX_LINES = 400


#: Of a longer secret only the text itself and its lines are known: nobody prints that encoded.
_MAX_ENCODED = 16 * 1024


#: So many texts are looked for at most; the secrets as they are come first.
_MAX_FORMS = 4000


_secrets: frozenset[str] = frozenset()
#: All that is cut out, the longest first: one may contain another. None until somebody redacts.
_forms: tuple[str, ...] | None = ()


def register_secrets(values: Iterable[str]) -> None:
    """
    Cut these texts out of every event from now on, in each form in which they may be printed (`forms_of`).

    Those under 6 characters are passed over.
    """
    global _secrets, _forms
    found = [value for value in values if len(value) >= _MIN_SECRET]
    # What a program has printed of a value that is no UTF-8 is read, and shown, with U+FFFD in it.
    _secrets, _forms = _secrets | {*found, *map(valid, found), *map(_read, found)}, None


def forms_of(secret: str) -> Iterator[str]:
    """
    Return how a secret looks where it is printed, the likeliest first: itself; its lines, as Terraform prints them one
    by one; with its tabs expanded; within JSON and HCL; in an address; in base64, also within a longer text.
    """
    import base64
    import json
    from urllib.parse import quote, quote_plus

    bare = secret.strip()
    yield from (secret, bare)
    if len(bare.splitlines()) > 1:
        yield from itertools.islice((line.strip() for line in bare.splitlines()), _MAX_LINES)
    yield from (bare.replace("\t", "    "), visible(bare), bare.replace("\r\n", "\n"))
    if len(secret) > _MAX_ENCODED:
        return
    for text in (secret, bare):
        as_json = [json.dumps(text, ensure_ascii=is_ascii)[1:-1] for is_ascii in (False, True)]
        yield from as_json
        yield from (_as_go(each) for each in as_json)
        yield from (json.dumps(each)[1:-1] for each in as_json)  # JSON in a text of JSON or HCL
        yield as_json[0].replace("${", "$${").replace("%{", "%%{")
        data = _bytes(text)
        for encoded in (quote(data, safe=""), quote(data), quote_plus(data)):
            yield from (encoded, re.sub("%..", lambda match: match[0].lower(), encoded))
        for before in range(3):  # Three bytes become four signs: so many may stand before it in the first three.
            signs = base64.b64encode(bytes(before) + data)[(0, 2, 3)[before] : (before + len(data)) * 4 // 3].decode()
            yield from (signs, signs.translate({ord("+"): "-", ord("/"): "_"}))


def _as_go(text: str) -> str:
    """JSON as Go writes it, and so Terraform."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _known_forms() -> tuple[str, ...]:
    global _forms
    if _forms is None:
        _forms = _all_forms(_secrets)
    return _forms


def _all_forms(secrets: Iterable[str]) -> tuple[str, ...]:
    """All that is cut out for these secrets, the longest first."""
    ordered = sorted(secrets)
    found = dict.fromkeys(secret for secret in ordered if len(secret) >= _MIN_SECRET)
    for form in itertools.chain.from_iterable(map(forms_of, ordered)):
        if len(found) >= _MAX_FORMS:
            break
        if len(form) >= _MIN_SECRET:
            found[form] = None
    return tuple(sorted(found, key=len, reverse=True))


def _read(value: str) -> str:
    """What a program's output is read as where it shows this value: Python makes one sign of some two bytes."""
    return _bytes(value).decode("utf-8", "replace")


def _bytes(value: str) -> bytes:
    try:
        return as_bytes(value)
    except UnicodeEncodeError:  # JSON can say what nobody can have given to us as bytes.
        return valid(value).encode()


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
    return redact_named(redact_known(text))


def redact_known(text: str) -> str:
    """Return the text without any registered secret."""
    return _without(text, _known_forms())


def redact_named(text: str) -> str:
    """Return the text without what stands where secrets stand, up to the next blank."""
    return _SENSITIVE_IN_TEXT.sub(lambda match: (match[1] or match[2]) + REDACTED, text)


def without(text: str, secrets: Iterable[str]) -> str:
    """Return the text without these secrets, registered or not, in each form in which they may be printed."""
    return _without(text, _all_forms(secrets))


def _without(text: str, forms: Iterable[str]) -> str:
    for form in forms:
        text = text.replace(form, REDACTED)
    return text
