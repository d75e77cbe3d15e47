"""
tfguard without its start: a process that has imported all of it forks another for each command, and its keeper.

Most of what a run takes is Python importing tfguard, twice. What is forked here has the arguments, the environment, the
directory and the streams that it is given, and ends as `python -m tfguard` does; the keeper that it starts first is
forked too, each later one is a Python of its own. But its parent is not the test, and nothing of its start is tried.
Tests of the start, of a signal or a death at any instant, and of whose child is whose start a Python of their own:
`Stage.start_afresh`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import pkgutil
import select
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfguard.process import fork

ROOT = Path(__file__).parents[2]
_LARGEST_REQUEST = 1 << 17
#: A PID, and then an exit status, are told in so many bytes each.
_NUMBER = 8


def fits(environ: Mapping[str, str]) -> bool:
    """Whether a Python with this environment would have started as ours has: only later does it read the others."""
    return sys.platform == "linux" and _of_python(environ) == _of_python(own_environ())


class Forked(subprocess.Popen[str]):
    """One that runs. Its end, and how it came, are told by who waits for it: it is no child of ours."""

    def __init__(self, words: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> None:
        self._told = -1
        pipe = subprocess.PIPE
        super().__init__(list(words), cwd=cwd, env=environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def _execute_child(self, *given: Any) -> None:  # type: ignore[override]
        words, cwd, environ = given[0], given[5], given[6]
        streams = [given[each] for each in (10, 13, 15)]
        self._told, theirs = os.pipe()
        try:
            request = json.dumps([words, str(cwd), dict(environ)]).encode()
            socket.send_fds(_server(), [request], [*streams, theirs])
        finally:
            for each in (*streams, theirs):
                os.close(each)
        self._closed_child_pipe_fds = True
        self.pid = int.from_bytes(os.read(self._told, _NUMBER), "little")
        self._child_created = True

    def _internal_poll(self, **_: Any) -> int | None:
        with self._waitpid_lock:  # type: ignore[attr-defined]
            if self.returncode is None and self._has_ended(0):
                self.returncode = self._end()
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if not self._has_ended(0 if wait_flags & os.WNOHANG else None):
            return 0, 0
        code = self._end()
        return self.pid, -code if code < 0 else code << 8

    def _has_ended(self, timeout: float | None) -> bool:
        return bool(select.select([self._told], [], [], timeout)[0])

    def _end(self) -> int:
        code = int.from_bytes(os.read(self._told, _NUMBER), "little", signed=True)
        os.close(self._told)
        return code


def run(
    words: Sequence[str], cwd: Path, environ: Mapping[str, str], stdin: str, timeout: float
) -> tuple[int, str, str]:
    """Run a command to its end; gives its exit status, negative for a signal, and what it has printed."""
    process = Forked(words, cwd, environ)
    try:
        out, err = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"tfguard {' '.join(words)} runs for more than {timeout:.0f} s: {error.output!r}") from error
    return process.returncode, out, err


def completed(words: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, forked where it can be."""
    if not fits(environ):
        argv, null = [sys.executable, "-m", "tfguard", *words], subprocess.DEVNULL
        return subprocess.run(argv, cwd=cwd, env=environ, capture_output=True, text=True, stdin=null, timeout=60)
    return subprocess.CompletedProcess(words, *run(words, cwd, environ, "", 60))


@functools.cache
def own_environ() -> Mapping[str, str]:
    """The environment of the process that forks."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT)}


def _of_python(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(("PYTHON", "LANG", "LC_"))}


@functools.cache
def _server() -> socket.socket:
    """Our end of a socket to the process that forks. It ends when this process does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.forked", str(theirs.fileno())],
            cwd=ROOT,
            env=dict(own_environ()),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    atexit.register(_end, ours, process)
    return ours


