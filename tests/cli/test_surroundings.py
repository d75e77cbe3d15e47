"""What the system refuses us is told from a defect of ours, and said in two lines."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.eventually import patience
from tfguard.cli.surroundings import as_refused

ROOT = Path(__file__).parents[2]
TFGUARD = [sys.executable, "-m", "tfguard"]


def shell(line: str, directory: Path, program: list[str] = TFGUARD, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a line of sh in which `"$@"` is the program."""
    return subprocess.run(
        ["sh", "-c", line, "sh", *program],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(ROOT), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience(30),
        check=False,
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "", "/tmp/x"), "/tmp/x: No space left on device."),
        (OSError(errno.EROFS, "", b"/tmp/\xff"), "/tmp/"),
        (OSError(errno.EMFILE, ""), "Too many open files."),
        (PermissionError(errno.EACCES, "", "/a\nb"), "/a"),
        (UnicodeEncodeError("ascii", "x\udcffy", 1, 2, "ordinal not in range"), "cannot be read or written as ascii"),
        (UnicodeDecodeError("utf-8", b"x\xffy", 1, 2, "invalid start byte"), "cannot be read or written as utf-8"),
    ],
)
def test_what_is_refused_is_named_with_what_to_do(error: Exception, said: str) -> None:
    refused = as_refused(error)

    assert refused is not None
    assert said in refused.what
    assert (refused.exit_code, len(refused.advice), "\n" in refused.what) == (78, 1, False)


@pytest.mark.parametrize("error", [OSError(errno.EBADF, ""), OSError("odd"), ValueError("no"), TypeError("no")])
def test_a_defect_stays_one(error: Exception) -> None:
    assert as_refused(error) is None


GONE = 'mkdir gone; cd gone; rmdir ../gone; "$@" '


@pytest.mark.parametrize("words", ["status", "exec -- true", "config list", "-p tfguard plan"])
def test_a_command_of_ours_in_a_directory_that_is_gone_says_so(tmp_path: Path, words: str) -> None:
    ended = shell(GONE + words, tmp_path)

    assert (ended.returncode, ended.stdout) == (78, "")
    assert ended.stderr == "tfguard: The directory that we were started in is gone.\nGo to one that is there: cd\n"


@pytest.mark.usefixtures("real_terraform")
@pytest.mark.parametrize("words", ["plan", "version", "-chdir=/ plan"])
def test_terraform_itself_says_so_of_its_commands(tmp_path: Path, words: str) -> None:
    plain = shell(GONE + words, tmp_path, ["terraform"])
    ours = shell(GONE + words, tmp_path)

    assert (ours.returncode, ours.stdout, ours.stderr) == (plain.returncode, plain.stdout, plain.stderr)


@pytest.mark.usefixtures("real_terraform")
@pytest.mark.parametrize("limit", ["ulimit -n 6", "ulimit -n 8", "ulimit -n 10", "ulimit -n 13", "ulimit -f 0"])
def test_a_limit_that_is_too_low_is_said_and_is_no_defect(tmp_path: Path, limit: str) -> None:
    (tmp_path / "main.tf").write_text("")

    ended = shell(f'{limit}; "$@" plan', tmp_path, PYTHONDONTWRITEBYTECODE="1")

    assert ended.returncode == 78, ended
    assert "Traceback" not in ended.stderr
    assert "defect" not in ended.stderr


@pytest.mark.usefixtures("real_terraform")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_letter_that_the_encoding_has_not_is_shown_by_its_number(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "main.tf").write_text("")

    ended = shell('"$@" doctor', tmp_path, PYTHONIOENCODING=encoding)

    assert "\\u2713 binary" in ended.stdout, ended
    assert "defect" not in ended.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_nobody_can_take_is_no_defect(tmp_path: Path) -> None:
    ended = shell('"$@" --help >/dev/full', tmp_path)

    assert (ended.returncode, "No space left on device" in ended.stderr) == (78, True), ended
    assert "defect" not in ended.stderr
