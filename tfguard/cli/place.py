"""
In whose place we were called.

Linked as `terraform` or `tofu`, tfguard is that: every word is Terraform's, and whoever reads its version or its help
gets Terraform's own, byte for byte. What tfguard is to do then, tfguard.yml and the environment say.

Terragrunt asks the program that TG_TF_PATH names for `--version`, and reads the first line. It is called tfguard there,
and the same job calls tfguard's own commands by that name; so only what Terragrunt asks is Terraform's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfguard.config.options import Options
from tfguard.terraform.binary import KINDS, Kind, names_tfguard
from tfguard.terraform.command_line import take_chdir

#: By which Terragrunt is told whom to call for Terraform; the second is the older name.
_TERRAGRUNTS = ("TG_TF_PATH", "TERRAGRUNT_TFPATH")
_QUESTIONS = ("--version", "--help")


def in_terraforms(words: Sequence[str], environ: Mapping[str, str], program: str) -> Options | None:
    """Return the options of a call in Terraform's place; None where it is to tfguard, as which they are read then."""
    kind = stands_for(program)
    if kind is not None:
        return _options(words, kind)
    if _is_asked_by_terragrunt(words, environ, program):
        return Options(is_raw=True, command=tuple(words))
    return None


def stands_for(program: str) -> Kind | None:
    """Return whose name `program` has, as we were called; None if it is ours."""
    name = Path(program).name
    return next((kind for kind in KINDS if kind == name), None)


def _options(words: Sequence[str], kind: Kind) -> Options:
    """Return the options of a call under Terraform's name: only its `-chdir`, where it leads somewhere."""
    chdir, command = take_chdir(words)
    if chdir is not None and not os.path.isdir(chdir):
        return Options(is_raw=True, stands_for=kind, command=tuple(words))  # Terraform says what is wrong with it.
    return Options(chdir=chdir, stands_for=kind, command=command)


def _is_asked_by_terragrunt(words: Sequence[str], environ: Mapping[str, str], program: str) -> bool:
    """Whether this may be Terragrunt's question about Terraform, to us in its place."""
    if len(words) != 1 or words[0] not in _QUESTIONS:
        return False
    named = (environ.get(name, "") for name in _TERRAGRUNTS)
    return any(names_tfguard(name, environ, Path(program)) for name in named if name)
