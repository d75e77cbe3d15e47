"""
A backend's values compared as Terraform compares them: after each has become what the backend's schema says it is.

What the schema says is seen in the cache: Terraform wrote each value there as the type that it has become.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation

from tfguard.terraform.backend_block import Declared, text_of
from tfguard.terraform.workdir import BackendCache
from tfguard.text import printable

_SECRETS = re.compile(
    r"secret|password|passwd|token|access_key|customer_key|credential|sas|private|conn_str", re.IGNORECASE
)
_USERINFO = re.compile(r"//[^/\s]*@")
#: Of all backends' attributes these are lists, in which the order counts; every other sequence is a set.
_ORDERED = frozenset({"config_paths", "args", "impersonate_service_account_delegates"})
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


def differing_backend_config(cache: BackendCache | None, wanted: Declared) -> list[tuple[str, str, str]]:
    """
    Compare what a pipeline wants with what the directory was initialised for.

    Gives (key, cached, wanted) for each difference, ready to be shown: secrets are `***`, absent values `unset`.
    Only wanted keys count, since the rest comes from the `.tf` files; of a wanted block or map all of it counts. What
    only init can work out is equal to nothing.
    """
    cached = {} if cache is None else cache.config
    unread = ((name, _public(name, _found(cached, name)), "an expression") for name in sorted(wanted.unread))
    within = {name.partition(".")[0] for name in wanted.unread}
    return [*_differences(cached, wanted.config, "", within), *unread]


def _found(config: Mapping[str, object], name: str) -> object:
    """The value at `block.name`, None where there is none."""
    value: object = config
    for part in name.split("."):
        block = _one_block(value)
        value = block.get(part) if isinstance(block, Mapping) else None
    return value


def _one_block(value: object) -> object:
    """A block that may stand but once is kept as a list of one by some versions."""
    return value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping) else value


def _differences(
    cached: Mapping[str, object], wanted: Mapping[str, object], prefix: str, unread: set[str]
) -> Iterator[tuple[str, str, str]]:
    for key, value in wanted.items():
        name, before, after = prefix + str(key), _one_block(cached.get(key)), _one_block(value)
        if isinstance(after, Mapping):
            block = before if isinstance(before, Mapping) else {}
            # What the pipeline leaves out of a block it takes away, unless it says it in words that we cannot read.
            left_out = {} if key in unread else {each: None for each in block if each not in after}
            yield from _differences(block, {**after, **left_out}, f"{name}.", set())
        elif not _is_same(str(key), before, after):
            yield name, _public(name, before), _public(name, after)


def _is_same(name: str, cached: object, wanted: object) -> bool:
    if _is_unset(cached) or _is_unset(wanted):
        return _is_unset(cached) and _is_unset(wanted)
    if isinstance(cached, bool):
        return _flag(wanted) is cached
    if isinstance(cached, (int, float)):
        return _exact(wanted) == _exact(cached)
    if isinstance(cached, (list, tuple)):
        return isinstance(wanted, (list, tuple)) and _items(name, cached) == _items(name, wanted)
    return _text(wanted) == _text(cached)


def _is_unset(value: object) -> bool:
    return value is None or value == ""


def _items(name: str, values: list[object] | tuple[object, ...]) -> object:
    texts = [_text(value) for value in values]
    return texts if name in _ORDERED else frozenset(texts)


def _flag(value: object) -> bool | None:
    """What Terraform makes of it where true or false is wanted."""
    return value if isinstance(value, bool) else _FLAGS.get(value) if isinstance(value, str) else None


def _exact(value: object) -> Decimal | None:
    """The same where a number is wanted."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None


def _text(value: object) -> str:
    """The same where a text is wanted; of what is none, for showing it, its parts."""
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(sorted(map(_text, value))) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}={_text(each)}" for key, each in sorted(value.items())) + "}"
    return "" if value is None else text_of(value)


def _public(name: str, value: object) -> str:
    if _is_unset(value):
        return "unset"
    return "***" if _SECRETS.search(name) else printable(_USERINFO.sub("//***@", _text(value)), 80)
