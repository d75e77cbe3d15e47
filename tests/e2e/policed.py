"""
A proxy in front of AWS's emulators that knows which permission each request needs.

By `allows` it enforces a policy as IAM would, or denies what a test names; `is_lost` lets a request land and its sender
hear nothing. Over TLS too, as AWS is.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_SUBRESOURCES = {
    "tagging": "BucketTagging",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "policy": "BucketPolicy",
    "encryption": "EncryptionConfiguration",
    "versioning": "BucketVersioning",
    "lifecycle": "LifecycleConfiguration",
    "location": "BucketLocation",
}
_VERBS = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "DELETE": "Delete"}
_ON_BUCKET = {"GET": "s3:ListBucket", "HEAD": "s3:ListBucket", "PUT": "s3:CreateBucket", "DELETE": "s3:DeleteBucket"}
#: In a signature: the credential's scope.
_REGION = re.compile(r"Credential=[^/]+/\d+/([^/]+)/")
_VARIABLE = re.compile(r"\$\{([*?$])\}")


@dataclass(frozen=True)
class Permission:
    """What a request needs: `s3:PutObject` on an ARN; of DynamoDB also the key of the item that it is about."""

    action: str
    resource: str
    key: str = ""


class Policed:
    """`allows` and `is_lost` may be changed at any time. `denied` has what was denied, `code` and `status` say it."""

    def __init__(self, endpoint: str, tls: ssl.SSLContext | None) -> None:
        self.allows: Callable[[Permission], bool] = lambda needed: True
        self.is_lost: Callable[[Permission], bool] = lambda needed: False
        self.denied: list[Permission] = []
        self.code, self.status = "AccessDenied", 403
        handler = type("Handler", (_Handler,), {"owner": self, "server_at": urlsplit(endpoint).netloc})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def enforce(self, policy: Mapping[str, Any]) -> None:
        """Allow only what the policy allows."""
        self.allows = lambda needed: any(_covers(statement, needed) for statement in policy["Statement"])

    def deny(self, *actions: str) -> None:
        """Deny these actions alone."""
        self.allows = lambda needed: needed.action not in actions

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def policed(endpoint: str, tls: ssl.SSLContext | None = None) -> Iterator[Policed]:
    """Run such a proxy in front of `endpoint`."""
    made = Policed(endpoint, tls)
    try:
        yield made
    finally:
        made.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Policed
    server_at: str

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = (self.headers.get("X-Amz-Target") or "").rpartition(".")[2]
        region = _REGION.search(self.headers.get("Authorization") or "")
        place = region[1] if region else ""
        needed = _of_dynamodb(target, json.loads(body), place) if target else _of_s3(self.command, self.path)
        if not self.owner.allows(needed):
            self.owner.denied.append(needed)
            self._refuse(is_json=bool(target))
            return
        connection = http.client.HTTPConnection(self.server_at, timeout=60)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            if self.owner.is_lost(needed):
                self.close_connection = True
                return
            self._answer(answer.status, dict(answer.getheaders()), answer.read())

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - the names are http.server's

    def _refuse(self, *, is_json: bool) -> None:
        code, says = self.owner.code, "a test says no"
        if is_json:
            self._answer(400, {}, json.dumps({"__type": f"com.amazonaws#{code}Exception", "message": says}).encode())
        else:
            self._answer(self.owner.status, {}, f"<Error><Code>{code}</Code><Message>{says}</Message></Error>".encode())

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def _of_dynamodb(action: str, body: Mapping[str, Any], region: str) -> Permission:
    key = body.get("Key", body.get("Item", {})).get("LockID", {}).get("S", "")
    return Permission(
        f"dynamodb:{action}", f"arn:aws:dynamodb:{region}:123456789012:table/{body.get('TableName', '')}", key
    )


def _of_s3(method: str, path: str) -> Permission:
    url = urlsplit(path)
    bucket, _, key = unquote(url.path).lstrip("/").partition("/")
    if key:
        return Permission(f"s3:{_VERBS[method]}Object", f"arn:aws:s3:::{bucket}/{key}")
    named = [name for name, _ in parse_qsl(url.query, keep_blank_values=True) if name in _SUBRESOURCES]
    # S3 has no permission of its own for taking tags away.
    verb = "Put" if method == "DELETE" else _VERBS[method]
    action = f"s3:{verb}{_SUBRESOURCES[named[0]]}" if named else _ON_BUCKET[method]
    return Permission(action, f"arn:aws:s3:::{bucket}")


def _covers(statement: Mapping[str, Any], needed: Permission) -> bool:
    """Whether an Allow statement grants it, by as much of IAM as the policies here make use of."""
    assert statement["Effect"] == "Allow"
    assert statement.get("Condition", {}).keys() <= {"ForAllValues:StringEquals"}
    keys = statement.get("Condition", {}).get("ForAllValues:StringEquals", {}).get("dynamodb:LeadingKeys")
    return (
        needed.action in statement["Action"]
        and re.fullmatch(_pattern(statement["Resource"]), needed.resource) is not None
        and (keys is None or needed.key in [_VARIABLE.sub(r"\1", key) for key in keys])
    )


def _pattern(resource: str) -> str:
    """An ARN with IAM's wildcards, and its escapes for them, as a regular expression."""
    parts = re.split(r"(\$\{[*?$]\}|[*?])", resource)
    meanings = {"*": ".*", "?": "."}
    return "".join(meanings.get(part, re.escape(_VARIABLE.sub(r"\1", part))) for part in parts)
