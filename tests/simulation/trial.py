"""
pytest without its start: a process that has imported it, and what is not ours of what tests import, forks one for each
deliberate fault. Of tfguard and of the tests nothing is imported before a fork: each finds its own copy.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[2]
#: What is imported once for all of them.
_FOREIGN = (
    *("asyncio", "cryptography.x509", "hypothesis.strategies", "http.server", "msgspec", "psutil", "psycopg", "pytest"),
    *("statistics", "urllib.request"),
)
_LARGEST_REQUEST = 1 << 17
_SECONDS = 300


def run(words: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> tuple[int, str]:
    """Run pytest with these words; gives its exit status, and what it has printed."""
    server = _server()
    with tempfile.TemporaryFile() as printed:
        request = json.dumps([list(words), str(cwd), dict(environ)]).encode()
        socket.send_fds(server, [request], [printed.fileno()])
        code = int(server.recv(64) or b"-1")
        printed.seek(0)
        return code, printed.read().decode(errors="replace")


@functools.cache
def _server() -> socket.socket:
    """Our end of a socket to the process that forks. It ends when this process does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(_SECONDS)
    with theirs:
        command = [sys.executable, "-m", "tests.simulation.trial", str(theirs.fileno())]
        process = subprocess.Popen(command, cwd=_ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    atexit.register(_end, ours, process)
    return ours


def _end(ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
    ours.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)


# --- the process that forks -----------------------------------------------------------------------------------------


def _serve(requests: socket.socket) -> None:
    for name in _FOREIGN:
        importlib.import_module(name)
    _find_without_looking_for_the_least()
    gc.freeze()
    while True:
        request, (*fds,), _, _ = socket.recv_fds(requests, _LARGEST_REQUEST, 1)
        if not request:
            break
        pid = os.fork()
        if pid == 0:
            requests.close()
            _become(*json.loads(request), *fds)
        os.close(fds[0])
        requests.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def _find_without_looking_for_the_least() -> None:
    """Let Hypothesis end with the first example that fails, and try the same ones each time."""
    from hypothesis import Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("trial", max_examples=100, derandomize=True, deadline=None, database=None, phases=phases)
    settings.load_profile("trial")


def _become(words: Sequence[str], cwd: str, environ: Mapping[str, str], printed: int) -> None:
    code = 70
    try:
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        os.close(printed)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environ)
        sys.argv = ["pytest", *words]
        import pytest

        code = int(pytest.main(list(words)))
    except BaseException:  # noqa: BLE001 - told by its status
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
