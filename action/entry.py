"""
The way from a CI job into tfguard: see that it is installed, then become it.

`entry.py STEP [DIRECTORY [EXTRA…]]`. STEP is `run` or `settle`, as in action.yml; or `install`, which prints the
directory that tfguard was installed below. Standard library only, since nothing is installed yet. Whatever is wrong
with the inputs is one annotation and status 64, by `run` alone: `settle` says nothing a second time, and installs
nothing.

What is installed lands in one directory, under a name made of what goes into it and of the Python that it is for. It
is written beside and renamed, so that jobs on one machine do not collide; it holds no absolute path, so it may move.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # `-I` leaves it out.
import needs

ROOT = Path(__file__).resolve().parent.parent
LOCK_FILE = ROOT / "requirements.lock"
EXTRAS = Path(__file__).resolve().parent / "extras"
#: Commands of ours; every other word is Terraform's to know.
_OWN = "run exec doctor status history unlock settle hold config bootstrap completion"
OWN = frozenset(_OWN.split())
_TERRAFORMS = """
    apply console destroy env fmt force-unlock get graph import init login logout metadata modules output plan providers
    query refresh rpcapi show stacks state taint test untaint validate version workspace
"""
TERRAFORMS = frozenset(_TERRAFORMS.split())
#: tfguard's own options, and the inputs that are handed on by them; one that may be given again has a value a line.
FLAGS = {
    "--config": "CONFIG",
    "--expect": "EXPECT",
    "--lock-timeout": "LOCK_TIMEOUT",
    "--report": "REPORT",
    "--report-limit": "REPORT_LIMIT",
    "--terraform": "TERRAFORM_PATH",
    "-p": "PIPELINE",
}
#: Variables, and the inputs that are handed on in them, for want of an option.
VARIABLES = {"TFGUARD_LOCK_TAKEOVER": "TAKEOVER", "TF_WORKSPACE": "WORKSPACE"}
_LAUNCH = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tfguard.__main__ import main; main()"
#: GitHub's cancel is the first of these, and then the second; a shutdown, or another platform's cancel, the second.
_CANCELS = (signal.SIGINT, signal.SIGTERM)
#: Where the runner puts GITHUB_WORKSPACE inside a job's `container:`, wherever it is outside.
_IN_CONTAINER = "/__w/"
_MAX_WORD = 40
#: Where installers run. They read settings from their working directory and all above it (`uv.toml`, `pyproject.toml`,
#: `.python-version`), and a job's is a checkout: a branch could name an index that would be sent the user's password.
_NEUTRAL = "/"
#: Variables of theirs that name a file or a folder.
_NAMING = """
    PIP_CERT PIP_CACHE_DIR PIP_CONFIG_FILE PIP_CONSTRAINT PIP_FIND_LINKS UV_CACHE_DIR UV_CONFIG_FILE UV_CONSTRAINT
    UV_FIND_LINKS SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE NETRC
"""
_PLACES = frozenset(_NAMING.split())
#: Where everybody may write: what is found there is asked whose it is.
_SHARED = "/tmp"  # noqa: S108  # nosec B108


class Refused(Exception):
    """The job's inputs cannot be used; the text says why, and what to do."""


def main(argv: Sequence[str]) -> NoReturn:
    """Do one step: for `run` and `settle`, become tfguard."""
    step, environ = argv[0], dict(os.environ)
    hear_cancels()
    try:
        if step == "install":
            sys.stdout.write(f"{installed(Path(argv[1]), environ, extras_in(' '.join(argv[2:])))}\n")
            sys.exit(0)
        if step == "settle":
            settle(environ)
        run(environ)
    except Refused as problem:
        annotate("error", str(problem))
        put_out({"exit-code": "64", "outcome": "usage-error"})
        sys.exit(64)


def hear_cancels() -> None:
    """
    Let a cancel end us with what is half made removed, until we become tfguard, which has signals of its own.

    However we were started: who starts us in a script's background starts us deaf to SIGINT.
    """

    def stop(number: int, _frame: object) -> NoReturn:
        for each in _CANCELS:  # SIGTERM follows within seconds, and must not end what tidies up.
            signal.signal(each, lambda *_: None)
        sys.exit(128 + number)

    for each in _CANCELS:
        signal.signal(each, stop)


