"""Which folders a configuration reads beside its own: modules whose source is a path, and the modules of those."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tfguard import hcl
from tfguard.terraform.backend_block import blocks_of
from tfguard.terraform.workdir import WorkingDirectory
from tfguard.wire import parse

#: A module may not be its own, so there is an end; a hostile checkout may see to it that it is far.
_MAX_FOLDERS = 1000


def local_modules(directory: Path) -> Iterator[Path]:
    """Return every such folder, there or not. What cannot be read, Terraform will complain of."""
    directory = Path(os.path.realpath(directory))  # Terraform works in it, whatever led it there.
    seen, found = {directory}, [directory]
    for folder in found:
        if not folder.is_dir():
            continue
        for path, text in WorkingDirectory.at(folder, None, {}).texts():
            for source in _in_json(text) if path.name.endswith(".json") else _in_hcl(text):
                # Terraform takes `..` away by text, too.
                module = Path(os.path.normpath(folder / source))
                if source.startswith(("./", "../")) and module not in seen and len(seen) < _MAX_FOLDERS:
                    seen.add(module)
                    found.append(module)
                    yield module


def _in_hcl(text: str) -> Iterator[str]:
    header: list[str] = []
    depth, is_module, before = 0, False, ["", ""]
    for kind, word in hcl.tokens(text):
        if kind == "text" and is_module and depth == 1 and before == ["source", "="]:
            yield word.strip('"')
        before = [before[1], word]
        if kind in ("word", "text"):
            header.append(word)
            continue
        if word == "{":
            is_module = is_module if depth else header[:1] == ["module"]
            depth += 1
        elif word == "}":
            depth = max(0, depth - 1)
        header = []


def _in_json(text: str) -> Iterator[str]:
    try:
        content = parse(text, dict[str, Any])
    except msgspec.DecodeError:
        return
    for modules in blocks_of(content.get("module")):
        for module in modules.values():
            yield from (block["source"] for block in blocks_of(module) if isinstance(block.get("source"), str))
