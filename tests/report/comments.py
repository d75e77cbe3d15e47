"""Small stand-ins of GitHub's and GitLab's comments, over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.serving import NoReply, Request, replying

ME = 7
#: Of whoever can write a comment, too.
STRANGER = 66


class Site:
    """
    What is written there, and how it answers. `faults`: statuses (-1: none at all), each for one request to come;
    `refuses`: of a method, always; `loses`: the method whose answers do not arrive.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.comments: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.faults: list[int] = []
        self.fault_headers = {"Retry-After": "0"}
        self.refuses: dict[str, int] = {}
        self.loses = ""
        self.delay = 0.0
        self.url = ""
        self._last = 0

    def write(self, body: str, author: int = ME, *, is_bot: bool = True) -> int:
        self._last += 1
        who = {"id": author, "login": f"u{author}", "type": "Bot" if is_bot else "User"}
        self.comments.append({"id": self._last, "body": body, "user" if self.kind == "github" else "author": who})
        return self._last

    @property
    def bodies(self) -> list[str]:
        return [each["body"] for each in self.comments]

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        parts = urlsplit(path)
        where, query = unquote(parts.path), {name: value[0] for name, value in parse_qs(parts.query).items()}
        if where == "/user":
            return 200, {"id": ME, "login": f"u{ME}"}
        if method in self.refuses:
            return self.refuses[method], {"message": "no"}
        thread = "/repos/acme/infra/issues/5/comments"
        one = "/repos/acme/infra/issues/comments/"
        if self.kind == "gitlab":
            thread = "/projects/acme/infra/merge_requests/5/notes"
            one = f"{thread}/"
        if method == "GET" and where == thread:
            size, number = int(query["per_page"]), int(query["page"])
            return 200, self.comments[size * (number - 1) : size * number]
        if method == "POST" and where == thread:
            if len(body["body"]) > (65_536 if self.kind == "github" else 1_000_000):
                return 422, {}
            self.write(body["body"])
            return 201, {}
        found = [each for each in self.comments if where == f"{one}{each['id']}"]
        if found and method == ("PATCH" if self.kind == "github" else "PUT"):
            found[0]["body"] = body["body"]
            return 200, {}
        if found and method == "DELETE":
            self.comments.remove(found[0])
            return 204, None
        return 404, {}

    def reply(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(f"{request.method} {request.path}")
        self.headers.append(dict(request.headers))
        time.sleep(self.delay)
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and fault < 0:
            raise NoReply
        if fault is not None:
            return fault, self.fault_headers, b"{}"
        status, content = self.answer(request.method, request.path, json.loads(request.body or b"{}"))
        if request.method == self.loses:
            raise NoReply
        return status, {}, b"" if content is None else json.dumps(content).encode()


@contextmanager
def served(site: Site) -> Iterator[Site]:
    with replying(site.reply) as site.url:
        yield site
