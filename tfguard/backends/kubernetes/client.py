"""
Kubernetes' API, as far as a lock needs it: Leases and Secrets of one namespace.

Each write but a creation names the uid and the version that was seen; the server refuses it where that is not what is
there. An answer counts only if it is the object that was asked for, or a Status.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlencode

import msgspec

from tfguard.backends.kubernetes.answers import Absent, not_kubernetes, refusal, unreachable
from tfguard.backends.kubernetes.connection import connection
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.transport import Request, Response, Transport, Wait
from tfguard.errors import ActionDenied, StoreDenied, StoreMisconfigured
from tfguard.wire import parse, publish

if TYPE_CHECKING:
    from tfguard.backends.kubernetes.spec import KubernetesAccess

#: An object with annotations and data of the largest size that there may be, and a little.
MAX_BYTES = 4 * 1024 * 1024
_PAGE = 100
_PATHS = {"leases": "/apis/coordination.k8s.io/v1", "secrets": "/api/v1"}
_KINDS = {
    "leases": ("Lease", "coordination.k8s.io/v1", "coordination.k8s.io"),
    "secrets": ("Secret", "v1", ""),
}
Resource = Literal["leases", "secrets"]


class Meta(msgspec.Struct, frozen=True):
    """What every object has."""

    name: str
    uid: str
    version: str = msgspec.field(name="resourceVersion")
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class LeaseSpec(msgspec.Struct, frozen=True):
    """What a Lease says itself."""

    holder: str | None = msgspec.field(default=None, name="holderIdentity")


class _Body(msgspec.Struct, frozen=True):
    kind: str
    version: str = msgspec.field(name="apiVersion")
    metadata: Meta
    spec: LeaseSpec | None = None
    data: dict[str, str] | None = None


class _PageMeta(msgspec.Struct, frozen=True):
    version: str = msgspec.field(name="resourceVersion")
    following: str = msgspec.field(default="", name="continue")


class _Item(msgspec.Struct, frozen=True):
    metadata: Meta
    spec: LeaseSpec | None = None


class _Page(msgspec.Struct, frozen=True):
    kind: str
    metadata: _PageMeta
    items: list[_Item] | None


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: _Item


class _Verdict(msgspec.Struct, frozen=True):
    allowed: bool


class _Review(msgspec.Struct, frozen=True):
    kind: str
    status: _Verdict


class Object(msgspec.Struct, frozen=True):
    """An object as it is there. `whole` is all of it: who writes it anew leaves in it what is others'."""

    meta: Meta
    spec: LeaseSpec
    data: dict[str, str]
    whole: dict[str, Any]

    def __repr__(self) -> str:
        return f"Object({self.meta.name!r}, …)"


