"""What a machine lacks is said once for each part, and skips what needs it, or fails it where all has to be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import parts

ROOT = Path(__file__).parents[2]
TESTS = """
import subprocess
import pytest
from tests.support import parts

@pytest.fixture(scope="session")
def made(): return parts.program("java")

def test_by_its_fixture(made): pass
def test_by_the_same_fixture(made): pass
def test_by_what_it_starts(): subprocess.run(["terraform", "version"])
def test_that_is_wrong(): subprocess.run(["no-such-program"])
def test_that_needs_nothing(): pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("required", "summed"), [("", "1 failed, 1 passed, 3 skipped"), ("1", "2 failed, 1 passed, 2 errors")]
)
def test_what_needs_a_missing_part_is_skipped_and_told(tmp_path: Path, required: str, summed: str) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    words = ["-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull, str(tmp_path)]
    environ = {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT), "TFGUARD_REQUIRE_EMULATORS": required}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=tmp_path, env=environ, capture_output=True, text=True
    )

    assert summed in done.stdout, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if " skipped: no " in line]
    assert [line.partition(" (")[0] for line in lines] == (
        [] if required else ["2 skipped: no java on PATH", "1 skipped: no terraform on PATH"]
    )
    assert all("apt install" in line or "install" in line for line in lines)


def test_a_tofu_alone_is_found_as_terraform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tofu = tmp_path / "tofu"
    tofu.write_text("#!/bin/sh\n")
    tofu.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    for _ in range(2):  # Each of several workers looks.
        parts.stand_in(tmp_path / "programs")

    assert Path(parts.terraform()).resolve() == tofu


@pytest.mark.parametrize(("required", "status"), [("", 0), ("1", 1)])
def test_it_is_said_before_anything_is_installed(tmp_path: Path, required: str, status: int) -> None:
    environ = {"PATH": str(tmp_path), "TFGUARD_REQUIRE_EMULATORS": required}
    done = subprocess.run(
        [sys.executable, "-S", "-m", "tests.support.parts"], cwd=ROOT, env=environ, capture_output=True, text=True
    )

    assert done.returncode == status
    assert [line.partition(" on PATH")[0] for line in done.stderr.splitlines()] == [
        "no terraform or tofu",
        "no java",
        "no npm",
        "no git",
    ]


@pytest.mark.parametrize(
    ("library", "brought"),
    [("libxml2.so.2", "on Debian: apt install libxml2"), ("libnew.so.1", "on Debian: apt-file search libnew.so.1")],
)
def test_of_a_missing_library_the_package_is_named(library: str, brought: str) -> None:
    said = f"initdb: error while loading shared libraries: {library}: cannot open shared object file: No such file"

    assert parts.summary([f"{parts.MISSING}{said}"] * 2) == [f"2 skipped: {said} ({brought})"]
