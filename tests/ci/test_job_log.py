"""Marks for the platform get into the job's log, and into nothing that a script makes of our stdout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = 'import sys; from tfguard.ci.job_log import stream_for; open(sys.argv[1], "w").write(str(stream_for(1)))'


def stream(script: str, tmp_path: Path, *, is_one: bool) -> str:
    """Run a job's script; `is_one`: the runner gives it one pipe for both streams, as GitLab does, else two."""
    answer = tmp_path / "answer"
    ask = tmp_path / "ask"
    ask.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{CODE}' {answer}\n")
    ask.chmod(0o755)
    subprocess.run(
        ["bash", "-c", script.format(ask=ask, out=tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if is_one else subprocess.PIPE,
        check=True,
    )
    return answer.read_text()


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
        ("{ask} 2>/dev/null; :", "1"),
        ("{ask} 2>&-; :", "1"),
        ("{ask} 1>&2; :", "1"),
        ("words=$({ask} 2>/dev/null); :", "2"),
        ("words=$({ask} 2>&-); :", "2"),
        ("words=$({ask} 2> {out}); :", "2"),
        ("words=$({ask} 2>&1); :", "2"),
        ("words=$(cd . && {ask} 2>/dev/null; :); :", "2"),
        ("{ask} 2>&1 | cat > {out}; :", "2"),
        ("{ask} > {out} 2>&1; :", "2"),
        ("bash -c '{ask}; :'; :", "1"),
        ("bash -c '{ask}; :' > {out}; :", "2"),
        ("words=$(sh -c '{ask} 2>/dev/null; :'); :", "2"),
    ],
)
def test_stdout_is_the_jobs_log_as_long_as_nobody_redirects_it(
    tmp_path: Path, script: str, expected: str, is_one: bool
) -> None:
    assert stream(script, tmp_path, is_one=is_one) == expected
