"""
The comparison with a plain Terraform: command × descriptors × surroundings, and what each shows.

A wrapper changes nothing: what a plain Terraform prints, ends with and leaves behind is asked of Terraform itself, in
the same place with the same name, beside tfguard; nothing is written down here. The local backend needs no server.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.eventually import patience

#: A configuration that has something to say to each command, and a test of it.
FILES = {
    "main.tf": """
variable "greeting" {
  default = "hello"
}
module "inner" {
  source = "./inner"
}
output "greeting" {
  value = var.greeting
}
output "inner" {
  value = module.inner.name
}
""",
    "inner/main.tf": 'output "name" {\n  value = "inner"\n}\n',
    "odd.tf": 'locals {\n  a = 1\n      bcd = "é"\n}\n',
    "it.tftest.hcl": 'run "it" {\n  command = plan\n}\n',
}


@dataclass(frozen=True)
class Command:
    """A command of Terraform's. `is_locked`: tfguard runs it under its lock, and says so on stderr."""

    words: Sequence[str]
    given: str = ""
    is_locked: bool = False


COMMANDS: Mapping[str, Command] = {
    "plan": Command(("plan", "-no-color"), is_locked=True),
    "validate": Command(("validate", "-no-color")),
    "apply": Command(("apply", "-no-color", "-auto-approve", "-var=greeting=new"), is_locked=True),
    "fmt -": Command(("fmt", "-"), given='a    = "é"\nbc = 2\n'),
    "state list": Command(("state", "list")),
    "plan -json": Command(("plan", "-json"), is_locked=True),
    "fmt -check": Command(("fmt", "-check", "-diff")),
    "apply, asked": Command(("apply", "-no-color", "-var=greeting=new"), given="yes\n", is_locked=True),
    "test -json": Command(("test", "-json")),
    "untaint": Command(("untaint", "terraform_data.none"), is_locked=True),
    "get": Command(("get", "-no-color")),
    "plan -detailed-exitcode": Command(
        ("plan", "-no-color", "-detailed-exitcode", "-var=greeting=new"), is_locked=True
    ),
    "output": Command(("output", "-json")),
    "a wrong flag": Command(("plan", "-no-color", "-nonsense"), is_locked=True),
    "show": Command(("show", "-no-color")),
    "refresh": Command(("refresh", "-no-color"), is_locked=True),
    "version": Command(("version", "-json")),
    "console": Command(("console",), given='upper("é")\n1 + 1\n'),
    "providers": Command(("providers",)),
    "graph": Command(("graph",)),
    "workspace show": Command(("workspace", "show")),
    "no command": Command(("nonsense",)),
}

#: Redirections of the shell. What is read and written lies beside the directory.
DESCRIPTORS: Mapping[str, str] = {
    "pipes": "",
    "files": "<../in >../out 2>../err",
    "no input": "</dev/null",
    "stdin closed": "<&-",
    "stdout closed": ">&-",
    "stderr closed": "2>&-",
    "0 and 1 closed": "<&- >&-",
    "0 and 2 closed": "<&- 2>&-",
    "1 and 2 closed": ">&- 2>&-",
    "nobody sees": ">/dev/null 2>/dev/null",
    "others open": "3<../in 5>../out 9<../in",
    "stdout full": ">/dev/full",
}

#: What stands before the program on the shell's line, and what is in its environment.
SURROUNDINGS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "ordinary": ("", {}),
    "env -i": ('env -i PATH="$PATH" CHECKPOINT_DISABLE=1', {}),
    "umask 777": ("umask 777;", {}),
    "ulimit -n 64": ("ulimit -n 64;", {}),
    "legacy locale": ("", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    "ascii": ("", {"PYTHONIOENCODING": "ascii"}),
    "no text": ("", {"GIT_AUTHOR_NAME": "J\udcfcrgen", "TF_VAR_other": "caf\udce9"}),
    "in a job": (
        "",
        {"CI": "true", "GITHUB_ACTIONS": "true", "TFGUARD_CI_LOG": "1", "TF_IN_AUTOMATION": "1", "TF_INPUT": "0"},
    ),
}

#: One way to run it: the names of a command, of descriptors, of surroundings.
Case = tuple[str, str, str]
#: Each two values of different kinds meet at least once.
WHOLE: Sequence[Case] = tuple(
    (command, descriptors, tuple(SURROUNDINGS)[(row + column) % len(SURROUNDINGS)])
    for row, command in enumerate(COMMANDS)
    for column, descriptors in enumerate(DESCRIPTORS)
)
#: What remains, and is meant to: docs/reference/cli.md gives the reasons.
HISTORY = ".tfguard"
_BEHIND_A_WRONG_FLAG = re.compile(rb"\nError: Too many command line arguments\n\n[^\n]+\n")
#: Terraform writes to a pipe of ours, which is never full.
NEVER_FULL = ("apply, asked", "stdout full")


def thinned() -> Sequence[Case]:
    """
    A fixed few: every command; and with commands under the lock, as with others, all descriptors and all surroundings.
    """
    return tuple(
        (command, descriptors, surroundings)
        for is_locked in (True, False)
        for command, descriptors, surroundings in zip(
            itertools.cycle(name for name, each in COMMANDS.items() if each.is_locked == is_locked),
            DESCRIPTORS,
            itertools.cycle(SURROUNDINGS),
        )
    )


