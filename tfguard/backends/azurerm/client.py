"""
Azure's REST API for blobs, as far as locks need it, and what proves that an answer is Azure's.

Every answer of Azure's has a number of its own, and repeats the one that its request was given: no captive portal and
no answer to somebody else's request does. What was written has an ETag and the checksum of what we sent.
"""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.parsers import expat

from tfguard.backends.azurerm.answers import not_azures, refusal, unanswered
from tfguard.backends.azurerm.credentials import Credentials
from tfguard.backends.azurerm.signing import Unsigned
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.transport import Request, Response, Transport
from tfguard.backends.net.trust import Trust
from tfguard.errors import Conflict, StoreDenied, StoreMisconfigured

if TYPE_CHECKING:
    from tfguard.backends.azurerm.spec import AzureBlob

_VERSION = "2021-12-02"
#: A page of a listing: five thousand names, each escaped.
_MAX_BYTES = 16 * 1024 * 1024
_META = "x-ms-meta-"


@dataclass(frozen=True)
class About:
    """What Azure says of a blob. The names of `metadata` are in lower case: Azure knows none apart by case."""

    etag: str
    metadata: Mapping[str, str]
    is_leased: bool
    is_empty: bool


@dataclass
class Listed:
    """A blob in a listing."""

    name: str = ""
    is_leased: bool = False
    metadata: dict[str, str] = field(default_factory=dict)


class Client:
    """
    One container, with these credentials. `owns_credentials`: they are closed with it.

    Every request raises: Conflict, StoreUnavailable, StoreDenied, StoreMisconfigured, as `answers` has it.
    """

    def __init__(
        self,
        blob: AzureBlob,
        credentials: Credentials,
        *,
        owns_credentials: bool,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._blob = blob
        account = blob.azure.account
        if not account.replace("-", "").isalnum():
            raise StoreMisconfigured("That is no name of a storage account.", "Correct `storage_account_name`.")
        self._credentials = credentials
        self._owns_credentials = owns_credentials
        self._was_good = False
        trust = Trust(environ)
        self.transport = Transport(Proxies(environ), trust)
        #: What the server's clock said with its last good answer, None if it did not.
        self.date: datetime | None = None

    def close(self) -> None:
        """Let go of the connections, and of credentials of our own."""
        self.transport.close()
        if self._owns_credentials:
            self._credentials.close()

    def credentials_expire_at(self) -> datetime | None:
        """When the credentials at hand end; None if they do not, or nobody knows."""
        return self._credentials.expires_at()

    # --- blobs --------------------------------------------------------------------------------------------------

    def about(self, key: str) -> About | None:
        """Return what is said of a blob, None if there is none."""
        try:
            response = self._ask("HEAD", "reading", key)
        except Conflict:
            return None
        metadata = {
            name.removeprefix(_META): value for name, value in response.headers.items() if name.startswith(_META)
        }
        return About(
            self._etag(response, "reading", key),
            metadata,
            is_leased=response.headers.get("x-ms-lease-status") == "locked",
            is_empty=response.headers.get("content-length") == "0",
        )

    def read(self, key: str, max_bytes: int) -> tuple[str, bytes] | None:
        """Return the ETag and the first bytes of a blob, None if there is none."""
        try:
            response = self._ask("GET", "reading", key, max_bytes=max_bytes)
        except Conflict:
            return None
        self._check_body(response, response.body if response.is_whole else None, "reading", key)
        return self._etag(response, "reading", key), response.body

    def write(self, key: str, body: bytes, condition: Mapping[str, str] | None = None) -> str:
        """Write a blob, and return its ETag."""
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/json", **(condition or {})}
        response = self._ask("PUT", "writing", key, body=body, headers=headers)
        self._check_body(response, body, "writing", key)
        return self._etag(response, "writing", key)

    def delete(self, key: str, etag: str) -> None:
        """Delete a blob if it is still this one, with its snapshots: a backup may make some of all there is."""
        headers = {"If-Match": etag, "x-ms-delete-snapshots": "include"}
        response = self._ask("DELETE", "deleting", key, headers=headers)
        if response.status != 202:
            raise not_azures("deleting", self._place(key), f"it says {response.status}")

    def listed(self, prefix: str, at_most: int | None = None) -> Iterator[Listed]:
        """Give the container's blobs that start so, in their order, and what is said of each."""
        marker, left = "", at_most
        while left is None or left > 0:
            query = {"restype": "container", "comp": "list", "prefix": prefix, "include": "metadata"}
            query |= {"marker": marker} if marker else {}
            query |= {"maxresults": str(left)} if left is not None else {}
            page, marker = _page(self._ask("GET", "listing", "", query=query), self._place(prefix))
            yield from page
            left = None if left is None else left - len(page)
            if not marker:
                return

    # --- a blob's lease, which is Terraform's lock --------------------------------------------------------------

    def acquire(self, key: str, lease_id: str) -> None:
        """Lease a blob without end, by an ID of ours. Raises Conflict where it is leased."""
        headers = {"x-ms-lease-action": "acquire", "x-ms-lease-duration": "-1", "x-ms-proposed-lease-id": lease_id}
        self._ask("PUT", "leasing", key, query={"comp": "lease"}, headers=headers)

    def annotate(self, key: str, metadata: Mapping[str, str], condition: Mapping[str, str]) -> None:
        """Say this of a blob, and nothing else, under a condition. Raises Conflict where that does not hold."""
        headers = {**{f"{_META}{name}": value for name, value in metadata.items()}, **condition}
        self._ask("PUT", "writing", key, query={"comp": "metadata"}, headers=headers)

    def free(self, key: str, lease_id: str) -> None:
        """End exactly this lease. Raises Conflict where it is another's, or none."""
        headers = {"x-ms-lease-action": "release", "x-ms-lease-id": lease_id}
        self._ask("PUT", "leasing", key, query={"comp": "lease"}, headers=headers)

    def break_lease(self, key: str, etag: str) -> None:
        """End whichever lease the blob has, at once, if it is still as it was seen. Raises Conflict where not."""
        headers = {"x-ms-lease-action": "break", "x-ms-lease-break-period": "0", "If-Match": etag}
        self._ask("PUT", "leasing", key, query={"comp": "lease"}, headers=headers)

    # --- one request --------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        action: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        max_bytes: int = _MAX_BYTES,
    ) -> Response:
        """Make one request, once."""
        place, number = self._place(key), uuid.uuid4().hex
        self.date = None
        path = f"/{quote(self._blob.container, safe='$')}" + (f"/{quote(key, safe='/~')}" if key else "")
        sent = {
            "User-Agent": "tfguard",
            "x-ms-version": _VERSION,
            "x-ms-client-request-id": number,
            **(headers or {}),
        }
        unsigned = Unsigned(method, self._blob.azure.account, path, dict(query or {}), sent, len(body))
        question, sent = self._credentials.sign(unsigned)
        url = self._credentials.endpoint + path + (f"?{question}" if question else "")
        try:
            response = self.transport.send(Request(method, url, sent, body), max_bytes)
        except (NoAnswer, ssl.SSLError) as error:
            raise unanswered(action, place, error) from error
        if not response.headers.get("x-ms-request-id"):
            raise not_azures(action, place, f"it has no number of Azure's ({response.status})")
        if response.headers.get("x-ms-client-request-id", number) != number:
            raise not_azures(action, place, "it answers another request")
        if not 200 <= response.status < 300:
            refused = refusal(response, action, place, was_good=self._was_good)
            if isinstance(refused, Conflict):
                self.date = response.date
            elif isinstance(refused, StoreDenied) and refused.is_expired:
                self._credentials.renew_soon()
            raise refused
        self.date = response.date
        self._was_good = True
        return response

    def _etag(self, response: Response, action: str, key: str) -> str:
        if not (etag := response.headers.get("etag", "")):
            raise not_azures(action, self._place(key), "it has no ETag")
        return etag

    def _check_body(self, response: Response, body: bytes | None, action: str, key: str) -> None:
        said = response.headers.get("content-md5", "")
        # Azure tells MD5 to show whether a blob arrived whole; nothing is kept secret by it.
        if body is not None and said and said != _md5(body):
            raise not_azures(action, self._place(key), "it has another checksum")

    def _place(self, key: str) -> str:
        return self._blob.place_of(key)


