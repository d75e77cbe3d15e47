"""
What the action installs, pinned anew: `python -m tools.pins`, or `make pins`. Asks the package index, by uv.

requirements.lock has what every job needs. Each extra of pyproject.toml that a backend has stands in a file of its own,
`action/extras/EXTRA.lock`, with what it needs besides: a job gets those that its backends need. A version that is
pinned stays where it still fits. To take a newer one, remove its lines first.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "requirements.lock"
FOLDER = ROOT / "action" / "extras"
_EXTRAS = ("azurerm", "gcs", "pg")
_HOW = ("uv", "pip", "compile", "--universal", "--generate-hashes", "--python-version", "3.10", "--no-annotate")
_MADE = f"# Made from pyproject.toml by `python -m tools.pins`: {' '.join(_HOW)}\n"
#: A package's line, and the lines with its hashes.
_PINNED = re.compile(r"^[a-z0-9-]+==.*\\\n(?:    --hash=\S+(?: \\)?\n)+", re.MULTILINE)


def main() -> None:
    core = _pinned("".join(_packages(CORE)))
    CORE.write_text(
        "# What tfguard needs, pinned, with the hashes of every wheel: for installs in CI.\n" + _MADE + "".join(core),
        encoding="utf-8",
    )
    for extra in _EXTRAS:
        path = FOLDER / f"{extra}.lock"
        own = _pinned("".join([*core, *_packages(path)]), "--extra", extra, "--constraint", str(CORE))
        heading = f"# What `tfguard[{extra}]` needs besides requirements.lock, pinned like it.\n"
        path.write_text(heading + _MADE + "".join(each for each in own if each not in core), encoding="utf-8")


def _packages(path: Path) -> list[str]:
    return _PINNED.findall(path.read_text(encoding="utf-8")) if path.exists() else []


def _pinned(kept: str, *more: str) -> list[str]:
    """Pin everything, with the versions in `kept` where they fit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pins")
        path.write_text(kept, encoding="utf-8")
        words = [
            sys.executable,
            "-m",
            *_HOW,
            "--quiet",
            *more,
            str(ROOT / "pyproject.toml"),
            "--output-file",
            str(path),
        ]
        subprocess.run(words, check=True, cwd=folder)
        return _packages(path)


if __name__ == "__main__":
    main()
