"""
The way from a CI job into tfguard: see that it is installed, then become it.

`entry.py STEP [DIRECTORY]`. STEP is `run` or `settle`, as in action.yml; or `install`, which prints how to call
tfguard from then on. Standard library only, since nothing is installed yet. Whatever is wrong with the inputs is one
annotation and status 64.

What is installed lands in one directory, under a name made of what goes into it and of the Python that it is for. It
is written beside and renamed, so that jobs on one machine do not collide; it holds no absolute path, so it may move.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
LOCK_FILE = ROOT / "requirements.lock"
#: Commands of ours; every other word is Terraform's to know.
OWN = frozenset({"run", "exec", "doctor", "status", "history", "unlock", "settle", "hold", "config"})
TERRAFORMS = frozenset(
    {
        *(
            "apply",
            "console",
            "destroy",
            "env",
            "fmt",
            "force-unlock",
            "get",
            "graph",
            "import",
            "init",
            "login",
            "logout",
        ),
        *(
            "metadata",
            "modules",
            "output",
            "plan",
            "providers",
            "query",
            "refresh",
            "rpcapi",
            "show",
            "stacks",
            "state",
        ),
        *("taint", "test", "untaint", "validate", "version", "workspace"),
    }
)
_LAUNCH = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tfguard.__main__ import main; main()"
_MAX_WORD = 40


class Refused(Exception):
    """The job's inputs cannot be used; the text says why, and what to do."""


def main(argv: Sequence[str]) -> NoReturn:
    """Become tfguard."""
    try:
        step, environ = argv[0], dict(os.environ)
        if step == "install":
            sys.stdout.write(str(installed(Path(argv[1]), environ)) + "\n")
            sys.exit(0)
        words = run_words(environ) if step == "run" else ["settle"]
        program = program_for(environ)
        change_directory(environ)
    except Refused as problem:
        refuse(str(problem))
    os.environ["TFGUARD_CI_LOG"] = "1"
    choose(os.environ)
    os.execvp(program[0], [*program, *words])  # The signals of a cancel go to this very process.


def refuse(text: str) -> NoReturn:
    """Say it once, as an annotation where GitHub reads it."""
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    sys.stderr.write(
        f"::error title=tfguard::{escaped}\n" if os.environ.get("GITHUB_ACTIONS") else f"tfguard: {text}\n"
    )
    sys.exit(64)


# --- what to run ----------------------------------------------------------------------------------------------------


def run_words(environ: Mapping[str, str]) -> list[str]:
    """Give tfguard's command line for the action's inputs. Raises Refused."""
    command, pipeline = _input(environ, "COMMAND"), _input(environ, "PIPELINE")
    args = [line.strip() for line in _input(environ, "ARGS").splitlines() if line.strip()]
    if not command and not pipeline:
        raise Refused("there is nothing to run.\nGive `command` (for example: plan), or `pipeline`.")
    words = (command or "run").split()
    if words[0] not in OWN | TERRAFORMS:
        raise Refused(
            f"there is no command {words[0][:_MAX_WORD]!r}.\nFor example, `command: plan`; flags go into `args`."
        )
    if pipeline and _input(environ, "WORKSPACE"):
        raise Refused(
            "`pipeline` and `workspace` contradict each other.\nThe pipeline names its workspace in tfguard.yml."
        )
    if words[0] == "run":
        if not pipeline and len(words) == 1:
            raise Refused("`command: run` needs a pipeline.\nGive `pipeline`, a name in tfguard.yml.")
        if args:
            raise Refused("`args` go with a `command`, not with a whole pipeline.\nIts `args` are in tfguard.yml.")
    flags = {"--config": "CONFIG", "--lock-timeout": "LOCK_TIMEOUT", "--terraform": "TERRAFORM_PATH", "-p": "PIPELINE"}
    given = [word for flag, name in flags.items() if _input(environ, name) for word in (flag, _input(environ, name))]
    return [*given, *words, *args]


