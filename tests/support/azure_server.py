"""
Azure's blobs as a process of its own: azurite, Microsoft's emulator, behind a proxy that leads nowhere else.

An unmodified Terraform talks to `ACCOUNT.blob.core.windows.net` with TLS: by HTTPS_PROXY it comes here, and by
SSL_CERT_FILE (`authority.pem` in the folder) it believes what it finds.

What locks stand on is azurite's own, and documented by Microsoft so (its pages of the Blob service's REST API):

    lease      "Lease Blob": acquire with `x-ms-proposed-lease-id`, 409 where another's is active; freed by its ID alone
    writes     "Put Blob", "Set Blob Metadata": 412 without the active lease's ID, or with another
    conditions "Specifying conditional headers": If-Match, If-None-Match: 412; `*` on a blob that is there: azurite 409
    metadata   "Set Blob Metadata": all of it at once; names have no case
    signing    "Authorize with Shared Key"

Not azurite's, and so in no test: rights (RBAC), what a lifecycle rule deletes, accounts with a DNS zone of their own.

Prints `LISTENING <port>` of the proxy; ends
when stdin does. It is started with two words: the path of azurite, and the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from tests.support.authority import Authority

ACCOUNT = "tfacct"
#: A key as Azure makes them: 64 bytes in base64. It opens nothing but the emulator.
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg=="
SUFFIX = ".blob.core.windows.net"
_CHUNK = 65536


def main() -> None:
    azurite, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    chain = Authority(folder).chain(f"*{SUFFIX}")
    options = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--disableTelemetry"]
    options += ["--skipApiVersionCheck", "--cert", str(chain), "--key", str(chain)]
    with tempfile.TemporaryDirectory() as scratch:
        environ = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
        process = subprocess.Popen([azurite, *options], stdout=subprocess.PIPE, cwd=scratch, env=environ, text=True)
        try:
            assert process.stdout is not None
            port = next(int(found[1]) for line in process.stdout if (found := re.search(r"listens on .*:(\d+)", line)))
            threading.Thread(target=process.stdout.read, daemon=True).start()
            listener = socket.create_server(("127.0.0.1", 0), backlog=256)
            threading.Thread(target=_accept, args=(listener, port), daemon=True).start()
            sys.stdout.write(f"LISTENING {listener.getsockname()[1]}\n")
            sys.stdout.flush()
            sys.stdin.read()
        finally:
            process.kill()


def _accept(listener: socket.socket, port: int) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_serve, args=(client, port), daemon=True).start()


def _serve(client: socket.socket, port: int) -> None:
    """Answer CONNECT for our own hosts, and nothing else: what asks for another would leave this machine."""
    with client, contextlib.suppress(OSError):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = client.recv(1)
            if not byte:
                return
            head += byte
        words = head.decode("latin-1").split()
        if words[0] != "CONNECT" or not words[1].endswith(f"{SUFFIX}:443"):
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", port)) as server:
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_pass, args=(server, client), daemon=True)
            back.start()
            _pass(client, server)
            back.join()


def _pass(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            to.sendall(data)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_WR)
