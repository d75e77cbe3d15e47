"""
Requests to a server of states, each made once; and what their answers mean.

    answer                                             becomes
    -------------------------------------------------  -------------------------------------------------------------
    409, 423                                           the answer: who holds the lock, or whose it is not
    404, 422 where the caller expects one              the answer
    3xx that leads elsewhere, which nobody follows     StoreMisconfigured
    401                                                StoreDenied
    403                                                ActionDenied
    408, 429, 5xx, timeouts, connections               StoreUnavailable
    anything else                                      StoreMisconfigured
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from tfguard.backends.http.addresses import shown
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.transport import Request, Response, Transport
from tfguard.backends.net.trust import Trust
from tfguard.errors import ActionDenied, StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.backends.http.spec import HttpAccess

MAX_BYTES = 2 * 1024 * 1024
_ELSEWHERE = (301, 302, 303, 307, 308)
WHERE_LOGINS_COME_FROM = "Set TF_HTTP_USERNAME and TF_HTTP_PASSWORD, or `username` and `password` in the backend."


class Client:
    """
    One server, by the environment of this process where the backend names no secrets.

    Raises StoreMisconfigured: Certificates or a key that cannot be read.
    """

    def __init__(self, access: HttpAccess, environ: Mapping[str, str] | None = None) -> None:
        self._access = access
        self._environ = environ = os.environ if environ is None else environ
        key = access.key or environ.get("TF_HTTP_CLIENT_PRIVATE_KEY_PEM", "")
        self.transport = Transport(Proxies(environ), _trust(access, key, environ))
        #: What the server's clock said with its last good answer, None if it did not.
        self.date: datetime | None = None

    def close(self) -> None:
        """Let go of the connections."""
        self.transport.close()

    def ask(self, method: str, address: str, body: bytes, expected: Collection[int]) -> Response:
        """
        Make one request, once, and return its answer, whose status is one of those expected.

        Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
        """
        response = self._send(Request(method, address, self._headers(address, body), body))
        where = shown(address)
        if response.status not in expected:
            if response.status in _ELSEWHERE and (there := response.headers.get("location", "")):
                # Not followed: a password would go to whoever that is, and a lock to where no Terraform looks for it.
                what = f"{where} leads elsewhere ({response.status}), to {shown(urljoin(address, there))}."
                raise StoreMisconfigured(what, "Write the addresses to which it leads into the http backend.")
            raise self._refusal(response.status, method, where)
        if not response.is_whole:
            raise StoreMisconfigured(f"The answer of {where} is larger than a lock's can be.")
        self.date = response.date
        return response

    def query(self, address: str, body: bytes, advice: str) -> Response:
        """
        Ask GitLab's GraphQL API, for which the password is a token by itself. `advice`: what to do where it is none.

        Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
        """
        _, token = _login(address, self._access, self._environ)
        headers = {"User-Agent": "tfguard", "Accept-Encoding": "identity", "Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        response = self._send(Request("POST", address, headers, body))
        where = shown(address)
        if response.status in (401, 403):
            what = f"GitLab does not take this token for its list of states ({response.status}): {where}."
            raise StoreDenied(what, advice, action="listing", resource=where)
        if response.status != 200:
            raise self._refusal(response.status, "POST", where)
        return response

    def _send(self, request: Request) -> Response:
        self.date = None
        where = shown(request.url)
        try:
            return self.transport.send(request, MAX_BYTES)
        except (NoAnswer, ssl.SSLError) as error:
            raise StoreUnavailable(
                f"No answer from {where}: {printable(str(error), 160)}.",
                "See `address` in the backend or TF_HTTP_ADDRESS, and whether that server can be reached from here.",
            ) from error

    def _headers(self, address: str, body: bytes) -> dict[str, str]:
        headers = {"User-Agent": "tfguard", "Accept-Encoding": "identity"}
        if body:
            headers["Content-Type"] = "application/json"
        user, password = _login(address, self._access, self._environ)
        if user:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        return headers

    def _refusal(self, status: int, method: str, where: str) -> Exception:
        if status == 401:
            what = f"The server does not accept this user and password (401): {where}."
            return StoreDenied(what, WHERE_LOGINS_COME_FROM, action=method, resource=where)
        if status == 403:
            advice = "On GitLab, locks and writes need the role Maintainer."
            return ActionDenied(f"The server denies {method} (403): {where}.", advice, action=method, resource=where)
        if status == 429:
            return StoreUnavailable(f"The server is asked too often: {where}.", is_throttled=True)
        if status == 408 or status >= 500:
            return StoreUnavailable(f"The server has no answer to {method} ({status}): {where}.")
        advice = "Correct the addresses and methods of the http backend."
        return StoreMisconfigured(f"The server cannot do {method} ({status}): {where}.", advice)


def _login(address: str, access: HttpAccess, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return user and password, empty where there are none: the password may be the environment's."""
    if access.username:
        return access.username, access.password or environ.get("TF_HTTP_PASSWORD", "")
    parts = urlsplit(address)
    return unquote(parts.username or ""), unquote(parts.password or "")


def _trust(access: HttpAccess, key: str, environ: Mapping[str, str]) -> Trust:
    trust = Trust(
        environ,
        insecure=access.insecure,
        bundle_text=access.ca,
        certificate_text=(access.certificate, key) if access.certificate and key else None,
        authority="`client_ca_certificate_pem` in the backend, or TF_HTTP_CLIENT_CA_CERTIFICATE_PEM",
        advice="Correct `client_ca_certificate_pem`, `client_certificate_pem` and `client_private_key_pem`.",
    )
    if access.ca or (access.certificate and key):
        trust.context()
    return trust
