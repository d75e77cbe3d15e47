"""A fault proxy that denies the requests a test names by method, path and action, and passes the others."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from tests.faults.proxy import Fate, FaultProxy, Request, refused

#: Gets the method, the path, and DynamoDB's action (empty for S3); says whether the request is denied.
Refusal = Callable[[str, str, str], bool]


class Refusing(FaultProxy):
    """`refuse` may be changed at any time; it is asked for every request. `reason` is DynamoDB's word for it."""

    def __init__(self, endpoint: str) -> None:
        self.refuse: Refusal = lambda method, path, action: False
        #: Gets the signature of a request, which names the region that it is for.
        self.refuse_signed: Callable[[str], bool] = lambda signature: False
        self.reason = "AccessDeniedException"
        super().__init__(endpoint)

    def take(self, request: Request) -> tuple[Fate, threading.Event, Callable[[], None], Callable[[], None]]:
        is_refused = self.refuse(request.method, urlsplit(request.path).path, request.action)
        if is_refused or self.refuse_signed(request.headers.get("Authorization", "")):
            self.on(lambda each: each is request, refused(self.reason if request.action else "AccessDenied"))
        return super().take(request)


@contextlib.contextmanager
def refusing(endpoint: str) -> Iterator[Refusing]:
    """Run such a proxy in front of `endpoint`."""
    made = Refusing(endpoint)
    try:
        yield made
    finally:
        made.close()
