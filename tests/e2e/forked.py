"""
tfguard without its start: a process that has imported all of it forks another for each command.

Most of what a short command takes is Python importing tfguard and botocore. What is forked here has the arguments,
the environment, the directory and the streams that it is given, starts its own keeper, and ends as `python -m tfguard`
does; but its parent is not the test, and nothing of its start is tried. Tests of the start, of signals, and of whose
child is whose start a Python of their own: `Stage.start`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import pkgutil
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LARGEST_REQUEST = 1 << 17


def fits(environ: Mapping[str, str]) -> bool:
    """Whether a Python with this environment would have started as ours has: only later does it read the others."""
    return sys.platform == "linux" and _of_python(environ) == _of_python(own_environ())


def run(
    words: Sequence[str], cwd: Path, environ: Mapping[str, str], stdin: str, timeout: float
) -> tuple[int, str, str]:
    """Run a command to its end; gives its exit status, negative for a signal, and what it has printed."""
    with contextlib.ExitStack() as stack:
        theirs, ours = [], []
        for reading, writing in (os.pipe() for _ in range(4)):
            theirs.append(reading if not theirs else writing)
            ours.append(stack.enter_context(open(writing if not ours else reading, "r" if ours else "w")))
        request = json.dumps([list(words), str(cwd), dict(environ)]).encode()
        try:
            socket.send_fds(_server(), [request], theirs)
        finally:
            for each in theirs:
                os.close(each)
        into, out, err, told = ours
        texts: dict[str, str] = {}
        readers = [
            threading.Thread(target=lambda name=name, file=file: texts.update({name: file.read()}), daemon=True)
            for name, file in (("out", out), ("err", err), ("told", told))
        ]
        for reader in readers:
            reader.start()
        with contextlib.suppress(BrokenPipeError), into:
            into.write(stdin)
        for reader in readers:
            reader.join(timeout)
        if any(reader.is_alive() for reader in readers):
            raise TimeoutError(f"tfguard {' '.join(words)} runs for more than {timeout:.0f} s: {texts}")
        return int(texts["told"]), texts["out"], texts["err"]


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
    for each in (0, 1, 2, *fds[:3]):  # Our copies would keep the readers waiting.
        os.close(each)
    _, status = os.waitpid(pid, 0)
    os.write(told, str(os.waitstatus_to_exitcode(status)).encode())
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
    code: object = 1
    try:
        __main__.main()
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


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