def run(environ: Mapping[str, str]) -> NoReturn:
    """Become tfguard with what the inputs say. Raises Refused."""
    if sys.platform == "win32":
        raise Refused("tfguard needs Linux or macOS.\nChoose such a runner: `runs-on: ubuntu-latest`.")
    words = run_words(environ)
    program = program_for(environ)
    change_directory(environ)
    if is_in_container(environ):
        annotate(
            "notice",
            "this job has a `container:`, into which GitHub passes no signal: a cancel reaches Terraform only by this "
            "action's last step, some ten seconds later, and a shutdown of the runner does not reach it at all.\n"
            "Take `container:` out of the job, and both do, at once.",
        )
        note_process(environ)
    become(program, words)


def settle(environ: Mapping[str, str]) -> NoReturn:
    """Become `tfguard settle`. Where there is no tfguard, the run step had none either: nothing is left behind."""
    program = program_there(environ)
    if program is None:
        sys.exit(0)
    if is_in_container(environ):
        stop_noted_process(environ)
    with contextlib.suppress(Refused):  # The records of the runs know their directories.
        change_directory(environ)
    become(program, ["settle"])


def become(program: Sequence[str], words: Sequence[str]) -> NoReturn:
    """Go on as tfguard, in this very process: the signals of a cancel go to no other."""
    os.environ["TFGUARD_CI_LOG"] = "1"
    choose(os.environ)
    os.execvp(program[0], [*program, *words])


def annotate(level: str, text: str) -> None:
    """Say it once, as an annotation where GitHub reads it."""
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    is_read = os.environ.get("GITHUB_ACTIONS")
    sys.stderr.write(f"::{level} title=tfguard::{escaped}\n" if is_read else f"tfguard: {text}\n")
    sys.stderr.flush()


def put_out(outputs: Mapping[str, str]) -> None:
    """Give the step its outputs, each of one line, where GitHub reads them."""
    with contextlib.suppress(KeyError, OSError), open(os.environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in outputs.items())


# --- in a job's container --------------------------------------------------------------------------------------------


def is_in_container(environ: Mapping[str, str]) -> bool:
    """Whether the job has a `container:`. The runner enters it by `docker exec`, which hands no signal on."""
    return environ.get("GITHUB_WORKSPACE", "").startswith(_IN_CONTAINER)


def note_process(environ: Mapping[str, str]) -> None:
    """Leave for the settle step which process the run step is: tfguard will be this very one."""
    with contextlib.suppress(OSError):
        _note(environ).write_text(f"{os.getpid()} {_started(os.getpid())}", encoding="ascii")


def stop_noted_process(environ: Mapping[str, str]) -> None:
    """Ask a run step that outlived its end to stop: what the runner's signal would have done."""
    with contextlib.suppress(OSError, ValueError):
        pid, started = _note(environ).read_text(encoding="ascii").split()
        if _started(int(pid)) == started:
            os.kill(int(pid), signal.SIGTERM)


def _note(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("RUNNER_TEMP") or "/nowhere", "tfguard-run")


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks: a later one with the same PID began later. Raises OSError."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]


# --- what to run ----------------------------------------------------------------------------------------------------


def run_words(environ: Mapping[str, str]) -> list[str]:
    """Give tfguard's command line for the action's inputs. Raises Refused."""
    command, pipeline, args = _input(environ, "COMMAND"), _input(environ, "PIPELINE"), _lines(environ, "ARGS")
    if not command and not pipeline:
        raise Refused("there is nothing to run.\nGive `command` (for example: plan), or `pipeline`.")
    words = (command or "run").split()
    if words[0] not in OWN | TERRAFORMS:
        raise Refused(
            f"there is no command {words[0][:_MAX_WORD]!r}.\nFor example, `command: plan`; flags go into `args`."
        )
    if _input(environ, "COMMENT") not in ("", "true", "false"):
        raise Refused("`comment` is neither true nor false.\nGive `comment: true`, or leave it out.")
    if pipeline and _input(environ, "WORKSPACE"):
        raise Refused(
            "`pipeline` and `workspace` contradict each other.\nThe pipeline names its workspace in tfguard.yml."
        )
    if words[0] == "run":
        if not pipeline and len(words) == 1:
            raise Refused("`command: run` needs a pipeline.\nGive `pipeline`, a name in tfguard.yml.")
        if args:
            raise Refused("`args` go with a `command`, not with a whole pipeline.\nIts `args` are in tfguard.yml.")
    return [*own_options(environ), *words, *args]