def client_of(place: AzureBlob, credentials: Credentials | None = None) -> Client:
    """
    Open a client for the container of a lock or a state; credentials are resolved.

    Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
    """
    found = credentials or Credentials(place.azure)
    client = Client(place, found, owns_credentials=credentials is None)
    try:
        found.resolve()
    except BaseException:
        client.close()
        raise
    return client


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _page(response: Response, place: str) -> tuple[list[Listed], str]:
    """Read a page of a listing: what is in it, and the marker of the next, empty if there is none."""
    found: list[Listed] = []
    path: list[str] = []
    words: list[str] = []
    marker = ""

    def begin(name: str, _: object) -> None:
        path.append(name)
        words.clear()
        if path[0] != "EnumerationResults":
            raise not_azures("listing", place, "it is no listing")
        if path[1:] == ["Blobs", "Blob"]:
            found.append(Listed())

    def end(name: str) -> None:
        nonlocal marker
        text = "".join(words)
        match path[1:]:
            case ["NextMarker"]:
                marker = text
            case ["Blobs", "Blob", "Name"]:
                found[-1].name = text
            case ["Blobs", "Blob", "Properties", "LeaseStatus"]:
                found[-1].is_leased = text == "locked"
            case ["Blobs", "Blob", "Metadata", _]:
                found[-1].metadata[name.lower()] = text
        words.clear()
        path.pop()

    def refuse(*_: object) -> None:
        raise not_azures("listing", place, "it brings its own definitions")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = words.append, refuse
    try:
        parser.Parse(response.body.removeprefix(b"\xef\xbb\xbf"), True)
    except (expat.ExpatError, ValueError) as error:
        raise not_azures("listing", place, "it is no listing") from error
    if not response.is_whole:
        raise not_azures("listing", place, "it does not end")
    return found, marker
