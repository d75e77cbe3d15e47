"""
A fingerprint of what a plan will do, so that an apply can make sure that it does just that.

It is made of `terraform show -json`: of each resource that is not left alone its actions and its values before and
after, its provider's configuration and its provisioners as they are written, with the variables that these name, and of
each output its change. What says nothing of what will be done is left out: times, versions, drift, what stays as it is.

A fingerprint is shown to everybody, and a short secret could be guessed from a plain hash. So it is keyed with the
lineage of the state: a random number that only the state and its plans hold, and who can read those reads the secrets
as they are. Where there is no state yet, or the plan is encrypted, there is no key: then what is marked sensitive does
not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from tfguard import redaction
from tfguard.wire import canonical, decoder

#: What a fingerprint looks like. The number changes with what goes into it.
PATTERN = re.compile(r"p1-[0-9a-f]{40}")
_PART_DIGITS = 12
_ALONE: tuple[list[str], ...] = ([], ["no-op"])
#: Of a resource's change in the plan, beside what is done to its values.
_FACTS = ("address", "previous_address", "deposed", "mode", "type", "provider_name")
#: In what is called with `count` or `for_each`, the keys. A text among them may hold brackets.
_KEYS = re.compile(r'\[(?:"(?:[^"\\]|\\.)*"|\d+)\]')


class Fingerprint(msgspec.Struct, frozen=True):
    """`text` stands for the whole plan; `parts`: of each of its changes, by its name, a short digest."""

    text: str
    parts: dict[str, str] = {}

    def difference(self, before: Mapping[str, str]) -> Difference:
        """Say what is not as in another plan, which has these `parts`."""
        both = self.parts.keys() & before.keys()
        return Difference(
            gone=tuple(sorted(before.keys() - self.parts.keys())),
            new=tuple(sorted(self.parts.keys() - before.keys())),
            changed=tuple(sorted(name for name in both if self.parts[name] != before[name])),
        )


class Difference(msgspec.Struct, frozen=True):
    """The names of changes that are no longer planned, that were not planned before, and that are planned otherwise."""

    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


class _Variable(msgspec.Struct):
    sensitive: bool = False


class _Module(msgspec.Struct):
    resources: list[dict[str, Any]] = []
    module_calls: dict[str, _Call] = {}
    variables: dict[str, _Variable] = {}


class _Call(msgspec.Struct):
    module: _Module = msgspec.field(default_factory=_Module)


class _Configuration(msgspec.Struct):
    provider_config: dict[str, dict[str, Any]] = {}
    root_module: _Module = msgspec.field(default_factory=_Module)


class _Plan(msgspec.Struct):
    """What every plan shows, and what is left out of one that changes nothing."""

    format_version: str
    configuration: _Configuration
    resource_changes: list[dict[str, Any]] = []
    resource_drift: list[dict[str, Any]] = []
    output_changes: dict[str, dict[str, Any]] = {}
    applyable: bool | None = None
    deferred_changes: list[Any] = []
    action_invocations: list[Any] = []
    variables: dict[str, Any] = {}


def read_fingerprint(text: bytes, lineage: str) -> Fingerprint | None:
    """
    Make the fingerprint of what `terraform show -json PLAN` printed; None if it is no such thing. Never raises.

    `lineage`: of the state that it was planned on, empty where there is none.
    """
    # A number stays as it was written: half of its digits are another number.
    reader = decoder(_Plan, float_hook=lambda number: ("number", number))
    try:
        parts = list(_parts(reader.decode(text), hides=not lineage))
    except (msgspec.MsgspecError, RecursionError, UnicodeError, LookupError, AttributeError, TypeError):
        return None
    key = b"tfguard plan " + lineage.encode()
    # A resource may be called as an output is (`output.x`): each counts.
    digests = [(name, _digest(key, [name, part])) for name, part in parts]
    short: dict[str, str] = {}
    shown = redaction.redact("\n".join(name for name, _ in digests)).split("\n")  # A key may be a secret.
    for name, (_, digest) in zip(shown, digests, strict=False):
        short[name] = short.get(name, "") + digest[:_PART_DIGITS]
    return Fingerprint(f"p1-{_digest(key, sorted(digests))[:40]}", short)


def _digest(key: bytes, value: Any) -> str:
    import hashlib  # Here: every start would pay for OpenSSL, and few runs make a fingerprint.
    import hmac

    return hmac.new(key, canonical(value), hashlib.sha256).hexdigest()


def _parts(plan: _Plan, *, hides: bool) -> Iterator[tuple[str, Any]]:
    planned = [each for each in plan.resource_changes if _is_planned(each)]
    for each in planned:
        name = each["address"] + (f" (deposed {each['deposed']})" if each.get("deposed") else "")
        yield name, _content(each, hides=hides)
    if not planned and plan.applyable is not False:
        # With `-refresh-only` it is the drift that is written.
        yield from ((f"drift of {each['address']}", _content(each, hides=hides)) for each in plan.resource_drift)
    for name, change in plan.output_changes.items():
        if change.get("actions", []) not in _ALONE:
            yield f"output.{name}", _bare(change) if hides else change
    for kind, more in (("deferred", plan.deferred_changes), ("action", plan.action_invocations)):
        for number, each in enumerate(more if not hides else []):
            yield f"{kind} {number}", each
    written = dict(_configured(plan.configuration, {_KEYS.sub("", each["address"]) for each in planned}))
    yield from written.items()
    declared = plan.configuration.root_module.variables
    for name in sorted(_named(written, plan.variables)):
        if not (hides and declared.get(name, _Variable()).sensitive):
            yield f"variable {name}", plan.variables.get(name)


def _is_planned(resource: Mapping[str, Any]) -> bool:
    change = resource.get("change", {})
    has_moved = resource.get("previous_address", resource["address"]) != resource["address"]
    return change.get("actions", []) not in _ALONE or has_moved or change.get("importing") is not None


def _content(resource: Mapping[str, Any], *, hides: bool) -> list[Any]:
    change = resource.get("change", {})
    return [{fact: resource.get(fact) for fact in _FACTS}, _bare(change) if hides else change]


def _configured(written: _Configuration, changed: set[str]) -> Iterator[tuple[str, Any]]:
    """What is done to a resource also follows from what its values do not show: where, and with what beside it."""
    providers = set()
    for address, resource in _resources(written.root_module, ""):
        if address not in changed:
            continue
        providers.add(resource.get("provider_config_key"))
        if resource.get("provisioners"):
            yield f"provisioners of {address}", resource["provisioners"]
    for key, provider in written.provider_config.items():
        if key in providers and provider.get("expressions"):
            yield f"provider {key}", provider["expressions"]


def _named(written: Mapping[str, Any], variables: Iterable[str]) -> set[str]:
    """The root's variables that decide what is written: those that it names; all, where only Terraform knows which."""
    found: set[str] = set()
    for place, expressions in written.items():
        is_root = "module." not in place
        for name in _references(expressions):
            kind, _, rest = name.partition(".")
            if kind == "var" and is_root:
                found.add(re.split(r"[.\[]", rest)[0])
            elif kind in ("var", "local", "module"):
                return set(variables)
    return found


def _references(expressions: Any) -> Iterator[str]:
    """The names that stand in expressions, at any depth."""
    if isinstance(expressions, list):
        for each in expressions:
            yield from _references(each)
    elif isinstance(expressions, dict):
        for name, value in expressions.items():
            if name == "references" and isinstance(value, list):
                yield from (each for each in value if isinstance(each, str))
            else:
                yield from _references(value)


def _resources(module: _Module, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in module.resources:
        yield prefix + each["address"], each
    for name, call in module.module_calls.items():
        yield from _resources(call.module, f"{prefix}module.{name}.")


def _bare(change: Mapping[str, Any]) -> dict[str, Any]:
    """A change without what is marked sensitive in it."""
    masks = {side: change.get(f"{side}_sensitive") for side in ("before", "after")}
    return {**change, **{side: _masked(change.get(side), mask) for side, mask in masks.items()}}


def _masked(value: Any, mask: Any) -> Any:
    if mask is True:
        return None
    if isinstance(value, dict) and isinstance(mask, dict):
        return {name: _masked(item, mask.get(name)) for name, item in value.items()}
    if isinstance(value, list) and isinstance(mask, list):
        return [_masked(item, mask[at] if at < len(mask) else None) for at, item in enumerate(value)]
    return value
