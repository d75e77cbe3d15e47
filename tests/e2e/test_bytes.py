"""Names, arguments and variables are bytes, and reach Terraform as they are, whether they are UTF-8 or not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import TFGUARD, Backend, Stage
from tests.support.eventually import patience

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
#: Latin-1, as an old Git writes an author; no UTF-8.
NAME = b"J\xfcrgen"
FOLDER = os.fsdecode(b"checkout-\xff")
SEES = """
variable "v" {}
resource "terraform_data" "work" {
  input = var.v
  provisioner "local-exec" {
    command = "printf %s \\"$GIT_AUTHOR_NAME\\" > seen; pwd > where"
  }
}
output "v" {
  value = var.v
}
"""
#: What Terraform makes of `caf\xe9`.
SHOWN = "caf\N{REPLACEMENT CHARACTER}".encode()


def run(made: Stage, program: list[str], *words: bytes, **environ: bytes) -> subprocess.CompletedProcess[bytes]:
    given = {name.encode(): os.fsencode(value) for name, value in made.environ.items()}
    given |= {name.encode(): value for name, value in environ.items()}
    return subprocess.run(
        [*program, *words],
        cwd=made.path,
        env={**given, b"GIT_AUTHOR_NAME": NAME},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=patience(60),
    )


@pytest.mark.parametrize("backend", ["local", "dynamodb"])
def test_a_plan_is_made_and_applied_below_a_folder_of_any_name(stage: Make, backend: Backend) -> None:
    made = stage(backend, text=SEES, name=FOLDER)
    words = (b"plan", b"-no-color", b"-input=false", b"-var", b"v=caf\xe9", b"-out=pl\xff")

    planned = run(made, TFGUARD, b"--report", b"r\xff.md", *words)
    applied = run(made, TFGUARD, b"--report", b"r\xff.json", b"apply", b"-no-color", b"pl\xff")

    assert planned.returncode == applied.returncode == 0, planned.stderr + applied.stderr
    assert b'v = "' + SHOWN + b'"' in planned.stdout
    assert (made.path / "seen").read_bytes() == NAME
    assert (made.path / "where").read_bytes() == os.fsencode(made.path) + b"\n"
    assert b"1 to add" in (made.path / os.fsdecode(b"r\xff.md")).read_bytes()
    assert (made.path / os.fsdecode(b"r\xff.json")).read_bytes().decode()
    assert made.resources() == ["terraform_data.work"]
    assert made.leftovers() == []
    (planned.stderr + applied.stderr).decode()  # What we say is UTF-8.


def test_stdout_is_that_of_a_plain_terraform(stage: Make) -> None:
    made = stage("local", text=SEES, name=FOLDER)
    words = (b"plan", b"-no-color", b"-input=false")
    environ = {"TF_CLI_ARGS_plan": b"-var=v=caf\xe9", "TF_DATA_DIR": b"data-\xfe"}

    plain = run(made, ["terraform"], *words, **environ)
    ours = run(made, TFGUARD, *words, **environ)

    assert (ours.returncode, ours.stdout) == (plain.returncode, plain.stdout) and plain.returncode == 0, ours.stderr


def test_a_job_is_told_where_its_files_have_names_of_any_bytes(stage: Make, tmp_path: Path) -> None:
    made = stage("local", text=SEES, name=FOLDER)
    folder = tmp_path / os.fsdecode(b"t\xff")
    folder.mkdir()
    output = folder / os.fsdecode(b"o\xff")

    done = run(
        made,
        TFGUARD,
        *(b"apply", b"-no-color", b"-auto-approve", b"-var=v=1"),
        GITHUB_ACTIONS=b"true",
        RUNNER_TEMP=os.fsencode(folder),
        GITHUB_OUTPUT=os.fsencode(output),
        GITHUB_STEP_SUMMARY=os.fsencode(folder / "summary"),
        GITHUB_ACTOR=NAME,
        GITHUB_JOB=b"j\xff",
        TFGUARD_CI_LOG=b"1",
    )

    assert done.returncode == 0, done.stderr
    assert "\nsucceeded\n" in output.read_text("utf-8")
    assert "J\N{REPLACEMENT CHARACTER}rgen" in (folder / "summary").read_text("utf-8")


@pytest.fixture(scope="session")
def latin_locale(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """An old locale of one byte a letter."""
    place = tmp_path_factory.mktemp("locale")
    if not shutil.which("localedef") or not Path("/usr/share/i18n/charmaps").is_dir():
        pytest.skip("no locale can be made here")
    subprocess.run(["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(place / "de_DE")], check=False, timeout=60)
    return {"LOCPATH": os.fsencode(place), "LC_ALL": b"de_DE"}


#: Where Python itself reads bytes in another way in each of our processes.
PYTHONS: dict[str, dict[str, bytes]] = {
    "C-as-it-was": {"LC_ALL": b"C", "PYTHONUTF8": b"0", "PYTHONCOERCECLOCALE": b"0"},
    "latin-1": {},
    "latin-1-but-utf-8": {"PYTHONUTF8": b"1"},
}


@pytest.mark.parametrize("name", PYTHONS)
def test_bytes_are_the_same_in_every_locale(stage: Make, request: pytest.FixtureRequest, name: str) -> None:
    made = stage("local", text=SEES, name=os.fsdecode("é".encode() + b"\xff"))
    locale = request.getfixturevalue("latin_locale") if name.startswith("latin") else {}

    done = run(made, TFGUARD, b"apply", b"-no-color", b"-auto-approve", b"-var=v=1", **locale, **PYTHONS[name])

    assert done.returncode == 0, done.stderr
    assert (made.path / "seen").read_bytes() == NAME
    assert (made.path / "where").read_bytes() == os.fsencode(made.path) + b"\n"


#: What is asked about a run or a file, not run: words of ours, and whether its exit status is 0.
ASKED: dict[str, tuple[tuple[bytes, ...], int]] = {
    "no-pipeline": ((b"-p", b"p\xff", b"plan"), 78),
    "no-directory": ((b"-chdir=d\xff", b"plan"), 78),
    "no-store": ((b"status", b"--name", b"x", b"--store", b"dynamodb://t\xff"), 78),
    "status": ((b"status", b"--json"), 0),
    "history": ((b"history", b"--json"), 0),
    "doctor": ((b"doctor", b"--json"), 0),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_is_said_of_such_names_is_utf_8_and_no_defect(stage: Make, name: str) -> None:
    words, code = ASKED[name]
    made = stage("local", text=SEES, name=FOLDER)

    # As in a locale of UTF-8, where Python refuses to print such a name.
    done = run(made, TFGUARD, *words, PYTHONIOENCODING=b"utf-8:strict")

    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    (done.stdout + done.stderr).decode()
