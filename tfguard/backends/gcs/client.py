"""
Google's JSON API, as far as locks need it: five requests, and what proves that an answer is Google's.

What is said of an object names the object and its bucket; a body has the checksum that was said of it. A deletion is
answered by nothing: what proves it is the number that Google's servers give each answer, and where there is none,
whoever asked has to look.
"""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlencode, urljoin

import msgspec

from tfguard.backends.gcs.answers import lines_of, not_googles, refusal, unanswered
from tfguard.backends.gcs.credentials import Credentials
from tfguard.backends.net.addresses import is_address
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.transport import Request, Response, Transport
from tfguard.backends.net.trust import Trust
from tfguard.errors import Conflict, StoreDenied, StoreMisconfigured
from tfguard.text import printable
from tfguard.wire import parse, publish

if TYPE_CHECKING:
    from tfguard.backends.gcs.spec import GcsObject, GcsState

_GOOGLES = "https://storage.googleapis.com/storage/v1/"
#: What is said of objects: a page of a thousand of them.
_MAX_BYTES = 8 * 1024 * 1024
#: Of an object, what we ask for.
_FIELDS = "kind,name,bucket,generation,metageneration,size,md5Hash,metadata"
_PROOF = "x-guploader-uploadid"
_T = TypeVar("_T")


class About(msgspec.Struct, frozen=True):
    """
    What Google says of an object. No field that proves it has a default: what lacks one is not Google's.

    `generation` is another each time the object is written, `metageneration` counts changes of what is said of it.
    """

    kind: str
    name: str
    bucket: str
    generation: str
    metageneration: str
    size: str = ""
    md5: str = msgspec.field(default="", name="md5Hash")
    metadata: dict[str, str] = {}


class _Page(msgspec.Struct, frozen=True):
    kind: str
    items: list[_Named] = []
    next_token: str = msgspec.field(default="", name="nextPageToken")


class _Named(msgspec.Struct, frozen=True):
    name: str


class BucketFacts(msgspec.Struct, frozen=True):
    """What a bucket keeps: old versions, what was deleted (for so many seconds), everything (for so many)."""

    kind: str
    name: str
    versioning: dict[str, bool] = {}
    soft_delete: dict[str, str] = msgspec.field(default={}, name="softDeletePolicy")
    retention: dict[str, object] = msgspec.field(default={}, name="retentionPolicy")