def own_options(environ: Mapping[str, str]) -> list[str]:
    """Give what stands before the command."""
    given = [(flag, value) for flag, name in FLAGS.items() for value in _lines(environ, name)]
    return [word for option in given for word in option]


def choose(environ: os._Environ[str]) -> None:
    """Hand on what has no flag; whatever is an input is no business of Terraform's, a token least of all."""
    if _input(environ, "COMMENT") == "true":
        environ["TFGUARD_COMMENT"], environ["TFGUARD_COMMENT_TOKEN"] = "1", _input(environ, "GITHUB_TOKEN")
    for variable, name in VARIABLES.items():
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


def _lines(environ: Mapping[str, str], name: str) -> list[str]:
    return [line.strip() for line in _input(environ, name).splitlines() if line.strip()]


# --- what to run it with --------------------------------------------------------------------------------------------


def program_for(environ: Mapping[str, str]) -> list[str]:
    """Give the words that tfguard starts by, installing it where it is not there yet. Raises Refused."""
    wanted = _input(environ, "INSTALL") or "auto"
    if wanted not in ("auto", "never"):
        raise Refused(f"`install` is {wanted[:_MAX_WORD]!r}.\nIt may be `auto` or `never`.")
    if wanted == "auto":
        return _launching(installed(_tool_cache(environ), environ, extras_for(environ)))
    program = program_there(environ)
    if program is None:
        raise Refused("`install: never`, and there is no tfguard on PATH.\nLeave `install` out, or mend the image.")
    return program


def program_there(environ: Mapping[str, str]) -> list[str] | None:
    """Give the words that tfguard starts by; None where there is none."""
    if _input(environ, "INSTALL") == "never":
        found = shutil.which("tfguard") or ""
        return [found] if os.path.isabs(found) else None  # Else a checkout has it on PATH.
    place = _place_with(frozenset(), _tool_cache(environ))
    return _launching(place) if place else None


def extras_for(environ: Mapping[str, str]) -> frozenset[str]:
    """Give the extras to install: those that the input names, or else those that the checkout needs. Raises Refused."""
    given = _input(environ, "EXTRAS")
    if given not in ("", "auto"):
        return extras_in(given)
    return needs.found([_input(environ, "WORKING_DIRECTORY") or ".", environ.get("GITHUB_WORKSPACE") or "."], environ)


def extras_in(text: str) -> frozenset[str]:
    """Read a list of extras, or `none`. Raises Refused."""
    words = frozenset(text.replace(",", " ").split()) - {"none"}
    if unknown := sorted(words.difference(needs.EXTRAS)):
        raise Refused(
            f"`extras`: there is none called {unknown[0][:_MAX_WORD]!r}.\n"
            f"There are {', '.join(needs.EXTRAS)}; `none`; or `auto`, for what the checkout needs."
        )
    return words


def _launching(place: Path) -> list[str]:
    return [sys.executable, "-I", "-c", _LAUNCH, str(place)]


def _tool_cache(environ: Mapping[str, str]) -> Path:
    base = environ.get("RUNNER_TOOL_CACHE") or os.path.join(environ.get("HOME", _SHARED), ".cache")
    return Path(base, "tfguard")


def installed(base: Path, environ: Mapping[str, str], extras: frozenset[str] = frozenset()) -> Path:
    """Give the directory with tfguard and all that it needs, making it where it is not there yet. Raises Refused."""
    place = _place_with(extras, base)
    if place is None:
        place = base / _name(extras)
        try:
            _make(place, environ, extras)
        except OSError as error:
            raise Refused(
                f"tfguard cannot be installed into {base}: {error.strerror or error}.\n"
                "Let the runner write there (RUNNER_TOOL_CACHE), or use an image with tfguard and `install: never`."
            ) from error
    return place


def _place_with(extras: frozenset[str], base: Path) -> Path | None:
    """Give the directory that has these extras and perhaps more, if there is one. Raises Refused."""
    for number in range(len(needs.EXTRAS), len(extras) - 1, -1):
        for there in map(frozenset, itertools.combinations(needs.EXTRAS, number)):
            if extras <= there and _is_there(base / _name(there)):
                return base / _name(there)
    return None


def _is_there(place: Path) -> bool:
    """Whether tfguard is there. Raises Refused where it may be a stranger's: who can write there decides what runs."""
    try:
        status = place.lstat()
    except OSError:
        return False
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022:
        return True
    raise Refused(
        f"{place} is not ours alone: others may have written what it holds.\nRemove it, and run the job again."
    )


