"""The image that the Dockerfile makes, for a laptop and for GitLab: of what, and for whom. Docker is not needed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from tests.ci.gitlab import TEMPLATE
from tests.e2e.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instructions(name: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#")))
    return re.findall(rf"^{name} +(.*)$", joined, re.MULTILINE)


def arguments() -> dict[str, str]:
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in instructions("ARG"))}


def test_it_is_made_of_pinned_images_and_runs_as_nobody_special() -> None:
    froms = [re.sub(r"\$\{(\w+)\}", lambda match: arguments()[match[1]], line) for line in instructions("FROM")]
    stages = {line.rpartition(" AS ")[2] for line in froms if " AS " in line}
    images = [line.partition(" AS ")[0] for line in froms]

    assert {"terraform", "tofu"} <= stages
    assert all(re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+[\w-]*", image) for image in {*images} - stages - {"scratch"})
    assert instructions("USER") == ["1000"]


def test_it_is_made_of_files_that_there_are() -> None:
    own_copies = [words.split() for words in instructions("COPY") if not words.startswith("--from=")]

    assert own_copies
    assert all((ROOT / source).exists() for *sources, _ in own_copies for source in sources)


def test_it_has_what_every_backend_needs(entry: ModuleType) -> None:
    assert entry.extras_in(arguments()["EXTRAS"]) == set(entry.needs.EXTRAS)


def test_the_template_starts_a_shell_in_it_though_it_starts_tfguard_by_itself() -> None:
    assert instructions("ENTRYPOINT") == ['["tfguard"]']
    assert TEMPLATE[".tfguard"]["image"]["entrypoint"] == [""]


@pytest.mark.e2e
def test_its_own_lines_install_a_tfguard_that_runs(tmp_path: Path, checkout: Path, index: Mapping[str, str]) -> None:
    (script,) = (line for line in instructions("RUN") if "entry.py" in line)
    (tmp_path / "bin").mkdir()
    for place, real in {"/src": checkout, "/opt": tmp_path, "/usr/local/bin": tmp_path / "bin"}.items():
        script = re.sub(rf"(?<![\w]){place}/", f"{real}/", script)
    path = f"{tmp_path}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {"HOME": str(tmp_path), "PATH": path, "EXTRAS": "", **index}

    done = subprocess.run(["sh", "-ec", script], env=environ, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert "\ntfguard " in f"\n{done.stdout}"
