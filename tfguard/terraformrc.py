"""
Where Terraform and OpenTofu keep what is a user's: their own configuration (hashicorp's page "CLI Configuration File").

Where TF_CLI_CONFIG_FILE names a file, that one is all. A home that may not be looked into has nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from tfguard import files


def folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of Terraform's in the user's home."""
    return _home(environ) / ".terraform.d"


def config_files(environ: Mapping[str, str], *, with_tofu: bool = False) -> Iterator[Path]:
    """Give each in the order in which Terraform reads them, be it there or not; `with_tofu`: OpenTofu's, too."""
    named = environ.get("TF_CLI_CONFIG_FILE") or environ.get("TERRAFORM_CONFIG")
    if named:
        yield Path(named)
        return
    home = _home(environ)
    tofu = Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "opentofu")
    if with_tofu:
        yield home / ".tofurc"
    yield home / ".terraformrc"
    if with_tofu:
        yield tofu / "tofurc"
    for place in (folder(environ), *([tofu] if with_tofu else [])):
        yield from files.inside(place, ".tfrc", ".tfrc.json")


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or "/")