def _end(ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
    ours.close()
    with contextlib.suppress(subprocess.TimeoutExpired):  # A command of a test that has failed may still run.
        process.wait(10)


# --- the process that forks -----------------------------------------------------------------------------------------


def _serve(requests: socket.socket) -> None:
    for module in pkgutil.walk_packages([str(ROOT / "tfguard")], "tfguard."):
        __import__(module.name)
    _let_early_keepers_be_forked()
    gc.freeze()  # What is never looked at again is never copied.
    waiting = 0
    while True:
        request, fds, _, _ = socket.recv_fds(requests, _LARGEST_REQUEST, 4)
        if not request:
            break
        if os.fork() == 0:
            requests.close()
            _wait_for(*json.loads(request), *fds)
        waiting += 1
        for each in fds:
            os.close(each)
        while waiting and os.waitpid(-1, os.WNOHANG)[0]:
            waiting -= 1
    for _ in range(waiting):
        os.wait()


def _wait_for(words: Sequence[str], cwd: str, environ: Mapping[str, str], *fds: int) -> None:
    told = fds[3]
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _become(words, cwd, environ, fds[:3])
    os.write(told, pid.to_bytes(_NUMBER, "little"))
    for each in (0, 1, 2, *fds[:3]):  # Our copies would keep the readers waiting.
        os.close(each)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(told, os.waitstatus_to_exitcode(status).to_bytes(_NUMBER, "little", signed=True))
    os._exit(0)


def _become(words: Sequence[str], cwd: str, environ: Mapping[str, str], fds: Sequence[int]) -> None:
    from tfguard import __main__

    for number, each in enumerate(fds):
        os.dup2(each, number)
        os.close(each)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    tempfile.tempdir = None
    sys.argv = [__main__.__file__, *words]
    _end_after(__main__.main)


def _end_after(main: Callable[[], object]) -> None:
    """End as a Python does whose program is `main`."""
    code: object = 1
    try:
        main()
        code = 0
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    finally:
        if not isinstance(code, int):
            if code is not None:
                print(code, file=sys.stderr)
            code = 0 if code is None else 1
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


# --- its keeper -----------------------------------------------------------------------------------------------------


def _let_early_keepers_be_forked() -> None:
    """Those that are started before anything else is: then the process has one thread, and nothing that is its own."""
    from tfguard.process import launch

    begin = launch.launch_early

    def launch_early(words: Sequence[str]) -> None:
        launch.subprocess = _Forking  # type: ignore[assignment]
        try:
            begin(words)
        finally:
            launch.subprocess = subprocess

    launch.launch_early = launch_early


class _Keeper(fork.Forked):
    """What is needed of a `subprocess.Popen` of a keeper."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], pass_fds: Sequence[int], **streams: int) -> None:
        assert fork.is_possible()
        assert streams == {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        *_, name, _, channel, page, lifeline, _ = argv
        assert name == "tfguard-keeper"
        super().__init__(os.fork())
        if self.pid == 0:
            self._become(env, [int(channel), int(page), int(lifeline)], pass_fds)

    def wait(self) -> int:
        if self._status is None:
            with contextlib.suppress(ChildProcessError):
                self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status or 0

    def _become(self, environ: Mapping[str, str], numbers: Sequence[int], keep: Sequence[int]) -> None:
        from tfguard.process import inherited, keeper

        fork._take_name("tfguard-keeper")
        null = os.open(os.devnull, os.O_RDWR)
        for each in (0, 1):
            os.dup2(null, each)
        for each in map(int, os.listdir("/proc/self/fd")):
            if each > 2 and each not in keep:
                with contextlib.suppress(OSError):  # That of the listing itself.
                    os.close(each)
        os.environ.clear()
        os.environ.update(environ)
        inherited._found = None
        gc.disable()  # As whoever starts a keeper has it.
        _end_after(lambda: keeper.main(*numbers))


class _Forking:
    """What `launch` needs of `subprocess`."""

    DEVNULL = subprocess.DEVNULL
    Popen = _Keeper


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
