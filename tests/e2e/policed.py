"""
A fault proxy in front of AWS's emulators that knows which permission each request needs.

By `allows` it enforces a policy as IAM would, or denies what a test names; `is_lost` lets a request land and its sender
hear nothing. Over TLS too, as AWS is.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.faults.proxy import PASSES, UNHEARD, Fate, FaultProxy, Request, refused

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


class Policed(FaultProxy):
    """`allows` and `is_lost` may be changed at any time. `denied` has what was denied, `code` and `status` say it."""

    def __init__(self, endpoint: str, tls: ssl.SSLContext | None = None) -> None:
        self.allows: Callable[[Permission], bool] = lambda needed: True
        self.is_lost: Callable[[Permission], bool] = lambda needed: False
        self.denied: list[Permission] = []
        self.code, self.status = "AccessDenied", 403
        super().__init__(endpoint, tls)

    def unplanned(self, request: Request) -> Fate:
        needed = _of_dynamodb(request) if request.action else _of_s3(request.method, request.path)
        if not self.allows(needed):
            self.denied.append(needed)
            return refused(f"{self.code}Exception") if request.action else refused(self.code, self.status)
        return UNHEARD if self.is_lost(needed) else PASSES

    def enforce(self, policy: Mapping[str, Any]) -> None:
        """Allow only what the policy allows."""
        self.allows = lambda needed: any(_covers(statement, needed) for statement in policy["Statement"])

    def deny(self, *actions: str) -> None:
        """Deny these actions alone."""
        self.allows = lambda needed: needed.action not in actions


def policed(endpoint: str, tls: ssl.SSLContext | None = None) -> AbstractContextManager[Policed]:
    """Run such a proxy in front of `endpoint`."""
    return closing(Policed(endpoint, tls))


def _of_dynamodb(request: Request) -> Permission:
    region = _REGION.search(request.headers.get("Authorization", ""))
    table = json.loads(request.body).get("TableName", "")
    resource = f"arn:aws:dynamodb:{region[1] if region else ''}:123456789012:table/{table}"
    return Permission(f"dynamodb:{request.action}", resource, request.key)


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