@dataclass(frozen=True)
class Shown:
    """What is to be seen of a run: its exit status, what it printed, and every file afterwards with its mode."""

    status: int
    out: bytes
    err: bytes
    files: Mapping[str, tuple[int, bytes]]


#: What differs from run to run of a plain Terraform, too.
_VARYING = re.compile(
    rb'"@?timestamp":"[^"]*"|"timestamp": "[^"]*"|\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[-+][0-9:]+)|'
    rb'"lineage": "[^"]*"|"@?[a-z_]*elapsed_seconds":\d+'
)
#: What tfguard says on stderr.
_OURS = re.compile(rb"(?m)^(?:\S*stage(?:/terraform\.tfstate)?: .*|\d\d:\d\d:\d\d \w+ +run\.finished .*)\n")
#: What it prints around Terraform's text in a job's log, which here is every stream but a file.
_MARKS = re.compile(rb"::group::[^\n]*\n::stop-commands::[0-9a-f]{32}\n|\n::[0-9a-f]{32}::\n::endgroup::\n")
_ANNOTATION = re.compile(rb"(?m)^::(?:notice|warning|error)[ :].*\n")


class Ground:
    """The directory in which all is run, made anew each time. `folder` is for it and for what lies beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._template, self._stage = folder / "template", folder / "stage"
        for name, text in FILES.items():
            path = self._template / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for words in (("init", "-input=false"), ("apply", "-auto-approve")):
            subprocess.run(
                ["terraform", *words], cwd=self._template, env=self._environ({}), check=True, capture_output=True
            )

    def differences(self, case: Case) -> list[str]:
        """Say what tfguard does otherwise than a plain Terraform, and is not meant to."""
        plain = self._shown(case, ["terraform"])
        ours = _without_what_is_meant(case, self._shown(case, [sys.executable, "-m", "tfguard"]), plain)
        return list(_differences(plain, ours))

    def _shown(self, case: Case, program: Sequence[str]) -> Shown:
        command, (before, environ) = COMMANDS[case[0]], SURROUNDINGS[case[2]]
        shutil.rmtree(self._stage, ignore_errors=True)
        shutil.copytree(self._template, self._stage)
        (self.folder / "in").write_text(command.given)
        for name in ("out", "err"):
            (self.folder / name).write_bytes(b"")
        set_up, starter = (before, "exec") if before.endswith(";") else ("", f"exec {before}")
        ended = subprocess.run(
            ["sh", "-c", f'{set_up} {starter} "$@" {DESCRIPTORS[case[1]]}', "sh", *program, *command.words],
            cwd=self._stage,
            env=self._environ(environ),
            input=command.given.encode(),
            capture_output=True,
            timeout=patience(60),
            check=False,
        )
        out, err = (self.folder / name for name in ("out", "err"))
        return Shown(ended.returncode, ended.stdout + out.read_bytes(), ended.stderr + err.read_bytes(), self._files())

    def _environ(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "SSL_CERT_FILE") if name in os.environ}
        own = {"HOME": str(self.folder), "PYTHONPATH": str(Path(__file__).parents[2]), "CHECKPOINT_DISABLE": "1"}
        return {**kept, **own, "GITHUB_STEP_SUMMARY": str(self.folder / "summary"), **more}

    def _files(self) -> dict[str, tuple[int, bytes]]:
        return {
            str(path.relative_to(self._stage)): (path.stat().st_mode, _without_varying(path.read_bytes()))
            for path in sorted(self._stage.rglob("*"))
            if path.is_file() and path.suffix != HISTORY
        }


def _without_varying(data: bytes) -> bytes:
    return _VARYING.sub(b"<varies>", data)


def _without_what_is_meant(case: Case, ours: Shown, plain: Shown) -> Shown:
    """Give `ours` without what the docs say of it."""
    if case[:2] == NEVER_FULL:
        return plain
    command, is_in_job = COMMANDS[case[0]], case[2] == "in a job"
    out, err, status = ours.out, ours.err, ours.status
    if command.is_locked or is_in_job:
        err = _OURS.sub(b"", err)
    if command.is_locked:
        err = _BEHIND_A_WRONG_FLAG.sub(b"", err)
    if is_in_job:
        err = _ANNOTATION.sub(b"", _MARKS.sub(b"", err))
        out = out if case[1] == "files" else _MARKS.sub(b"", out)
        # GitHub fails a step that ends with 2; the action's outputs tell of changes.
        status = 2 if "-detailed-exitcode" in command.words and status == 0 else status
    return replace(ours, out=out, err=err, status=status)


def _differences(plain: Shown, ours: Shown) -> Iterator[str]:
    if ours.status != plain.status:
        yield f"exit status {ours.status}, not {plain.status}: {ours.err!r}"
    for name, mine, its in (("stdout", ours.out, plain.out), ("stderr", ours.err, plain.err)):
        if _without_varying(mine) != _without_varying(its):
            yield f"{name} {mine!r}, not {its!r}"
    if ours.files != plain.files:
        names = sorted(name for name in {*ours.files, *plain.files} if ours.files.get(name) != plain.files.get(name))
        yield f"files {[(name, ours.files.get(name), plain.files.get(name)) for name in names]}"