class Client:
    """
    One bucket, with these credentials. `owns_credentials`: they are closed with it.

    Every request raises: Conflict, StoreUnavailable, StoreDenied, StoreMisconfigured, as `answers` has it.
    """

    def __init__(
        self,
        bucket: str,
        endpoint: str,
        credentials: Credentials,
        *,
        owns_credentials: bool,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._bucket = bucket
        self._base = endpoint or _GOOGLES
        if not is_address(self._base):
            raise StoreMisconfigured(
                lines_of(f"{printable(self._base, 60)} is no address for Google's storage.", _ENDPOINT_ADVICE)
            )
        self._credentials = credentials
        self._owns_credentials = owns_credentials
        self._was_good = False
        self.transport = Transport(Proxies(environ), Trust(environ))
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

    # --- objects ------------------------------------------------------------------------------------------------

    def about(self, key: str) -> About | None:
        """Return what is said of an object, None if there is none."""
        action = "storage.objects.get"
        try:
            response = self._ask("GET", action, key, self._url(key, fields=_FIELDS))
        except Conflict:
            return None
        return self._about(response, action, key)

    def body(self, about: About, max_bytes: int, headers: Mapping[str, str] | None = None) -> bytes:
        """Return the first bytes of exactly this generation of an object. Raises Conflict where it is gone."""
        action, key = "storage.objects.get", about.name
        url = self._url(key, alt="media", generation=about.generation)
        response = self._ask("GET", action, key, url, headers=headers, max_bytes=max_bytes)
        if response.is_whole and not _is_body_of(about, response.body):
            raise not_googles(action, self._place(key), "it is another object")
        return response.body

    def write(
        self,
        key: str,
        body: bytes,
        conditions: Mapping[str, str] | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        kms_key: str = "",
    ) -> About:
        """Write an object, with all that is said of it, at once."""
        action = "storage.objects.create"
        about: dict[str, object] = {"name": key, "contentType": "application/json"}
        if metadata:
            about["metadata"] = dict(metadata)
        boundary = uuid.uuid4().hex
        lines = (
            f"--{boundary}",
            "Content-Type: application/json; charset=UTF-8",
            "",
            publish(about).decode(),
            f"--{boundary}",
            "Content-Type: application/json",
            "",
            "",
        )
        content = "\r\n".join(lines).encode() + body + f"\r\n--{boundary}--\r\n".encode()
        question = {"name": key, "uploadType": "multipart", "fields": _FIELDS, **(conditions or {})}
        if kms_key:
            question["kmsKeyName"] = kms_key
        url = urljoin(self._base, f"/upload/storage/v1/b/{quote(self._bucket, safe='')}/o?{urlencode(question)}")
        kind = {"Content-Type": f"multipart/related; boundary={boundary}"}
        written = self._about(
            self._ask("POST", action, key, url, content, headers={**kind, **(headers or {})}), action, key
        )
        if not _is_body_of(written, body):
            raise not_googles(action, self._place(key), "it has another checksum")
        return written

    def annotate(self, key: str, metadata: Mapping[str, str | None], conditions: Mapping[str, str]) -> About:
        """Change what is said of an object, and not the object; None takes it away."""
        action = "storage.objects.update"
        body = publish({"metadata": dict(metadata)})
        kind = {"Content-Type": "application/json; charset=UTF-8"}
        url = self._url(key, fields=_FIELDS, **conditions)
        return self._about(self._ask("PATCH", action, key, url, body, headers=kind), action, key)

    def delete(self, key: str, generation: str) -> None:
        """Delete exactly this generation of an object."""
        action = "storage.objects.delete"
        response = self._ask("DELETE", action, key, self._url(key, ifGenerationMatch=generation))
        if response.body or response.status not in (200, 204):
            raise not_googles(action, self._place(key), "it says more than that the object is gone")
        if _PROOF not in response.headers:
            found = self.about(key)
            if found is not None and found.generation == generation:
                raise not_googles(action, self._place(key), "the object is still there")

    def names(self, prefix: str, at_most: int | None = None) -> Iterator[str]:
        """Name the bucket's objects that start so, in their order."""
        action, token = "storage.objects.list", ""
        left = at_most
        while left is None or left > 0:
            question = {"prefix": prefix, "fields": "kind,items(name),nextPageToken"}
            question |= {"pageToken": token} if token else {}
            question |= {"maxResults": str(left)} if left is not None else {}
            url = urljoin(self._base, f"b/{quote(self._bucket, safe='')}/o?{urlencode(question)}")
            page = self._read(self._ask("GET", action, prefix, url), _Page, action, prefix)
            if page.kind != "storage#objects":
                raise not_googles(action, self._place(prefix), "it is no listing")
            yield from (item.name for item in page.items)
            token, left = page.next_token, None if left is None else left - len(page.items)
            if not token:
                return

    def facts(self) -> BucketFacts:
        """Describe the bucket. Few are allowed to ask."""
        action = "storage.buckets.get"
        url = urljoin(self._base, f"b/{quote(self._bucket, safe='')}")
        facts = self._read(self._ask("GET", action, "", url), BucketFacts, action, "")
        if (facts.kind, facts.name) != ("storage#bucket", self._bucket):
            raise not_googles(action, self._place(""), "it is about something else")
        return facts

    # --- one request --------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        action: str,
        key: str,
        url: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = _MAX_BYTES,
    ) -> Response:
        """Make one request, once."""
        place = self._place(key)
        self.date = None
        token = self._credentials.token()
        sent = {"User-Agent": "tfguard", "Accept-Encoding": "identity", **(headers or {})}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        try:
            response = self.transport.send(Request(method, url, sent, body), max_bytes)
        except (NoAnswer, ssl.SSLError) as error:
            raise unanswered(action, place, error) from error
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

    def _about(self, response: Response, action: str, key: str) -> About:
        about = self._read(response, About, action, key)
        if (about.kind, about.bucket, about.name) != ("storage#object", self._bucket, key):
            raise not_googles(action, self._place(key), "it is about something else")
        if not (about.generation.isdecimal() and about.metageneration.isdecimal()):
            raise not_googles(action, self._place(key), "it has no generation")
        return about

    def _read(self, response: Response, kind: type[_T], action: str, key: str) -> _T:
        try:
            return parse(response.body, kind)
        except msgspec.DecodeError as error:
            raise not_googles(action, self._place(key), "it is something else") from error

    def _url(self, key: str, **question: str) -> str:
        path = f"b/{quote(self._bucket, safe='')}/o/{quote(key, safe='')}"
        return urljoin(self._base, path) + (f"?{urlencode(question)}" if question else "")

    def _place(self, key: str) -> str:
        return f"gs://{self._bucket}/{key}"


_ENDPOINT_ADVICE = "Correct `storage_custom_endpoint` in the backend: http://host/storage/v1/"


def client_of(place: GcsObject, credentials: Credentials | None = None) -> Client:
    """
    Open a client for the bucket of a lock or a state; credentials are resolved.

    Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
    """
    found = credentials or Credentials(place.gcs)
    client = Client(place.bucket, place.gcs.endpoint, found, owns_credentials=credentials is None)
    try:
        found.resolve()
    except BaseException:
        client.close()
        raise
    return client


def customer_key(state: GcsState) -> dict[str, str]:
    """
    Return the headers by which Google is given the key that a state is encrypted with; empty where it is Google's own.

    Raises:
        StoreMisconfigured: The key, or the file that it is in, cannot be read.
    """
    text = state.encryption_key
    if not text:
        return {}
    try:
        if os.path.exists(text):
            with open(text, encoding="utf-8") as file:
                text = file.read(4096).strip()
        key = base64.b64decode(text, validate=True)
    except (OSError, ValueError) as error:
        raise StoreMisconfigured(
            lines_of("`encryption_key` is not base64.", "Give the 256-bit key in base64, as for Terraform.")
        ) from error
    return {
        "x-goog-encryption-algorithm": "AES256",
        "x-goog-encryption-key": base64.b64encode(key).decode(),
        "x-goog-encryption-key-sha256": base64.b64encode(hashlib.sha256(key).digest()).decode(),
    }


def _is_body_of(about: About, body: bytes) -> bool:
    if not about.md5:
        return not about.size or about.size == str(len(body))
    # Google tells MD5 to show whether an object arrived whole; nothing is kept secret by it.
    return about.md5 == base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
