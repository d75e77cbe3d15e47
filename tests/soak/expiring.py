"""
Credentials that live for seconds: a provider that issues them, and a store that refuses who comes with old ones.

The provider is that of a container (AWS_CONTAINER_CREDENTIALS_FULL_URI), as ECS, EKS and CI agents have it.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from tests.conftest import ACCESS_KEY, SECRET_KEY
from tests.faults.proxy import FaultProxy, Request, fault_proxy, refused
from tests.support.serving import serving


class Issuer:
    """
    Issues credentials at `address`, and knows them again.

    `refused` counts requests without, or with expired ones.
    """

    def __init__(self, life_seconds: float) -> None:
        self.life_seconds = life_seconds
        self.issued: dict[str, float] = {}
        self.refused = 0
        self.address = ""
        self._arrived: dict[int, float] = {}

    @property
    def environ(self) -> dict[str, str]:
        """What leads AWS's clients to the provider."""
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.address}/"}

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

    def answer(self, request: object) -> tuple[int, bytes]:
        """Whoever asks gets new ones."""
        return 200, json.dumps(self.issue()).encode()


@contextlib.contextmanager
def expiring(endpoint: str, life_seconds: float) -> Iterator[tuple[FaultProxy, Issuer]]:
    """Put a store behind such credentials; gives the way to it, and who issues them."""
    issuer = Issuer(life_seconds)
    with serving(issuer.answer) as issuer.address, fault_proxy(endpoint) as store:
        store.always(issuer.denies, refused("expired"))
        yield store, issuer
