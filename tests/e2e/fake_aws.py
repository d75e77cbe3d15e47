"""An endpoint that speaks just enough of AWS's protocols to refuse, and counts what it was asked to write."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.serving import Request, serving


@dataclass
class FakeAws:
    """`asked` has the action of each request."""

    endpoint: str
    asked: list[str]


@contextlib.contextmanager
def refusing(code: str, message: str) -> Iterator[FakeAws]:
    """Serve an endpoint that answers every DynamoDB request with this error."""
    asked: list[str] = []

    def answer(request: Request) -> tuple[int, bytes]:
        asked.append(request.headers.get("X-Amz-Target", "").rpartition(".")[2])
        return 400, json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}).encode()

    with serving(answer) as endpoint:
        yield FakeAws(endpoint, asked)
