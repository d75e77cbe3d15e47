"""
What a Kubernetes API server answers, written down as 1.20.2 was seen to: asked of what plays it, and in `make soak` of
such a server itself.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.conftest import Kubernetes

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
SECRETS = "/api/v1/namespaces/{}/secrets"
NOBODY = "00000000-0000-0000-0000-000000000000"


class Server:
    """One namespace with the Lease `a`, and a free hand in it."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self.endpoint = kubernetes.endpoint
        self.namespace = kubernetes.namespace()
        about = {"name": "a", "annotations": {"x": "1"}, "labels": {"l": "1", "m": "2"}}
        self.object = self.ask("POST", LEASES, {"metadata": about, "spec": {"holderIdentity": "id"}})[1]

    def ask(self, method: str, path: str, body: Any = None, token: str = "token") -> tuple[int, Any]:
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        url = self.endpoint + path.format(self.namespace)
        request = urllib.request.Request(url, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def changed(self, **metadata: Any) -> dict[str, Any]:
        """Return the object with changes to its metadata; None takes a field out."""
        about = {**self.object["metadata"], **metadata}
        return {**self.object, "metadata": {name: value for name, value in about.items() if value is not None}}


@pytest.fixture
def server(kubernetes: Kubernetes) -> Server:
    return Server(kubernetes)


A = f"{LEASES}/a"
#: What is written, and with which status and reason it is refused, or with which status it is taken.
WRITES: dict[str, tuple[str, str, Any, int, str]] = {
    "a second one": ("POST", LEASES, {"metadata": {"name": "a"}}, 409, "AlreadyExists"),
    "a version": ("POST", LEASES, {"metadata": {"name": "b", "resourceVersion": "7"}}, 500, ""),
    "no name": ("POST", LEASES, {"metadata": {}}, 422, "Invalid"),
    "a bad name": ("POST", LEASES, {"metadata": {"name": "A_b"}}, 422, "Invalid"),
    "a bad label": ("POST", LEASES, {"metadata": {"name": "b", "labels": {"l": "a b"}}}, 422, "Invalid"),
    "another namespace": ("POST", LEASES, {"metadata": {"name": "b", "namespace": "other"}}, 400, "BadRequest"),
    "another kind": ("POST", LEASES, {"kind": "Secret", "apiVersion": "v1", "metadata": {}}, 400, "BadRequest"),
    "nothing": ("POST", LEASES, b"", 400, "BadRequest"),
    "half": ("POST", LEASES, b"{", 400, "BadRequest"),
    "no time": ("POST", LEASES, {"metadata": {"name": "b"}, "spec": {"leaseDurationSeconds": 0}}, 422, "Invalid"),
    "no base64": ("POST", SECRETS, {"metadata": {"name": "b"}, "data": {"x": "%"}}, 400, "BadRequest"),
    "nowhere": ("POST", LEASES.format("missing-x"), {"metadata": {"name": "b"}}, 404, "NotFound"),
    "as it is": ("PUT", A, {}, 200, ""),
    "another uid": ("PUT", A, {"uid": NOBODY}, 409, "Conflict"),
    "an old version": ("PUT", A, {"resourceVersion": "1"}, 409, "Conflict"),
    "no version": ("PUT", A, {"resourceVersion": None}, 422, "Invalid"),
    "no uid": ("PUT", A, {"uid": None}, 200, ""),
    "another name": ("PUT", A, {"name": "b"}, 400, "BadRequest"),
    "a bad key": ("PUT", A, {"annotations": {"a b": "x"}}, 422, "Invalid"),
    "much": ("PUT", A, {"annotations": {"x": "y" * 262143}}, 200, ""),
    "too much": ("PUT", A, {"annotations": {"x": "y" * 262144}}, 422, "Invalid"),
    "one that is not there": ("PUT", f"{LEASES}/b", {"name": "b"}, 409, "Conflict"),
    "one that is not there, no uid": (
        "PUT",
        f"{LEASES}/b",
        {"name": "b", "uid": None, "resourceVersion": None},
        201,
        "",
    ),
    "one that is none": ("DELETE", f"{LEASES}/b", {}, 404, "NotFound"),
    "one of another uid": ("DELETE", A, {"preconditions": {"uid": NOBODY}}, 409, "Conflict"),
    "one of another version": ("DELETE", A, {"preconditions": {"resourceVersion": "1"}}, 409, "Conflict"),
}


@pytest.mark.parametrize("row", WRITES.values(), ids=WRITES)
def test_a_write_is_taken_or_refused(server: Server, row: tuple[str, str, Any, int, str]) -> None:
    method, path, given, status, reason = row
    body = server.changed(**given) if method == "PUT" else given

    code, answer = server.ask(method, path, body)

    assert (code, answer.get("reason", "")) == (status, reason), answer
    assert answer["kind"] == "Lease" if status < 300 else (answer["kind"], answer["code"]) == ("Status", status)


def test_what_it_does_not_know_is_left_out(server: Server) -> None:
    body = {"odd": 1, "metadata": {"name": "b", "odd": 1}, "spec": {"odd": 1, "holderIdentity": None}}

    _, made = server.ask("POST", LEASES, body)
    _, secret = server.ask("POST", SECRETS, {"metadata": {"name": "b"}, "odd": 1})

    assert (set(made), made["spec"]) == ({"kind", "apiVersion", "metadata", "spec"}, {})
    assert "odd" not in made["metadata"]
    assert (secret["type"], "odd" in secret) == ("Opaque", False)


def test_a_deletion_says_what_is_gone(server: Server) -> None:
    about = server.object["metadata"]
    options = {"preconditions": {"uid": about["uid"], "resourceVersion": about["resourceVersion"]}}

    code, answer = server.ask("DELETE", A, {"kind": "DeleteOptions", "apiVersion": "v1", **options})

    assert (code, answer["status"], answer["details"]["uid"]) == (200, "Success", about["uid"])
    assert server.ask("GET", A)[0] == 404
    assert server.ask("PUT", A, server.object)[0] == 409


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["a", "b", "c"]),
        ("labelSelector=l%3D1", ["a"]),
        ("labelSelector=l+in+(1,2)", ["a", "b"]),
        ("labelSelector=l%3D1,m", ["a"]),
        ("labelSelector=l", ["a", "b"]),
        ("labelSelector=l%3D9", []),
        ("limit=2", ["a", "b"]),
    ],
)
def test_what_is_listed_fits_and_is_no_more_than_asked_for(server: Server, query: str, names: list[str]) -> None:
    for name, labels in (("b", {"l": "2"}), ("c", {})):
        server.ask("POST", LEASES, {"metadata": {"name": name, "labels": labels}})

    code, found = server.ask("GET", f"{LEASES}?{query}")

    assert code == 200
    assert [each["metadata"]["name"] for each in found["items"]] == names
    if "limit" in query:
        _, rest = server.ask("GET", f"{LEASES}?{query}&continue={found['metadata']['continue']}")
        assert [each["metadata"]["name"] for each in rest["items"]] == ["c"]
        assert "continue" not in rest["metadata"]
        assert server.ask("GET", f"{LEASES}?limit=1&continue=%25")[0] == 400


@pytest.mark.parametrize(("token", "status"), [("", 403), ("expired", 401), ("without:update/leases", 403)])
def test_who_may_not_is_told_so(server: Server, token: str, status: int) -> None:
    code, answer = server.ask("PUT", A, server.object, token)

    assert (code, answer["code"]) == (status, status)
    assert status == 401 or answer["details"] == {"group": "coordination.k8s.io", "kind": "leases", "name": "a"}
