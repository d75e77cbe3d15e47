"""A Consul of one server, in memory, on free ports of this machine: `python consul_server.py PROGRAM [acl]`."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack

#: The token that may do everything, where tokens count.
MASTER = "00000000-0000-0000-0000-00000000a11a"
#: It is alone, and need not look for others ten times a second for as long as the tests run.
_ALONE = {"performance": {"raft_multiplier": 5}}
_ACL = {"acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": MASTER}}}
_PR_SET_PDEATHSIG = 1
_START_SECONDS = 120.0
_TRIES = 3


def main(program: str, *words: str) -> int:
    """Run until stdin ends."""
    for _ in range(_TRIES):  # A port that was free may be another's by then.
        http, *others = _free_ports()
        argv = _argv(program, http, others, with_acl="acl" in words)
        environ = {**os.environ, "GOMAXPROCS": "1"}
        with subprocess.Popen(argv, stdout=sys.stderr, env=environ, preexec_fn=_end_with_parent) as agent:  # noqa: PLW1509 - there is one
            try:
                if _is_up(agent, http):
                    print(f"LISTENING {http}", flush=True)
                    sys.stdin.buffer.read()
                    return 0
            finally:
                agent.kill()
    return 1


def _end_with_parent() -> None:
    """Let the kernel kill the agent when we are killed. Debian's is for Linux."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _argv(program: str, http: int, others: list[int], *, with_acl: bool) -> list[str]:
    server, lan, wan = others
    ports = [f"-http-port={http}", "-grpc-port=-1", "-dns-port=-1", f"-server-port={server}"]
    ports += [f"-serf-lan-port={lan}", f"-serf-wan-port={wan}"]
    settings = json.dumps({**_ALONE, **(_ACL if with_acl else {})})
    where = ["-bind=127.0.0.1", "-client=127.0.0.1", "-disable-host-node-id", "-log-level=err"]
    return [program, "agent", "-dev", *where, *ports, "-hcl", settings]


def _free_ports() -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _is_up(agent: subprocess.Popen[bytes], http: int) -> bool:
    """Wait until it has a leader and takes writes."""
    until = time.monotonic() + _START_SECONDS
    headers = {"X-Consul-Token": MASTER}
    url = f"http://127.0.0.1:{http}/v1/kv/tests/is-up"
    while agent.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, b"yes", headers, method="PUT"), timeout=5
            ) as answer:
                if answer.read().strip() == b"true":
                    return True
        except OSError:
            time.sleep(0.05)
    return False


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
