"""An endpoint that speaks just enough of AWS's protocols to refuse, and counts what it was asked to write."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.serving import Request, replying


@dataclass
class FakeAws:
    """`asked` has the action of each request."""

    endpoint: str
    asked: list[str]


@contextlib.contextmanager
def refusing(code: str, message: str) -> Iterator[FakeAws]:
    """Serve an endpoint that answers every DynamoDB request with this error."""
    asked: list[str] = []

    def answer(request: Request) -> tuple[int, dict[str, str], bytes]:
        asked.append(request.headers.get("X-Amz-Target", "").rpartition(".")[2])
        body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}).encode()
        return 400, {"Content-Type": "application/x-amz-json-1.0", "x-amz-crc32": str(zlib.crc32(body))}, body

    with replying(answer) as endpoint:
        yield FakeAws(endpoint, asked)