def _make(place: Path, environ: Mapping[str, str], extras: frozenset[str]) -> None:
    """Install beside `place`, then rename. Raises Refused, OSError."""
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        _install(beside, environ, extras)
        shutil.copytree(ROOT / "tfguard", beside / "tfguard", ignore=shutil.ignore_patterns("__pycache__"))
        beside.chmod(0o755)
        beside.rename(place)
    except OSError:
        if not _is_there(place):  # Else another job was quicker: its directory is as good.
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _lock_files(extras: frozenset[str]) -> list[Path]:
    """Give the files that pin what every job needs, and what these extras need besides."""
    return [LOCK_FILE, *(EXTRAS / f"{extra}.lock" for extra in sorted(extras))]


def _name(extras: frozenset[str] = frozenset()) -> str:
    """Name what is installed: the pinned packages, our own sources, and the Python that the wheels are for."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in _lock_files(extras)) + _sources())
    # SOABI tells glibc from musl: a job's `container:` shares the tool cache with the machine.
    # Of several users of a machine each has their own.
    python = f"{sysconfig.get_config_var('SOABI')}-{sysconfig.get_platform()}"
    return "-".join([digest.hexdigest()[:16], *sorted(extras), python, str(os.geteuid())])


@functools.cache
def _sources() -> bytes:
    """Stand for all of tfguard's own sources."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "tfguard").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.digest()


def _install(place: Path, environ: Mapping[str, str], extras: frozenset[str]) -> None:
    """Install the pinned wheels into `place`, from wherever the user's own settings say. Raises Refused."""
    wanted = ["--only-binary", ":all:", "--require-hashes", "--target", str(place)]
    wanted += [word for file in _lock_files(extras) for word in ("-r", str(file))]
    problem = ""
    with tempfile.TemporaryDirectory(prefix="tfguard-venv-") as folder:
        for installer in _installers(environ, folder):
            done = subprocess.run([*installer, *wanted], stdout=2, check=False, cwd=_NEUTRAL, env=_whole(environ))
            if done.returncode == 0:
                return
            problem = "uv" if installer[1] == "pip" else "pip"
    if not problem:
        raise Refused("this Python has neither pip nor venv.\nPut actions/setup-python before this step.")
    named = f" (with those for {', '.join(sorted(extras))})" if extras else ""
    less = "; or leave those out by `extras: none`" if extras else ""
    raise Refused(
        f"tfguard's packages{named} could not be installed; what {problem} said is in the log.\n"
        "Check the index settings (PIP_INDEX_URL, UV_DEFAULT_INDEX), or use an image with tfguard and `install: never`"
        f"{less}."
    )


def _installers(environ: Mapping[str, str], folder: str) -> Iterator[list[str]]:
    """Give uv where there is one, being ten times faster; then pip, or else the pip that a fresh venv brings."""
    uv = shutil.which("uv") or ""
    if os.path.isabs(uv) and not _is_told_to_pip_alone(environ):  # Else a checkout has it on PATH.
        yield [uv, "pip", "install", "--quiet", "--python", sys.executable]
    options = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    # -I: the working directory is somebody's checkout, and may hold a pip.py.
    if _succeeds(sys.executable, "-I", "-m", "pip", "--version"):
        yield [sys.executable, "-I", *options]
    elif _succeeds(sys.executable, "-I", "-m", "venv", folder):
        yield [f"{folder}/bin/python", "-I", *options]


def _is_told_to_pip_alone(environ: Mapping[str, str]) -> bool:
    """Whether the user chose where packages come from in pip's terms, which uv does not read, and not in uv's."""
    to_pip, to_uv = (
        any(name.startswith(f"{tool}_") and ("INDEX" in name or "FIND_LINKS" in name) for name in environ)
        for tool in ("PIP", "UV")
    )
    files = ("/etc/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf", environ.get("PIP_CONFIG_FILE", ""))
    return not to_uv and (to_pip or any(os.path.isfile(os.path.expanduser(file)) for file in files))


def _whole(environ: Mapping[str, str]) -> dict[str, str]:
    """The installers' environment: what the user has named from where the job is, they find from elsewhere too."""
    named = {name: environ[name] for name in _PLACES if environ.get(name) and os.path.exists(environ[name])}
    return {**environ, **{name: os.path.abspath(value) for name, value in named.items()}}


def _succeeds(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False, cwd=_NEUTRAL).returncode == 0


if __name__ == "__main__":
    main(sys.argv[1:])
