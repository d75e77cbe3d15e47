"""A fault proxy that denies the requests a test names by method, path and action, and passes the others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from urllib.parse import urlsplit

from tests.faults.proxy import PASSES, Fate, FaultProxy, Request, refused

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

    def unplanned(self, request: Request) -> Fate:
        is_refused = self.refuse(request.method, urlsplit(request.path).path, request.action)
        if is_refused or self.refuse_signed(request.headers.get("Authorization", "")):
            return refused(self.reason if request.action else "AccessDenied")
        return PASSES


def refusing(endpoint: str) -> AbstractContextManager[Refusing]:
    """Run such a proxy in front of `endpoint`."""
    return closing(Refusing(endpoint))
