"""
The demo's story: three people want one lock; whoever has it dies; the next one takes over and says whose lock it was.

All of it is real: three tfguards as a CI would start them, a lock in a bucket (`demo.bucket` says why not in a file), a
SIGKILL to every process of a run. Where there is a terraform or tofu the runs are applies of `examples/quickstart`;
elsewhere a named lock and a small shell program show the same.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo import bucket, opentofu
from demo.runs import PATIENCE_SECONDS, Run, Stuck

ROOT = Path(__file__).resolve().parents[1]
TFGUARD = (sys.executable, "-m", "tfguard")
#: In CI it is three minutes. Here nobody has a slow network, and you are waiting.
LEASE = "10s"
#: How long each works: the one that will be killed, and the others.
_LONG_SECONDS, _SHORT_SECONDS = 120, 2
#: What would make a run of yours another than it is here.
_FOREIGN = (
    "TF_",
    "TFGUARD_",
    "GOOGLE_",
    "STORAGE_",
    "CI",
    "GITHUB_",
    "GITLAB_",
    "BUILDKITE",
    "JENKINS_",
    "BITBUCKET_",
    "CODEBUILD_",
)
_COLORS = {"ada": "36", "ben": "33", "cleo": "35"}


@dataclass
class Stage:
    """Where the runs are, what they are, and how they are shown."""

    folder: Path
    environ: dict[str, str]
    endpoint: str
    terraform: str | None
    runs: list[Run] = field(default_factory=list)

    @property
    def lock(self) -> list[str]:
        """Which lock a command of ours is about; empty for the directory's own."""
        store = f"gs://{bucket.NAME}/locks?endpoint={self.endpoint}"
        return [] if self.terraform else ["--name", "demo", "--store", store]

    def start(self, name: str, seconds: int) -> Run:
        """Start a run by this person, in a directory of their own, as on another machine."""
        number = 101 + len(self.runs)
        who = {"TFGUARD_WHO": f"{name}@runner-{number}", "TFGUARD_RUN_URL": f"https://ci.example.com/runs/{number}"}
        environ = {**self.environ, **who}
        run = Run(name, self._argv(name, seconds), self.directory(name), environ, Shown(name).hear)
        self.runs.append(run)
        return run

    def directory(self, name: str) -> Path:
        """Make a checkout; of one and the same configuration, and for one and the same state."""
        made = self.folder / name
        if not made.exists():
            made.mkdir()
            if self.terraform:
                shutil.copy(ROOT / "examples/quickstart/main.tf", made)
                (made / "backend.tf").write_text(_BACKEND.format(bucket=bucket.NAME, endpoint=self.endpoint))
                self.tell("init", "-input=false", directory=made, is_quiet=True)
        return made

    def tell(self, *words: str, directory: Path, is_quiet: bool = False) -> None:
        """Run a command of ours that ends by itself, and show what it prints. Raises Stuck."""
        done = subprocess.run(
            [*TFGUARD, *words],
            cwd=directory,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=is_quiet,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        if done.returncode:
            raise Stuck(f"tfguard {words[0]} has ended with exit {done.returncode}: {(done.stderr or b'').decode()}")

    def _argv(self, name: str, seconds: int) -> list[str]:
        if self.terraform:
            return [*TFGUARD, "apply", "-auto-approve", "-input=false", "-no-color", f"-var=seconds={seconds}"]
        program = (
            f"echo 'Working, for {seconds} s, as number '$TFGUARD_FENCING_TOKEN' under this lock.'; sleep {seconds}"
        )
        return [*TFGUARD, "exec", *self.lock, "--", "sh", "-c", program]


_BACKEND = """\
# A bucket of Google's kind on this machine, which `make demo` serves.
terraform {{
  backend "gcs" {{
    bucket                  = "{bucket}"
    prefix                  = "quickstart"
    access_token            = "demo"
    storage_custom_endpoint = "{endpoint}"
  }}
}}
"""


def play() -> None:
    """Tell the story from its beginning to its end. Raises Stuck."""
    with stage() as here:
        what = "applies of examples/quickstart" if here.terraform else "small programs under a lock named demo"
        say(f"Three people start at once: {what}. Only one may work at a time.")
        ada, ben, cleo = _line_up(here)

        count = ada.kill_all()
        killed_at = time.monotonic()
        say(f"kill -9 of all {count} processes of ada's run, as if her machine had died. Her lock stays behind.")
        say(f"Nobody unlocks it. After a lease without a heartbeat ({LEASE} here, else 3m) ben takes over.")
        ben.wait_until_it_says("took the lock over")
        say(f"That was {time.monotonic() - killed_at:.0f} s later. cleo is next, in her turn.")
        ben.wait()
        cleo.wait()

        here_now = here.directory("cleo")
        for command in ("status", "history"):
            say(f"$ tfguard {command}")
            here.tell(command, *here.lock, directory=here_now)
        say(_what_is_next(here.terraform))


def _line_up(here: Stage) -> tuple[Run, Run, Run]:
    """Start three runs, each as soon as the one before has its place."""
    for name in _COLORS:
        here.directory(name)
    ada = here.start("ada", _LONG_SECONDS)
    ada.wait_until_it_says("Working, for")
    ben = here.start("ben", _SHORT_SECONDS)
    ben.wait_until_it_says("You are 1st")
    cleo = here.start("cleo", _SHORT_SECONDS)
    cleo.wait_until_it_says("You are 2nd")
    return ada, ben, cleo


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """Make a folder, serve a bucket, find a Terraform; nothing of it is left afterwards, and no run either."""
    terraform = opentofu.find(os.environ)
    with tempfile.TemporaryDirectory(prefix="tfguard-demo-") as folder, bucket.serving() as endpoint:
        # What a run that is killed leaves behind goes with ours.
        scratch = Path(folder, "tmp")
        scratch.mkdir()
        environ = {**_environ(os.environ, terraform), "TMPDIR": str(scratch)}
        made = Stage(Path(folder), environ, endpoint, terraform)
        try:
            yield made
        finally:
            for run in made.runs:
                if run.process.poll() is None:
                    run.kill_all()


def _environ(given: Mapping[str, str], terraform: str | None) -> dict[str, str]:
    kept = {name: value for name, value in given.items() if not name.startswith(_FOREIGN)}
    made = {
        "GOOGLE_OAUTH_ACCESS_TOKEN": "demo",
        "TFGUARD_LOCK_LEASE": LEASE,
        "TFGUARD_SHORTEST_LEASE": LEASE,
        "CHECKPOINT_DISABLE": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }
    return {**kept, **made, **({"TFGUARD_TERRAFORM": terraform} if terraform else {})}


def _what_is_next(terraform: str | None) -> str:
    if terraform:
        return "Now in a directory of your own: tfguard doctor --prove-lock, and then tfguard plan."
    return (
        "No terraform (1.4 or newer) or tofu runs on this machine; with one, make demo runs real applies. Get one:\n"
        "https://developer.hashicorp.com/terraform/install or https://opentofu.org/docs/intro/install"
    )


# --- what is shown --------------------------------------------------------------------------------------------------

_TURN = threading.Lock()


def say(text: str) -> None:
    """Tell the story on."""
    _print(f"\n{_in_color('1', text)}")


class Shown:
    """
    What is shown of a run: whose it is, and its lines, but for two kinds that tell nothing here.

    They are the plan, which is the same each time, and the line of figures that a CI's log ends with.
    """

    def __init__(self, name: str) -> None:
        self._name = _in_color(_COLORS.get(name, "0"), f"{name:>6}")
        self._is_plan = False

    def hear(self, line: str) -> None:
        """Show a line, or do not."""
        if line.startswith(("Terraform used the selected providers", "OpenTofu used the selected providers")):
            self._is_plan = True
        if line.startswith("Plan: "):
            self._is_plan = False
        if line and not self._is_plan and " run.finished " not in line:
            _print(f"{self._name} | {line}")


def _print(text: str) -> None:
    with _TURN:
        try:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
        except OSError:  # Whoever looked on has gone: `make demo | head`.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            _thread.interrupt_main(signal.SIGTERM)


def _in_color(color: str, text: str) -> str:
    return f"\x1b[{color}m{text}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text
