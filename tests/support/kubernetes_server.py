"""
The part of a Kubernetes apiserver that Terraform's locks and states stand on: Leases and Secrets of any namespace.

It answers as kube-apiserver 1.20 was seen to: each change has a new resourceVersion, a write with an old one or with
another uid is refused, what is refused is told in a Status. Namespaces that begin with `missing` are not there. That
both answer alike is asked by `tests/backends/kubernetes/test_server.py`, and by all that runs on a real one in the
soak.

Each rule with its source:

    writes     409 Conflict for an old resourceVersion or another uid, AlreadyExists for a second one (Kubernetes' page
               "API Concepts", "Resource versions"; its API conventions, "Concurrency Control and Consistency")
    refusals   a Status with reason and code (API conventions, "Response status kind")
    watch      events from a resourceVersion on ("API Concepts", "Efficient detection of changes")
    rights     RBAC by verb, resource and name, asked by a SelfSubjectAccessReview ("Authorization Overview")

What a token may do is in the token: `without:update/leases,watch/leases` is denied that, `without:get/leases/NAME` that
of one name, `expired` everything. Nobody may do nothing; anybody may ask what it may do, and watch one Lease. Prints
`LISTENING <port>`; ends when stdin does.
"""

from __future__ import annotations

import base64
import http.server
import json
import os
import re
import sys
import threading
import time
import uuid
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_LOCK = threading.Condition(threading.RLock())
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_MOST_ANNOTATIONS = 262144
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_REQUIREMENT = re.compile(r"([^,=() ]+)(?: in \(([^)]*)\)|==?([^,]*))?")
#: Fields that it does not know it drops.
_SPEC = ("holderIdentity", "leaseDurationSeconds", "acquireTime", "renewTime", "leaseTransitions")
_METADATA = (
    *("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "labels", "annotations"),
    *("ownerReferences", "finalizers"),
)
_KINDS = {"leases": ("coordination.k8s.io/v1", "Lease"), "secrets": ("v1", "Secret")}
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "DELETE": "delete"}
_OBJECTS: dict[tuple[str, str, str], dict[str, Any]] = {}
_EVENTS: list[tuple[str, dict[str, Any]]] = []
_revision = 100


class _RefusedError(Exception):
    """An answer that is no success, as the apiserver words it."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            **({"reason": reason} if reason else {}),
            **({"details": details} if details else {}),
            "code": code,
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if "watch=true" in self.path:
                self._watch()
                return
            with _LOCK:
                code, answer = self._answer(_read(body) if self.command in ("POST", "PUT") or body else {})
        except _RefusedError as refused:
            code, answer = refused.code, refused.status
        content = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names are http.server's

    def _answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == _REVIEWS:
            asked = body["spec"]["resourceAttributes"]
            allowed = not self._is_denied(asked["verb"], asked["resource"], asked.get("name", ""))
            about = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
            return 201, {**about, **body, "status": {"allowed": allowed}}
        before, _, after = parts.path.partition("/namespaces/")
        namespace, plural, name, *_ = [*unquote(after).split("/"), "", ""]
        root = {"/apis/coordination.k8s.io/v1": "leases", "/api/v1": "secrets"}.get(before)
        if plural != root:
            raise _RefusedError(404, "NotFound", "the server could not find the requested resource")
        verb = _VERBS[self.command] if name or self.command == "POST" else "list"
        self._allow(verb, namespace, plural, name)
        if self.command in ("POST", "PUT"):
            _check(namespace, plural, body)
        if self.command == "POST":
            return 201, _create(namespace, plural, body)
        if not name:
            return 200, _list(namespace, plural, query)
        if self.command == "PUT":
            return _update(namespace, plural, name, body)
        found = _OBJECTS.get((plural, namespace, name))
        if found is None:
            raise _not_found(plural, name)
        if self.command == "DELETE":
            return 200, _delete(found, (plural, namespace, name), body.get("preconditions") or {})
        return 200, found

    def _watch(self) -> None:
        """Say how one Lease is, then how it changes: so a watch begins that names no version."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        namespace = parts.path.split("/")[-2]
        name = query.get("fieldSelector", "").removeprefix("metadata.name=")
        until = time.monotonic() + float(query["timeoutSeconds"])
        self._allow("watch", namespace, "leases", name)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with _LOCK:
            seen = len(_EVENTS)
            present = _OBJECTS.get(("leases", namespace, name))
            events = [("ADDED", present)] if present else []
        try:
            while events or time.monotonic() < until:
                for how, found in events:
                    metadata = found["metadata"]
                    if (found["kind"], metadata["namespace"], metadata["name"]) == ("Lease", namespace, name):
                        self._chunk(json.dumps({"type": how, "object": found}).encode() + b"\n")
                with _LOCK:
                    _LOCK.wait_for(lambda seen=seen: len(_EVENTS) > seen, max(0.0, until - time.monotonic()))
                    events, seen = _EVENTS[seen:], len(_EVENTS)
            self._chunk(b"")
        except OSError:
            self.close_connection = True

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

    def _is_denied(self, verb: str, plural: str, name: str) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        lacking = token.removeprefix("without:").split(",") if token.startswith("without:") else []
        return not token or f"{verb}/{plural}" in lacking or f"{verb}/{plural}/{name}" in lacking

    def _allow(self, verb: str, namespace: str, plural: str, name: str) -> None:
        if self.headers.get("Authorization", "") == "Bearer expired":
            raise _RefusedError(401, "Unauthorized", "Unauthorized")
        if self._is_denied(verb, plural, name):
            group = "coordination.k8s.io" if plural == "leases" else ""
            named = f' "{name}"' if name else ""
            words = (
                f'{f"{plural}.{group}".rstrip(".")}{named} is forbidden: User "ci" cannot {verb} resource "{plural}"'
            )
            words += f' in API group "{group}" in the namespace "{namespace}"'
            raise _RefusedError(403, "Forbidden", words, {"name": name, "group": group, "kind": plural})

    def log_message(self, *facts: object) -> None:
        """Say nothing."""


