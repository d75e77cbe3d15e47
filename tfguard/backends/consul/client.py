"""
Consul's API, as far as a lock needs it: keys, transactions of keys, and sessions.

Every write of ours is one transaction: all of it happens, or nothing. What it may fail for is said in `answers`. Reads
ask for consistency, since Consul's own default may be stale for a moment when the leader changes.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from tfguard.backends.consul.answers import not_consul, refusal, unreachable
from tfguard.backends.net.addresses import is_address
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.transport import Request, Response, Transport, Wait
from tfguard.backends.net.trust import Trust
from tfguard.errors import Conflict, StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.text import printable
from tfguard.wire import parse, publish

if TYPE_CHECKING:
    from tfguard.backends.consul.spec import ConsulAccess

#: Two values of Consul's largest size (512 KiB), in base64, and a little.
MAX_BYTES = 2 * 1024 * 1024
_T = TypeVar("_T")


class Entry(msgspec.Struct, frozen=True, rename="pascal"):
    """A key and its value, base64. `session` holds it, if one does; `modify_index` grows with every change."""

    key: str
    modify_index: int
    value: str | None = None
    session: str = ""

    @property
    def content(self) -> bytes:
        return base64.b64decode(self.value or "")


class _Result(msgspec.Struct, frozen=True):
    kv: Entry | None = msgspec.field(default=None, name="KV")


class _Done(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer to a transaction. No field has a default: what lacks one is not Consul's answer."""

    results: list[_Result] | None
    errors: list[Any] | None


class _Session(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="ID")


