"""
A real Kubernetes API server with an etcd of its own: `python -m tests.support.kubernetes_apiserver APISERVER ETCD`.

It speaks TLS only, and is reached through a plain port on which its bytes are handed on as they are, so that it stands
wherever `kubernetes_server`, which plays it, stands. RBAC decides. The tokens are those that the other takes: `token`
may do everything, `without:VERB/RESOURCE` all but that; any other is unknown.
"""

from __future__ import annotations

import contextlib
import csv
import ctypes
import json
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

#: What there is a token for that may do all but this.
DENIED = ("update/leases", "watch/leases")
_GROUPS = {"leases": "coordination.k8s.io", "secrets": ""}
_VERBS = ("get", "list", "watch", "create", "update", "delete")
_PR_SET_PDEATHSIG = 1
_START_SECONDS = 240.0
_TRIES = 3


def main(apiserver: str, etcd: str) -> int:
    """Run until stdin ends."""
    for _ in range(_TRIES):  # A port that was free may be another's by then.
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            folder = Path(name)
            client, peer, secure = _free_ports(3)
            programs = [_etcd(etcd, folder, client, peer), _apiserver(apiserver, folder, client, secure)]
            running = [stack.enter_context(_running(argv)) for argv in programs]
            if _is_up(running, secure):
                _give_rights(secure)
                with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
                    threading.Thread(target=_hand_on, args=(listening, secure), daemon=True).start()
                    print(f"LISTENING {listening.getsockname()[1]}", flush=True)
                    sys.stdin.buffer.read()
                return 0
    return 1


@contextlib.contextmanager
def _running(argv: list[str]) -> Any:
    with subprocess.Popen(argv, stdout=sys.stderr, preexec_fn=_end_with_parent) as process:  # noqa: PLW1509 - there is one
        try:
            yield process
        finally:
            process.kill()


def _end_with_parent() -> None:
    """Let the kernel kill it when we are killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _etcd(program: str, folder: Path, client: int, peer: int) -> list[str]:
    clients, peers = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    where = [f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"]
    where += [f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"]
    where += [f"--initial-cluster=default={peers}", f"--data-dir={folder / 'etcd'}"]
    return [program, *where, "--unsafe-no-fsync", "--log-level=error"]


def _apiserver(program: str, folder: Path, client: int, secure: int) -> list[str]:
    key = rsa.generate_private_key(65537, 2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    accounts = folder / "accounts.pem"
    accounts.write_bytes(key.private_bytes(*form))
    tokens = folder / "tokens.csv"
    with tokens.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["token", "admin", "1", "system:masters"])
        writer.writerows([f"without:{what}", _user(what), what] for what in DENIED)
    words = {
        "etcd-servers": f"http://127.0.0.1:{client}",
        "bind-address": "127.0.0.1",
        "secure-port": str(secure),
        "cert-dir": str(folder / "certificates"),
        "token-auth-file": str(tokens),
        "authorization-mode": "RBAC",
        "service-account-issuer": "https://kubernetes.example",
        "service-account-key-file": str(accounts),
        "service-account-signing-key-file": str(accounts),
        "service-cluster-ip-range": "10.0.0.0/24",
        "endpoint-reconciler-type": "none",
        "disable-admission-plugins": "ServiceAccount",
    }
    return [program, *(f"--{name}={value}" for name, value in words.items())]


def _user(what: str) -> str:
    return "without-" + what.replace("/", "-")


def _is_up(running: list[subprocess.Popen[bytes]], secure: int) -> bool:
    until = time.monotonic() + _START_SECONDS
    while all(each.poll() is None for each in running) and time.monotonic() < until:
        with contextlib.suppress(OSError):
            _ask(secure, "GET", "/readyz")
            return True
        time.sleep(0.1)
    return False


def _give_rights(secure: int) -> None:
    """Make a role for each of the other tokens."""
    root = "/apis/rbac.authorization.k8s.io/v1"
    for what in DENIED:
        denied, _, of = what.partition("/")
        rules = [
            {
                "apiGroups": [group],
                "resources": [plural],
                "verbs": [*(set(_VERBS) - ({denied} if plural == of else set()))],
            }
            for plural, group in _GROUPS.items()
        ]
        role = {"metadata": {"name": _user(what)}, "rules": rules}
        refers = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _user(what)}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": _user(what)}
        bound = {"metadata": {"name": _user(what)}, "roleRef": refers, "subjects": [subject]}
        _ask(secure, "POST", f"{root}/clusterroles", role)
        _ask(secure, "POST", f"{root}/clusterrolebindings", bound)


def _ask(secure: int, method: str, path: str, body: Any = None) -> None:
    headers = {"Authorization": "Bearer token", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"https://127.0.0.1:{secure}{path}", content, headers, method=method)
    with urllib.request.urlopen(request, timeout=10, context=_context()) as answer:
        answer.read()


def _context() -> ssl.SSLContext:
    """Who listens on that port has made its certificate itself."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _hand_on(listening: socket.socket, secure: int) -> None:
    with contextlib.suppress(OSError):  # Closed at the end.
        while True:
            near, _ = listening.accept()
            threading.Thread(target=_serve, args=(near, secure), daemon=True).start()


def _serve(near: socket.socket, secure: int) -> None:
    """Carry bytes both ways until either end is closed: by one thread, since no two may touch what speaks TLS."""
    with near, contextlib.suppress(OSError), _context().wrap_socket(_connected(secure)) as far:
        while True:
            ready = [far] if far.pending() else select.select([near, far], [], [])[0]
            for source, sink in ((near, far), (far, near)):
                if source in ready:
                    content = _received(source)
                    if content == b"":
                        return
                    sink.sendall(content or b"")


def _connected(secure: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", secure), 10)
    made.settimeout(None)
    return made


def _received(source: socket.socket) -> bytes | None:
    """What is there; None if nothing is, though something came: TLS has words of its own."""
    source.setblocking(False)
    try:
        return source.recv(65536)
    except (ssl.SSLWantReadError, BlockingIOError):
        return None
    finally:
        source.setblocking(True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
