"""
What a request to a store means, and how each store says that something went wrong.

Requests are named as the store's own operations, alike for DynamoDB, S3 and Consul, whoever sends them.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from tests.faults.proxy import Fate, Request

Answer = tuple[int, Mapping[str, str], bytes]

_ACTIONS = {"GetItem": "read", "DeleteItem": "delete"}
_METHODS = {"GET": "read", "DELETE": "delete"}
#: What DynamoDB calls it, and what S3 does.
_CODES = {
    "500": ("InternalServerError", "InternalError"),
    "throttled": ("ProvisionedThroughputExceededException", "SlowDown"),
    "denied": ("AccessDeniedException", "AccessDenied"),
    "expired": ("ExpiredTokenException", "ExpiredToken"),
    "missing": ("ResourceNotFoundException", "NoSuchBucket"),
}
_STATUSES = {
    "InternalServerError": 500,
    "InternalError": 500,
    "SlowDown": 503,
    "AccessDenied": 403,
    "NoSuchBucket": 404,
}
#: What Consul says. It calls no error by a name.
_CONSULS = {
    "500": (500, "rpc error: a test says no"),
    "denied": (403, "Permission denied"),
    "expired": (403, "ACL not found"),
    "missing": (500, "No path to datacenter"),
}
_CONSUL_THROTTLES = (429, "Your IP is issuing too many concurrent connections")
_CONSUL = "/v1/"


def understood(request: Request) -> Request:
    """Find out what is asked of which record."""
    request.action = (request.headers.get("X-Amz-Target") or "").rpartition(".")[2]
    if request.action:
        _understand_dynamodb(request, json.loads(request.body or b"{}"))
    elif request.path.startswith(_CONSUL):
        _understand_consul(request)
    else:
        _understand_s3(request)
    if request.key.endswith(".tfguard"):
        request.operation = "read_queue" if request.operation == "read" else "write_queue"
    return request


def _understand_dynamodb(request: Request, body: Mapping[str, Any]) -> None:
    item = body.get("Item", {})
    request.key = {**body.get("Key", {}), **item}.get("LockID", {}).get("S", "")
    if not request.key or request.key.endswith("-md5"):
        return
    request.operation = _ACTIONS.get(request.action, "other")
    if request.action == "PutItem":
        request.operation = "create" if "not_exists(LockID)" in body.get("ConditionExpression", "") else "replace"
        request.beat = int(item["TfguardBeat"]["N"]) if "TfguardBeat" in item else None


def _understand_s3(request: Request) -> None:
    request.key = unquote(urlsplit(request.path).path)
    if not request.key.endswith((".tflock", ".tfguard")):
        return
    request.operation = _METHODS.get(request.method, "other")
    if request.method == "PUT":
        request.operation = "create" if "If-None-Match" in request.headers else "replace"
        with contextlib.suppress(ValueError, KeyError, TypeError):
            request.beat = json.loads(request.body)["tfguard"]["beat"]


def _understand_consul(request: Request) -> None:
    """A write is a transaction of keys. What concerns a session, or rests until a key changes, is neither of a lock."""
    url = urlsplit(request.path)
    if request.method == "GET":
        request.key = unquote(url.path)
        if request.key.endswith((".lock", ".tfguard")) and "index=" not in url.query:
            request.operation = "read"
    elif url.path == "/v1/txn":
        keys = [each["KV"] for each in json.loads(request.body)]
        verbs = {key["Verb"] for key in keys}
        request.key = keys[-1]["Key"]
        request.operation = "delete" if "delete" in verbs else "create" if verbs == {"lock", "set"} else "replace"
        with contextlib.suppress(ValueError, KeyError, TypeError):
            request.beat = json.loads(base64.b64decode(keys[-1]["Value"]))["tfguard"]["lease"]["beat"]


def error(fate: Fate, request: Request) -> Answer:
    """What the request's sender hears of an error of that name."""
    if request.path.startswith(_CONSUL):
        status, words = _CONSULS.get(fate.hears, _CONSUL_THROTTLES)
        return fate.status or status, {}, words.encode()
    is_dynamodb = bool(request.action)
    code = _CODES.get(fate.hears, (fate.hears, fate.hears))[0 if is_dynamodb else 1]
    status = fate.status or _STATUSES.get(code, 400)
    if not is_dynamodb:
        return status, {}, f"<Error><Code>{code}</Code><Message>a test says no</Message></Error>".encode()
    body = json.dumps({"__type": f"com.amazonaws#{code}", "message": "a test says no"}).encode()
    return status, {"Content-Type": "application/x-amz-json-1.0"}, body
