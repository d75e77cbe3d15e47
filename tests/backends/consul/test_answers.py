"""What each refusal of Consul's, of a server that is none, and of no server becomes: one error, two lines."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.conftest import Consul
from tests.contract.kinds import lease, record
from tests.support.serving import replying
from tfguard.backends.consul.spec import ConsulAccess, ConsulSpec
from tfguard.backends.consul.store import ConsulStore
from tfguard.errors import (
    ActionDenied,
    Conflict,
    StoreDenied,
    StoreMisconfigured,
    StoreUnavailable,
    TfguardError,
)
from tfguard.lock.store import QueueRecord

Open = Callable[[ConsulSpec], ConsulStore]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Open stores, and close them at the end."""
    with ExitStack() as stack:
        yield lambda spec: stack.enter_context(closing(ConsulStore(spec)))


def at(address: str) -> ConsulSpec:
    return ConsulSpec(path="app", consul=ConsulAccess(address=address.removeprefix("http://")))


INDEX = {"X-Consul-Index": "7", "Content-Type": "application/json"}


def failing(*reasons: str) -> bytes:
    return json.dumps({"Results": None, "Errors": [{"OpIndex": 0, "What": what} for what in reasons]}).encode()


READS: dict[str, tuple[int, dict[str, str], bytes, type[TfguardError], str]] = {
    "a portal's page": (200, {}, b"<html>Log in</html>", StoreUnavailable, "is not Consul"),
    "a portal's JSON": (200, {}, b"[]", StoreUnavailable, "is not Consul"),
    "another server's 404": (404, {}, b"Not Found", StoreUnavailable, "is not Consul"),
    "half of it": (200, INDEX, b'[{"Key":', StoreUnavailable, "is not Consul"),
    "another shape": (200, INDEX, b'{"Key": "x"}', StoreUnavailable, "is not Consul"),
    "a redirect": (301, {"Location": "/ui"}, b"", StoreUnavailable, "is not Consul"),
    "no leader": (500, {}, b"No cluster leader", StoreUnavailable, "No cluster leader"),
    "another datacenter": (500, {}, b"No path to datacenter", StoreMisconfigured, "No path to datacenter"),
    "TLS expected": (400, {}, b"Client sent an HTTP request to an HTTPS server.", StoreMisconfigured, "HTTPS server"),
    "too often": (429, {}, b"Your IP is issuing too many", StoreUnavailable, "too often"),
    "no such token": (403, {}, b"ACL not found", StoreDenied, "ACL not found"),
    "no permission": (403, {}, b"Permission denied", ActionDenied, "key:read on key app/.lock"),
    "a login": (401, {}, b"", StoreDenied, "wants a user and a password"),
    "hostile words": (500, {}, b"\x1b[2J\r\n" + b"x" * 9_000, StoreUnavailable, "has no answer"),
}


@pytest.mark.parametrize(("status", "headers", "body", "kind", "words"), READS.values(), ids=READS.keys())
def test_what_a_read_is_answered_becomes_one_error_of_two_lines_at_most(
    opened: Open, status: int, headers: dict[str, str], body: bytes, kind: type[TfguardError], words: str
) -> None:
    with replying(lambda _: (status, headers, body)) as address, pytest.raises(kind) as raised:
        opened(at(address)).read()

    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 2
    assert str(raised.value).replace("\n", "").isprintable()
    assert type(raised.value) is kind


WRITES: dict[str, tuple[int, bytes, type[Exception]]] = {
    "held": (409, failing('failed to lock key "x", lock is already held'), Conflict),
    "another index": (409, failing('failed to set key "x", index is stale'), Conflict),
    "another session": (409, failing("failed session check for key"), Conflict),
    "an ended session": (409, failing('invalid session "x"'), Conflict),
    "lock-delay": (409, failing("failed to lock key due to lock delay"), Conflict),
    "denied": (409, failing("Permission denied", "Permission denied"), ActionDenied),
    "a reason that nobody knows": (409, failing("the moon is full"), StoreUnavailable),
    "no reason": (409, b"{}", StoreUnavailable),
    "a success without results": (200, b'{"Results": [], "Errors": null}', StoreUnavailable),
    "a portal": (200, b"true", StoreUnavailable),
    "too large": (413, b"request body too large", StoreMisconfigured),
}


@pytest.mark.parametrize(("status", "body", "kind"), WRITES.values(), ids=WRITES.keys())
def test_what_a_write_is_answered_becomes_one_error(
    opened: Open, status: int, body: bytes, kind: type[Exception]
) -> None:
    with replying(lambda _: (status, INDEX, body)) as address, pytest.raises(kind) as raised:
        opened(at(address)).write_queue(None, QueueRecord(text="{}"))

    assert type(raised.value) is kind


def test_nobody_there_names_the_address_and_what_to_look_at(opened: Open) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"

    with pytest.raises(StoreUnavailable) as raised:
        opened(at(address)).read()

    assert address in str(raised.value)
    assert "CONSUL_HTTP_ADDR" in str(raised.value)


# --- tokens ---------------------------------------------------------------------------------------------------------

#: What a token may do, and what is denied: the lock, or only the line.
POLICIES = {
    "nothing": ("", "key:read"),
    "read only": ('key_prefix "" { policy = "read" } session_prefix "" { policy = "write" }', "key:write"),
    "no sessions": ('key_prefix "" { policy = "write" }', "session:write"),
}


@pytest.mark.emulator
@pytest.mark.parametrize(("rules", "action"), POLICIES.values(), ids=POLICIES.keys())
def test_who_may_not_lock_is_told_which_permission_is_missing(
    opened: Open, rules: str, action: str, guarded_consul: Consul
) -> None:
    store = opened(with_token(guarded_consul, rules))

    with pytest.raises(ActionDenied) as raised:
        _ = store.read(), store.create(record(lease=lease()))

    assert raised.value.action == action
    assert "token's policy" in str(raised.value)


@pytest.mark.emulator
def test_without_the_key_of_the_line_the_lock_still_works(opened: Open, guarded_consul: Consul) -> None:
    path = guarded_consul.path()
    keys = " ".join(f'key "{path}/{name}" {{ policy = "write" }}' for name in (".lock", ".lockinfo"))
    rules = f'{keys} session_prefix "" {{ policy = "write" }}'
    guarded = opened(with_token(guarded_consul, rules, path))

    guarded.delete(guarded.create(record(lease=lease())))

    with pytest.raises(ActionDenied):
        guarded.write_queue(None, QueueRecord(text="{}"))


@pytest.mark.emulator
def test_a_token_that_nobody_knows_is_no_missing_permission(opened: Open, guarded_consul: Consul) -> None:
    access = ConsulAccess(address=guarded_consul.address, token="11111111-2222-3333-4444-555555555555")

    with pytest.raises(StoreDenied) as raised:
        opened(ConsulSpec(path="app", consul=access)).read()

    assert type(raised.value) is StoreDenied
    assert "CONSUL_HTTP_TOKEN" in str(raised.value)
    assert "11111111" not in str(raised.value)


def with_token(consul: Consul, rules: str, path: str = "") -> ConsulSpec:
    """A lock whose token has these rules and no others."""
    access = ConsulAccess(address=consul.address, token=consul.token_for(rules))
    return ConsulSpec(path=path or consul.path(), consul=access)
