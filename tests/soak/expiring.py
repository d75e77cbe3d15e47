"""
Credentials that live for seconds: a provider that issues them, and a store that refuses who comes with old ones.

The provider is that of a container (AWS_CONTAINER_CREDENTIALS_FULL_URI), as ECS, EKS and CI agents have it.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.conftest import ACCESS_KEY, SECRET_KEY
from tests.faults.proxy import FaultProxy, Request, fault_proxy, refused


class Issuer:
    """Issues credentials, and knows them again. `refused` counts requests without, or with expired ones."""

    def __init__(self, life_seconds: float) -> None:
        self.life_seconds = life_seconds
        self.issued: dict[str, float] = {}
        self.refused = 0
        self._arrived: dict[int, float] = {}
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def environ(self) -> dict[str, str]:
        """What leads AWS's clients to the provider."""
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self._server.server_port}/"}

    def beats(self) -> list[float]:
        """When each heartbeat reached the store with good credentials (monotonic), in order."""
        return [instant for _, instant in sorted(self._arrived.items())]

    def denies(self, request: Request) -> bool:
        """Whether a request comes with expired credentials, or none."""
        is_late = time.monotonic() >= self.issued.get(request.headers.get("X-Amz-Security-Token", ""), 0.0)
        self.refused += is_late
        if request.beat is not None and not is_late:
            self._arrived.setdefault(request.beat, time.monotonic())
        return is_late

    def issue(self) -> dict[str, str]:
        token = uuid.uuid4().hex
        self.issued[token] = time.monotonic() + self.life_seconds
        end = datetime.now(timezone.utc) + timedelta(seconds=self.life_seconds)
        return {
            "AccessKeyId": ACCESS_KEY,
            "SecretAccessKey": SECRET_KEY,
            "Token": token,
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)


class _Handler(BaseHTTPRequestHandler):
    owner: Issuer

    def do_GET(self) -> None:
        body = json.dumps(self.owner.issue()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def expiring(endpoint: str, life_seconds: float) -> Iterator[tuple[FaultProxy, Issuer]]:
    """Put a store behind such credentials; gives the way to it, and who issues them."""
    with contextlib.closing(Issuer(life_seconds)) as issuer, fault_proxy(endpoint) as store:
        store.always(issuer.denies, refused("expired"))
        yield store, issuer
