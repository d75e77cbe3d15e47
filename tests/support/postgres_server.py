"""A PostgreSQL in a directory of its own, on a free port: `python postgres_server.py BIN [LIBRARIES]`."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: Who runs it where we are root, which it refuses.
_NOBODY = 65534
_PR_SET_PDEATHSIG = 1
_START_SECONDS = 120.0
_TRIES = 3
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "400",
    "fsync": "off",
    "jit": "off",
    "log_min_messages": "fatal",
}


def main(programs: str, libraries: str = "") -> int:
    """Run until stdin ends."""
    if libraries:
        os.environ["LD_LIBRARY_PATH"] = libraries
    directory = tempfile.mkdtemp(prefix="postgres.")
    try:
        if os.geteuid() == 0:
            os.chown(directory, _NOBODY, _NOBODY)
        data = f"{directory}/data"
        made = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        _start([f"{programs}/initdb", *made], directory).wait()
        for _ in range(_TRIES):  # A port that was free may be another's by then.
            port = free_port()
            settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
            server = _start([f"{programs}/postgres", "-D", data, "-p", str(port), *settings], directory)
            try:
                if _is_up(server, Path(data, "postmaster.pid")):
                    print(f"LISTENING {port}", flush=True)
                    sys.stdin.buffer.read()
                    return 0
            finally:
                server.send_signal(signal.SIGQUIT)  # At once, with all of its own.
                server.wait()
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _start(argv: list[str], directory: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, cwd=directory, preexec_fn=as_nobody)  # noqa: PLW1509 - there is one thread


def as_nobody() -> None:
    """Be no root, and end as our parent does: its other processes end with the first of them."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _is_up(server: subprocess.Popen[bytes], status: Path) -> bool:
    """Wait until it takes connections: the last line of its file says so."""
    until = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < until:
        try:
            if status.read_text().splitlines()[-1].strip() == "ready":
                return True
        except (OSError, IndexError):
            pass
        time.sleep(0.02)
    return False


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