class Client:
    """
    One Consul, by the environment of this process where the backend names no secrets.

    Raises:
        StoreMisconfigured: Certificates or a token file that cannot be read, an address that is none.
    """

    def __init__(self, access: ConsulAccess, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        if access.scheme not in ("http", "https"):
            raise StoreMisconfigured(
                f"Consul's address is for {printable(access.scheme, 20)}, which tfguard does not speak.",
                "Give an address for http or https in the backend or CONSUL_HTTP_ADDR.",
            )
        if not is_address(access.url):
            raise StoreMisconfigured(
                f"{printable(access.url, 60)} is no address of Consul.",
                "Correct `address` and `scheme` in the backend, or CONSUL_HTTP_ADDR.",
            )
        trust = Trust(
            environ,
            access.ca_file,
            insecure=access.insecure,
            folder=access.ca_path,
            certificate=(access.cert_file, access.key_file) if access.cert_file and access.key_file else None,
            authority="`ca_file` in the backend, or CONSUL_CACERT",
            advice="Correct `ca_file`, `cert_file` and `key_file` in the backend, or CONSUL_CACERT and its likes.",
        )
        if access.scheme == "https":
            trust.context()  # What is wrong with it is said before anything is asked.
        self._access = access
        self._environ = environ
        self._token = ""
        self._has_token = False
        self.transport = Transport(Proxies(environ), trust, server_name=access.server_name)
        #: What the server's clock said with its last good answer, None if it did not.
        self.date: datetime | None = None

    def close(self) -> None:
        """Let go of the connections."""
        self.transport.close()

    def read(self, key: str, *, below: bool = False) -> list[Entry]:
        """Return a key; `below`: every key that starts so. Raises as a store does."""
        question = {"consistent": "", **({"recurse": ""} if below else {})}
        return self._entries("GET", f"kv/{_quoted(key)}", question, "key:read", f"key {key}")

    def names(self, prefix: str) -> list[str]:
        """Return the names of all keys that start so, as far as we may list them. Raises as a store does."""
        question = {"consistent": "", "keys": ""}
        response = self._ask("GET", f"kv/{_quoted(prefix)}", question, b"", "key:list", f"keys {prefix}*")
        return [] if response.status == 404 else self._read(response, list[str])

    def transact(self, operations: Sequence[Mapping[str, Any]], resource: str) -> None:
        """
        Do all of it, or nothing. `resource` says what it is about.

        Raises: Conflict, StoreUnavailable, StoreDenied, StoreMisconfigured.
        """
        self._transact(operations, resource)

    def write(self, operations: Sequence[Mapping[str, Any]], resource: str) -> int:
        """The same; return the index of what the last of the operations has written."""
        written = self._transact(operations, resource)
        if not written or written[-1].key != operations[-1]["Key"]:
            raise not_consul(self._access.url)
        return written[-1].modify_index

    def put(self, key: str, value: bytes) -> None:
        """Write a key that nobody else writes: what is larger than a transaction may be. Raises as a store does."""
        response = self._ask("PUT", f"kv/{_quoted(key)}", {}, value, "key:write", f"key {key}")
        if not self._read(response, bool):
            raise not_consul(self._access.url)

    def _transact(self, operations: Sequence[Mapping[str, Any]], resource: str) -> list[Entry]:
        body = publish([{"KV": operation} for operation in operations])
        response = self._ask("PUT", "txn", {}, body, "key:write", resource)
        done = self._read(response, _Done)
        if done.errors:
            raise not_consul(self._access.url)
        return [result.kv for result in done.results or () if result.kv is not None]

    def create_session(self, ttl_seconds: int) -> str:
        """
        Start a session, which ends between one and two TTLs after it was renewed last; with 0 never.

        It hangs on no check of the agent's: that agent's restart must not end it. Raises as a store does.
        """
        wanted = {
            "Name": "tfguard",
            "Behavior": "release",
            "LockDelay": "0s",
            "NodeChecks": [],
            **({"TTL": f"{ttl_seconds}s"} if ttl_seconds else {}),
        }
        response = self._ask("PUT", "session/create", {}, publish(wanted), "session:write", "a session")
        return self._read(response, _Session).id

    def renew_session(self, session: str) -> None:
        """Let the session live for another TTL. Raises Conflict where it has ended, and as a store does."""
        path = f"session/renew/{_quoted(session)}"
        response = self._ask("PUT", path, {}, b"", "session:write", "a session", absent=b"Session id")
        if response.status == 404:
            raise Conflict("the session has ended")
        if [found.id for found in self._read(response, list[_Session])] != [session]:
            raise not_consul(self._access.url)

    def destroy_session(self, session: str) -> None:
        """End a session. Raises as a store does."""
        self._ask("PUT", f"session/destroy/{_quoted(session)}", {}, b"", "session:write", "a session")

    def await_change(self, key: str, index: int, seconds: float, is_over: Callable[[], bool]) -> None:
        """Rest until the key is not as it was at that index, `seconds` have passed, or `is_over`. Raises as a store."""
        question = {"index": str(index), "wait": f"{max(1, round(seconds * 1000))}ms", "consistent": ""}
        try:
            wait = Wait(seconds * 17 / 16, is_over)  # The server adds up to a sixteenth, lest all come at once.
            self._entries("GET", f"kv/{_quoted(key)}", question, "key:read", f"key {key}", wait)
        except StoreUnavailable:
            if not is_over():
                raise

    # --- one request --------------------------------------------------------------------------------------------

    def _entries(
        self,
        method: str,
        path: str,
        question: Mapping[str, str],
        action: str,
        resource: str,
        wait: Wait | None = None,
    ) -> list[Entry]:
        response = self._ask(method, path, question, b"", action, resource, wait=wait)
        return [] if response.status == 404 else self._read(response, list[Entry])

    def _ask(
        self,
        method: str,
        path: str,
        question: Mapping[str, str],
        body: bytes,
        action: str,
        resource: str,
        *,
        absent: bytes = b"",
        wait: Wait | None = None,
    ) -> Response:
        """
        Make one request, once. A 404 is an answer where it proves itself: by Consul's index, or by the words `absent`.

        Raises: Conflict, StoreUnavailable, StoreDenied, StoreMisconfigured.
        """
        where = {"dc": self._access.datacenter, "ns": self._access.namespace}
        query = urlencode({**question, **{name: value for name, value in where.items() if value}})
        url = f"{self._access.url}/v1/{path}" + (f"?{query}" if query else "")
        self.date = None
        try:
            request = Request(method, url, self._headers(), body)
            response = self.transport.send(request, MAX_BYTES, *([wait] if wait else []))
        except (NoAnswer, ssl.SSLError) as error:
            raise unreachable(self._access.url, error) from error
        is_absent = response.status == 404 and (
            "x-consul-index" in response.headers or bool(absent and response.body.startswith(absent))
        )
        if response.status != 200 and not is_absent:
            try:
                raise refusal(response, self._access, action, resource)
            except StoreDenied:
                self._has_token = False  # Its file may hold another one by now.
                raise
        if not response.is_whole:
            raise StoreMisconfigured(f"Consul's answer about {resource} is larger than a lock's can be.")
        if method == "GET" and "x-consul-index" not in response.headers:
            raise not_consul(self._access.url)
        self.date = response.date
        return response

    def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": "tfguard", "Accept-Encoding": "identity", "Content-Type": "application/json"}
        if token := self._current_token():
            headers["X-Consul-Token"] = token
        if login := self._access.http_auth or self._environ.get("CONSUL_HTTP_AUTH", ""):
            user, _, password = login.partition(":")
            headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        return headers

    def _current_token(self) -> str:
        """The file's token goes before all others, as in Consul's own client."""
        if not self._has_token:
            self._token = _read_token(self._access.token_file) or self._access.token
            self._token = self._token or self._environ.get("CONSUL_HTTP_TOKEN", "")
            if not self._token.isprintable() or not self._token.isascii():
                raise StoreMisconfigured("The token for Consul is not one line of plain letters.", "Correct it.")
            self._has_token = True
        return self._token

    def _read(self, response: Response, kind: type[_T]) -> _T:
        try:
            return parse(response.body, kind)
        except msgspec.DecodeError as error:
            raise not_consul(self._access.url) from error


def _read_token(path: str) -> str:
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(4096).strip()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise StoreMisconfigured(
            f"The token file {printable(path, 80)} cannot be read: {why}.", "Correct CONSUL_HTTP_TOKEN_FILE."
        ) from error


def _quoted(key: str) -> str:
    return quote(key, safe="/")
