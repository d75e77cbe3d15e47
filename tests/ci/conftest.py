"""The action as a job finds it: a checkout of its own, a Python with nothing installed, and a folder for an index."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from tests.ci.actions import Job
from tests.e2e.conftest import ROOT, Stage, base_environ, stage  # noqa: F401 - a fixture
from tests.support import emulators
from tests.support.eventually import patience
from tests.support.serving import Request, serving

LOCK = (ROOT / "requirements.lock").read_text()


def check_out(into: Path) -> Path:
    """Put there what the action needs of this repository."""
    for name in ("action", "tfguard"):
        shutil.copytree(ROOT / name, into / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("action.yml", "requirements.lock"):
        shutil.copy(ROOT / name, into)
    return into


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What GitHub puts at GITHUB_ACTION_PATH; nobody edits it while the tests run."""
    return check_out(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def index() -> Mapping[str, str]:
    """Variables with which pip and uv take the pinned wheels from a folder, and ask nobody."""
    folder = emulators.pinned_wheels()
    return {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_NO_COMPILE": "0",  # Means yes, as pip documents. Hardly anything is run of what a test installs.
        "UV_NO_CONFIG": "1",
        "UV_OFFLINE": "1",  # UV_NO_INDEX is no variable of uv's.
        "UV_FIND_LINKS": str(folder),
    }


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with nothing installed: whatever runs on it was brought by the action."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin/python"


def install(
    checkout: Path, base: Path, python: Path | str, *extras: str, cwd: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the action's own installer to its end; it prints where tfguard is."""
    base.mkdir(exist_ok=True)
    words = [str(python), "-I", str(checkout / "action/entry.py"), "install", str(base / "tfguard"), *extras]
    given = {**base_environ(base), "TMPDIR": str(base), **environ}
    return subprocess.run(words, capture_output=True, text=True, env=given, cwd=cwd or base, timeout=patience(60))


@pytest.fixture(scope="session")
def tools(shared: Path, checkout: Path, index: Mapping[str, str]) -> Path:
    """A tool cache into which the action has been installed once, by this Python's pip, for all workers."""
    base = shared / "tools"
    compiled = {name: value for name, value in index.items() if name != "PIP_NO_COMPILE"}  # For a hundred runs.
    with emulators.first_of_all(base):
        if not base.exists():
            done = install(checkout, base, sys.executable, **compiled)
            assert done.returncode == 0, done.stderr
    return base


@pytest.fixture
def uv(tmp_path: Path) -> Callable[[str], str]:
    """A PATH with a uv of the test's own in front: a script, in which $UV is the real one."""
    real = shutil.which("uv", path=f"{Path(sys.executable).parent}:{base_environ(tmp_path)['PATH']}")
    if real is None:
        pytest.skip("uv is not installed")

    def make(script: str = 'exec "$UV" "$@"') -> str:
        folder = tmp_path / "with-uv"
        folder.mkdir()
        (folder / "uv").write_text(f"#!/bin/sh\nUV={real}\n{script}\n")
        (folder / "uv").chmod(0o755)
        return f"{folder}:/usr/bin:/bin"

    return make


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A checkout that pins one package only, for tests of how, not of what."""
    made = check_out(tmp_path / "small")
    (made / "requirements.lock").write_text(next(re.finditer(r"^click==(.*\\\n)+.*$", LOCK, re.MULTILINE))[0])
    return made


@pytest.fixture
def private_index() -> Iterator[tuple[str, list[str]]]:
    """An index of the user's own that has nothing; and the programs that have asked it."""
    asked: list[str] = []

    def answer(request: Request) -> tuple[int, bytes]:
        asked.append(f"{request.headers['User-Agent'].partition('/')[0]} {request.path}")
        return 404, b""

    with serving(answer) as address:
        yield f"{address}/simple", asked


@pytest.fixture
def job(stage: Callable[..., Stage], tools: Path, python: Path, checkout: Path) -> Callable[..., Job]:  # noqa: F811
    """Use the action on a stage of its own: `job({"command": "plan"})`."""

    def make(inputs: dict[str, str], text: str | None = None, backend: str = "local", **environ: str) -> Job:
        made = stage(backend, **({"text": text} if text else {}))
        return Job(made, tools, {"python-path": str(python), **inputs}, checkout, environ)

    return make


@pytest.fixture(scope="session")
def entry() -> ModuleType:
    """The action's program, as a module."""
    spec = importlib.util.spec_from_file_location("entry", ROOT / "action/entry.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