def choose(environ: os._Environ[str]) -> None:
    """Hand on what has no flag; whatever is an input is no business of Terraform's."""
    for name, variable in (("TAKEOVER", "TFGUARD_LOCK_TAKEOVER"), ("WORKSPACE", "TF_WORKSPACE")):
        if _input(environ, name):
            environ[variable] = _input(environ, name)
    for name in [name for name in environ if name.startswith("TFGUARD_INPUT_")]:
        del environ[name]


def change_directory(environ: Mapping[str, str]) -> None:
    """Go where the run is to be. Raises Refused."""
    directory = _input(environ, "WORKING_DIRECTORY") or "."
    try:
        os.chdir(directory)
    except OSError as error:
        raise Refused(f"working-directory {directory}: {error.strerror}.\nHas the job checked out its code?") from error


def _input(environ: Mapping[str, str], name: str) -> str:
    return environ.get(f"TFGUARD_INPUT_{name}", "").strip()


# --- what to run it with --------------------------------------------------------------------------------------------


def program_for(environ: Mapping[str, str]) -> list[str]:
    """Give the words that tfguard starts by. Raises Refused."""
    wanted = _input(environ, "INSTALL") or "auto"
    if wanted == "never":
        if not shutil.which("tfguard"):
            raise Refused("`install: never`, and there is no tfguard on PATH.\nLeave `install` out, or mend the image.")
        return ["tfguard"]
    if wanted != "auto":
        raise Refused(f"`install` is {wanted[:_MAX_WORD]!r}.\nIt may be `auto` or `never`.")
    base = environ.get("RUNNER_TOOL_CACHE") or os.path.join(environ.get("HOME", "/tmp"), ".cache")  # noqa: S108
    return [sys.executable, "-I", "-c", _LAUNCH, str(installed(Path(base, "tfguard"), environ))]


def installed(base: Path, environ: Mapping[str, str]) -> Path:
    """Give the directory with tfguard and all that it needs, making it where it is not there yet. Raises Refused."""
    place = base / _name()
    if place.is_dir():
        return place
    base.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=base))
    try:
        _install(beside, environ)
        shutil.copytree(ROOT / "tfguard", beside / "tfguard", ignore=shutil.ignore_patterns("__pycache__"))
        beside.chmod(0o755)
        with contextlib.suppress(OSError):  # Another job was quicker: its directory is as good.
            beside.rename(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return place


def _name() -> str:
    """Name what is installed: the pinned packages, our own sources, and the Python that the wheels are for."""
    digest = hashlib.sha256(LOCK_FILE.read_bytes())
    for path in sorted((ROOT / "tfguard").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return f"{digest.hexdigest()[:16]}-{sys.implementation.cache_tag}-{sysconfig.get_platform()}"


def _install(place: Path, environ: Mapping[str, str]) -> None:
    """Install the pinned wheels into `place`, from wherever the user's own settings say."""
    wanted = ["--only-binary", ":all:", "--require-hashes", "--target", str(place), "-r", str(LOCK_FILE)]
    problem = ""
    for installer in _installers():
        done = subprocess.run([*installer, *wanted], stdout=2, env=dict(environ), check=False)
        if done.returncode == 0:
            return
        problem = " ".join(installer[-2:])
    if not problem:
        raise Refused("this Python has neither pip nor venv.\nPut actions/setup-python before this step.")
    raise Refused(
        f"tfguard's packages could not be installed (`{problem}`; what it said is in the log).\n"
        "Check the index settings (PIP_INDEX_URL, UV_INDEX_URL), or use an image with tfguard and `install: never`."
    )


def _installers() -> list[list[str]]:
    """uv where there is one, being ten times faster; else pip; else the pip that a fresh venv brings."""
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    found = [["uv", "pip", "install", "--quiet", "--python", sys.executable]] if shutil.which("uv") else []
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return [*found, [sys.executable, "-m", "pip", "install", *quiet]]
    folder = tempfile.mkdtemp(prefix="tfguard-venv-")
    made = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, check=False)
    return [*found, [f"{folder}/bin/python", "-m", "pip", "install", *quiet]] if made.returncode == 0 else found


if __name__ == "__main__":
    main(sys.argv[1:])
