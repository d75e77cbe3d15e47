"""
Variables as we set them for one Terraform: what is locked is what it writes, whatever it would have been told.

Everything that Terraform starts inherits them. Where a provisioner runs a tfguard, perhaps in another directory, that
one takes them back and looks for itself. A plain Terraform there keeps them, as it would the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

#: What we have put into a variable, and what was there before, for a tfguard that inherits all of them.
_PINNED, _BEFORE = "TFGUARD_PINNED_", "TFGUARD_BEFORE_"


def pin(environ: Mapping[str, str], name: str, value: str) -> dict[str, str]:
    """Return the environment with this variable pinned; as it was where it says so already."""
    if environ.get(name) == value:
        return dict(environ)
    before = {_BEFORE + name: environ[name]} if name in environ else {}
    return {**environ, name: value, _PINNED + name: value, **before}


def unpin(environ: MutableMapping[str, str]) -> None:
    """Take out of our own environment what a tfguard around us has pinned, unless somebody has changed it since."""
    for pinned in [each for each in environ if each.startswith(_PINNED)]:
        name = pinned.removeprefix(_PINNED)
        value, before = environ.pop(pinned), environ.pop(_BEFORE + name, None)
        if environ.get(name) != value:
            continue
        if before is None:
            del environ[name]
        else:
            environ[name] = before