class Client:
    """
    One namespace. Every request is made once, and raises Conflict, StoreUnavailable, StoreDenied, StoreMisconfigured.

    Raises:
        StoreMisconfigured, StoreDenied, StoreUnavailable: As `connection` does.
    """

    def __init__(self, access: KubernetesAccess, namespace: str, environ: Mapping[str, str] | None = None) -> None:
        reached = connection(access, os.environ if environ is None else environ)
        self._namespace = namespace
        self._url = reached.url
        self._impersonation = reached.impersonation
        self._credentials = reached.credentials
        self._was_good = False
        self.transport = Transport(reached.proxies, reached.trust, server_name=reached.server_name)
        #: What the server's clock said with its last good answer, None if it did not.
        self.date: datetime | None = None

    def close(self) -> None:
        """Let go of the connections."""
        self.transport.close()
        self._credentials.close()

    def credentials_expire_at(self) -> datetime | None:
        """When the credentials at hand end; None if they do not, or nobody knows."""
        return self._credentials.expires_at()

    def read(self, resource: Resource, name: str) -> Object | None:
        """Return an object, None if there is none."""
        try:
            return self._object(self._ask("GET", "get", resource, name), name, resource)
        except Absent:
            return None

    def create(self, resource: Resource, body: Mapping[str, Any]) -> Object:
        """Make an object; Conflict where one of the name is there."""
        name = body["metadata"]["name"]
        return self._object(self._ask("POST", "create", resource, name, self._typed(resource, body)), name, resource)

    def replace(self, resource: Resource, body: Mapping[str, Any]) -> Object:
        """Write an object if its uid and its version are those in the body; Conflict where they are not."""
        about = body["metadata"]
        assert about["uid"], "without it, it might be another one's"
        assert about["resourceVersion"], "without it, nothing is compared"
        name = about["name"]
        return self._object(self._ask("PUT", "update", resource, name, self._typed(resource, body)), name, resource)

    def delete(self, resource: Resource, name: str, uid: str, version: str) -> None:
        """Delete an object if its uid and its version are these; Conflict where they are not."""
        options = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "preconditions": {"uid": uid, "resourceVersion": version},
        }
        self._ask("DELETE", "delete", resource, name, options)

    def named(self, resource: Resource, selector: str = "") -> Iterator[tuple[Meta, LeaseSpec]]:
        """Return what there is, as far as labels fit."""
        following = ""
        while True:
            query = {"limit": str(_PAGE), "labelSelector": selector, "continue": following}
            response = self._ask("GET", "list", resource, "", query={key: text for key, text in query.items() if text})
            page = self._decoded(response, _Page)
            if page.kind != f"{_KINDS[resource][0]}List":
                raise not_kubernetes(self._url)
            for item in page.items or ():
                yield item.metadata, item.spec or LeaseSpec()
            following = page.metadata.following
            if not following:
                return

    def await_change(self, name: str, version: str, seconds: float, is_over: Callable[[], bool]) -> None:
        """
        Rest until a Lease is not at that version, `seconds` have passed, or `is_over`.

        The watch names no version, so it begins with the Lease as it is: an old version may be forgotten there.
        """
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "timeoutSeconds": str(max(1, round(seconds))),
        }
        url = f"{self._path('leases', '')}?{urlencode(query)}"

        def has_changed(line: bytes) -> bool:
            try:
                event = parse(line, _Event)
            except msgspec.DecodeError:
                return True
            return event.type != "BOOKMARK" and (event.type == "DELETED" or event.object.metadata.version != version)

        request = self._request("GET", url)
        try:
            refused = self.transport.follow(request, MAX_BYTES, Wait(seconds, is_over), has_changed)
        except (NoAnswer, ssl.SSLError) as error:
            raise unreachable(self._url, error) from error
        if refused is not None:
            raise refusal(refused, self._url, "watch", "leases", name, was_good=self._was_good)

    def ask_permission(self, verb: str, resource: Resource, name: str) -> None:
        """Raise ActionDenied unless we may. Nothing is changed, and anybody may ask that of itself."""
        attributes = {"namespace": self._namespace, "verb": verb, "group": _KINDS[resource][2], "resource": resource}
        body = {
            "kind": "SelfSubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "spec": {"resourceAttributes": {**attributes, **({} if verb == "create" else {"name": name})}},
        }
        url = f"{self._url}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        response = self._send(self._request("POST", url, publish(body)), "create", "reviews", "")
        review = self._decoded(response, _Review)
        if review.kind != "SelfSubjectAccessReview":
            raise not_kubernetes(self._url)
        if not review.status.allowed:
            where = f"{resource} {name}"
            raise ActionDenied(
                f"Kubernetes denies {verb} on {where} in the namespace {self._namespace}.",
                "Allow it in the Role.",
                action=f"{resource}:{verb}",
                resource=where,
            )

    # --- one request --------------------------------------------------------------------------------------------

    def _path(self, resource: Resource, name: str) -> str:
        path = f"{self._url}{_PATHS[resource]}/namespaces/{quote(self._namespace, safe='')}/{resource}"
        return f"{path}/{quote(name, safe='')}" if name else path

    def _ask(
        self,
        method: str,
        verb: str,
        resource: Resource,
        name: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Response:
        url = self._path(resource, "" if method == "POST" else name) + (f"?{urlencode(query)}" if query else "")
        content = publish(body) if body is not None else b""
        return self._send(self._request(method, url, content), verb, resource, name)

    def _send(self, request: Request, verb: str, resource: str, name: str) -> Response:
        self.date = None
        try:
            response = self.transport.send(request, MAX_BYTES)
        except (NoAnswer, ssl.SSLError) as error:
            raise unreachable(self._url, error) from error
        if response.status not in (200, 201):
            try:
                raise refusal(response, self._url, verb, resource, name, was_good=self._was_good)
            except ActionDenied:
                raise
            except StoreDenied:
                self._credentials.renew_soon()
                raise
        if not response.is_whole:
            raise StoreMisconfigured(f"Kubernetes' answer about {resource} {name} is larger than a lock's can be.")
        self._was_good = True
        self.date = response.date
        return response

    def _request(self, method: str, url: str, content: bytes = b"") -> Request:
        headers = {"User-Agent": "tfguard", "Accept": "application/json", "Content-Type": "application/json"}
        if who := self._credentials.header():
            headers["Authorization"] = who
        return Request(method, url, headers, content, repeated=self._impersonation)

    @staticmethod
    def _typed(resource: Resource, body: Mapping[str, Any]) -> dict[str, Any]:
        kind, version, _ = _KINDS[resource]
        return {"kind": kind, "apiVersion": version, **body}

    def _object(self, response: Response, name: str, resource: Resource) -> Object:
        body = self._decoded(response, _Body)
        if (body.kind, body.version) != _KINDS[resource][:2] or body.metadata.name != name:
            raise not_kubernetes(self._url)
        whole: dict[str, Any] = msgspec.json.decode(response.body)
        return Object(body.metadata, body.spec or LeaseSpec(), body.data or {}, whole)

    def _decoded(self, response: Response, kind: type[Any]) -> Any:
        try:
            return parse(response.body, kind)
        except msgspec.DecodeError as error:
            raise not_kubernetes(self._url) from error