def _read(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        raise _RefusedError(400, "BadRequest", "the object provided is unrecognized: json parse error") from None
    if not isinstance(found, dict):
        raise _RefusedError(400, "BadRequest", "the object provided is unrecognized: it is no object")
    return found


def _check(namespace: str, plural: str, body: dict[str, Any]) -> None:
    """Refuse what is none of these objects."""
    version, kind = _KINDS[plural]
    about = body.get("metadata") or {}
    if (body.get("apiVersion", version), body.get("kind", kind)) != (version, kind):
        raise _RefusedError(400, "BadRequest", f"{body.get('kind')} cannot be handled as a {kind}: unknown conversion")
    if about.get("namespace", namespace) != namespace:
        words = "the namespace of the provided object does not match the namespace sent on the request"
        raise _RefusedError(400, "BadRequest", words)
    name = about.get("name", "")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise _invalid(plural, name, f"metadata.name: Invalid value: {name!r}")
    for key in {**(about.get("labels") or {}), **(about.get("annotations") or {})}:
        prefix, has_prefix, last = key.rpartition("/")
        if not _KEY.fullmatch(last) or len(last) > 63 or (has_prefix and not _NAME.fullmatch(prefix)):
            raise _invalid(plural, name, f"metadata: Invalid value: {key!r}")
    for value in (about.get("labels") or {}).values():
        if value and (not _KEY.fullmatch(value) or len(value) > 63):
            raise _invalid(plural, name, f"metadata.labels: Invalid value: {value!r}")
    seconds = (body.get("spec") or {}).get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        raise _invalid(plural, name, f"spec.leaseDurationSeconds: Invalid value: {seconds}: must be greater than 0")
    for value in (body.get("data") or {}).values():
        try:
            base64.b64decode(value, validate=True)
        except ValueError:
            raise _RefusedError(400, "BadRequest", "Secret cannot be handled as a Secret: illegal base64") from None


def _told(plural: str) -> dict[str, str]:
    return {"group": "coordination.k8s.io"} if plural == "leases" else {}


def _whole(plural: str) -> str:
    return f"{plural}.coordination.k8s.io" if plural == "leases" else plural


def _invalid(plural: str, name: str, why: str) -> _RefusedError:
    kind = _KINDS[plural][1]
    return _RefusedError(
        422, "Invalid", f'{kind} "{name}" is invalid: {why}', {"name": name, **_told(plural), "kind": kind}
    )


def _not_found(plural: str, name: str) -> _RefusedError:
    words = f'{_whole(plural)} "{name}" not found'
    return _RefusedError(404, "NotFound", words, {"name": name, **_told(plural), "kind": plural})


def _conflict(plural: str, name: str, why: str) -> _RefusedError:
    words = f'Operation cannot be fulfilled on {_whole(plural)} "{name}": {why}'
    return _RefusedError(409, "Conflict", words, {"name": name, **_told(plural), "kind": plural})


def _stored(key: tuple[str, str, str], body: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    global _revision
    plural, namespace, name = key
    annotations = metadata.get("annotations") or {}
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _MOST_ANNOTATIONS:
        raise _invalid(plural, name, f"metadata.annotations: Too long: must have at most {_MOST_ANNOTATIONS} bytes")
    _revision += 1
    version, kind = _KINDS[plural]
    metadata = {**metadata, "name": name, "namespace": namespace, "resourceVersion": str(_revision)}
    is_new = key not in _OBJECTS
    if plural == "leases":
        given = body.get("spec") or {}
        content: dict[str, Any] = {"spec": {field: given[field] for field in _SPEC if given.get(field) is not None}}
    else:
        content = {"type": "Opaque", **{field: body[field] for field in ("data", "type") if field in body}}
    metadata = {field: value for field, value in metadata.items() if field in _METADATA}
    _OBJECTS[key] = {**content, "apiVersion": version, "kind": kind, "metadata": metadata}
    _tell("ADDED" if is_new else "MODIFIED", _OBJECTS[key])
    return _OBJECTS[key]


def _tell(how: str, found: dict[str, Any]) -> None:
    _EVENTS.append((how, found))
    _LOCK.notify_all()


def _create(namespace: str, plural: str, body: dict[str, Any]) -> dict[str, Any]:
    name = body["metadata"]["name"]
    if namespace.startswith("missing"):
        words = f'namespaces "{namespace}" not found'
        raise _RefusedError(404, "NotFound", words, {"name": namespace, "kind": "namespaces"})
    if (plural, namespace, name) in _OBJECTS:
        words = f'{_whole(plural)} "{name}" already exists'
        raise _RefusedError(409, "AlreadyExists", words, {"name": name, **_told(plural), "kind": plural})
    if body["metadata"].get("resourceVersion"):
        raise _RefusedError(500, "", "resourceVersion should not be set on objects to be created")
    metadata = {**body["metadata"], "uid": str(uuid.uuid4()), "creationTimestamp": "2026-11-20T10:00:00Z"}
    return _stored((plural, namespace, name), body, metadata)


def _update(namespace: str, plural: str, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A Lease that is not there is made by this too, unless a uid says which one is meant: Secrets are not."""
    key = (plural, namespace, name)
    found = _OBJECTS.get(key)
    if body["metadata"].get("name") != name:
        raise _RefusedError(400, "BadRequest", "the name of the object does not match the name on the URL")
    wanted = {field: body["metadata"].get(field) for field in ("uid", "resourceVersion")}
    if found is None and plural != "leases":
        raise _not_found(plural, name)
    if found is None and not wanted["uid"]:
        return 201, _create(namespace, plural, {**body, "metadata": {**body["metadata"], "resourceVersion": ""}})
    if found is None:
        raise _conflict(plural, name, f"StorageError: invalid object, Code: 4, Precondition failed: UID: {wanted}")
    if any(want not in (None, "", found["metadata"][field]) for field, want in wanted.items()):
        raise _conflict(plural, name, "the object has been modified; please apply your changes to the latest version")
    if plural == "leases" and not wanted["resourceVersion"]:
        raise _invalid(plural, name, "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update")
    kept = {field: found["metadata"][field] for field in ("uid", "creationTimestamp")}
    return 200, _stored(key, body, {**body["metadata"], **kept})


def _delete(found: dict[str, Any], key: tuple[str, str, str], conditions: dict[str, str]) -> dict[str, Any]:
    if any(found["metadata"][field] != want for field, want in conditions.items()):
        raise _conflict(key[0], key[2], "the precondition does not match")
    _tell("DELETED", _OBJECTS.pop(key))
    details = {"name": key[2], **_told(key[0]), "kind": key[0], "uid": found["metadata"]["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _list(namespace: str, plural: str, query: dict[str, str]) -> dict[str, Any]:
    """Select labels by `key=value` and `key in (a,b)`, as Terraform asks, and by `key`. What follows is a name."""
    version, kind = _KINDS[plural]
    try:
        begin = base64.b64decode(query.get("continue", ""), validate=True).decode()
    except ValueError:
        raise _RefusedError(400, "BadRequest", "invalid continue token: continue key is not valid") from None
    items = [
        item
        for (of, where, name), item in sorted(_OBJECTS.items())
        if (of, where) == (plural, namespace)
        and name >= begin
        and _selects(query.get("labelSelector", ""), item["metadata"].get("labels") or {})
    ]
    about = {"resourceVersion": str(_revision)}
    limit = int(query.get("limit", "0")) or len(items)
    if items[limit:]:
        about["continue"] = base64.b64encode(items[limit]["metadata"]["name"].encode()).decode()
    bare = [{name: value for name, value in item.items() if name not in ("kind", "apiVersion")} for item in items]
    return {"apiVersion": version, "kind": f"{kind}List", "metadata": about, "items": bare[:limit]}


def _selects(selector: str, labels: dict[str, str]) -> bool:
    for key, among, value in _REQUIREMENT.findall(selector):
        wanted = among.split(",") if among else [value] if value else list(labels.values())
        if labels.get(key) not in wanted:
            return False
    return True


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    http.server.ThreadingHTTPServer.request_queue_size = 128
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as served:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
        print("LISTENING", served.server_port, flush=True)
        served.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
