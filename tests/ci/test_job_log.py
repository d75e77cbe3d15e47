"""Marks for the platform get into the job's log, and into nothing that a script makes of our stdout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = "import sys; from tfguard.ci.job_log import stream_for; print(stream_for(1), file=sys.stderr)"
ASK = f"{sys.executable} -c '{CODE}'"


def stream(script: str, tmp_path: Path, *, is_one: bool) -> str:
    """Run a job's script; `is_one`: the runner gives it one pipe for both streams, as GitLab does, else two."""
    done = subprocess.run(
        ["bash", "-c", script.format(ask=ASK, out=tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if is_one else subprocess.PIPE,
        text=True,
        check=True,
    )
    return (done.stdout if is_one else done.stderr).strip()


@pytest.mark.parametrize("is_one", [True, False], ids=["one pipe", "two pipes"])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("{ask}; :", "1"),
        ("cd . && {ask} && :", "1"),
        ("{ask} > {out}; :", "2"),
        ("words=$({ask}); :", "2"),
        ("{ask} | cat > {out}; :", "2"),
        ("{ask} >/dev/null; :", "2"),
    ],
)
def test_stdout_is_the_jobs_log_as_long_as_nobody_redirects_it(
    tmp_path: Path, script: str, expected: str, is_one: bool
) -> None:
    assert stream(script, tmp_path, is_one=is_one) == expected
