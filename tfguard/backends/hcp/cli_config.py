"""
What Terraform's own configuration says of hosts: hashicorp's page "CLI Configuration File", and its `LoadConfig`.

Later files go before earlier ones (`terraformrc`): ~/.terraformrc, then each *.tfrc and *.tfrc.json of ~/.terraform.d
in their order, that of `terraform login` among them. Each may be HCL or JSON. What cannot be read says nothing:
Terraform itself tells what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tfguard import hcl
from tfguard.terraformrc import config_files
from tfguard.wire import parse

_MAX_BYTES = 1024 * 1024
#: A block's kind, its name, and the texts and lists of texts in it.
_Block = tuple[str, str, Mapping[str, Any]]


@dataclass
class CliConfig:
    """`tokens` by their hosts, each with its file; `helper` is a credentials helper's name and its words, or empty."""

    tokens: dict[str, tuple[str, Path]] = field(default_factory=dict, repr=False)
    helper: tuple[str, ...] = ()


def comparable(host: str) -> str:
    """Return a host as it is compared with others: in small letters, without the port that it has anyway."""
    return host.lower().removesuffix(":443")


def read(environ: Mapping[str, str]) -> CliConfig:
    """Return what all files say together."""
    found = CliConfig()
    for path in config_files(environ):
        text = _text(path)
        for kind, name, block in _of_json(text) if text.lstrip().startswith("{") else _of_hcl(text):
            token, words = block.get("token", ""), block.get("args", [])
            if kind == "credentials" and isinstance(token, str):
                found.tokens[comparable(name)] = token, path
            elif kind == "credentials_helper" and isinstance(words, list):
                found.helper = (name, *map(str, words))
    return found


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode()
    except (OSError, UnicodeError):
        return ""


def _of_json(text: str) -> Iterator[_Block]:
    try:
        document = parse(text, dict[str, Any])
    except msgspec.DecodeError:
        return
    for kind, blocks in document.items():
        if isinstance(blocks, dict):
            yield from ((kind, name, block) for name, block in blocks.items() if isinstance(block, dict))


def _of_hcl(text: str) -> Iterator[_Block]:
    words = [word for _, word in hcl.tokens(text) if word not in ("\n", ",")]
    for at, (kind, name, sign) in enumerate(zip(words, words[1:], words[2:])):
        if name[:1] == '"' and sign == "{" and "}" in words[at:]:
            yield kind.strip('"'), name.strip('"'), _settings(words[at + 3 : words.index("}", at)])


def _settings(words: Sequence[str]) -> dict[str, str | list[str]]:
    found: dict[str, str | list[str]] = {}
    for at, (name, sign, value) in enumerate(zip(words, words[1:], words[2:])):
        if sign == "=" and value[:1] == '"':
            found[name.strip('"')] = value.strip('"')
        elif sign == "=" and value == "[" and "]" in words[at:]:
            found[name.strip('"')] = [each.strip('"') for each in words[at + 3 : words.index("]", at)]]
    return found
