"""Terraform's lock on a server of states: what it is to look at one, to lose an answer, and to be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.conftest import States
from tests.contract.kinds import record
from tests.support.gitlab import gitlab_lock
from tfguard.backends.http.addresses import GUARD
from tfguard.backends.http.spec import GitLabGuardSpec, HttpAccess, HttpSpec
from tfguard.backends.http.store import HttpLockStore
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.transport import Request, Response
from tfguard.backends.spec import LockSpec
from tfguard.errors import ActionDenied, Conflict, StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.lock.lockinfo import LockInfo

pytestmark = pytest.mark.emulator
KINDS = ("gitlab", "strict")


def spec_of(states: States, kind: str) -> HttpSpec:
    if kind != "gitlab":
        address = states.other(kind)
        return HttpSpec(address=address, lock_address=address, unlock_address=address)
    return gitlab_lock(states.gitlab())


@pytest.fixture(params=KINDS)
def spec(request: pytest.FixtureRequest, states: States) -> HttpSpec:
    return spec_of(states, request.param)


#: Opens a store; the test's end closes it.
Open = Callable[[LockSpec], Any]


@pytest.fixture
def another() -> Iterator[Open]:
    with ExitStack() as stack:
        yield lambda spec: stack.enter_context(closing(spec.open()))


@pytest.fixture
def store(spec: HttpSpec, another: Open) -> Any:
    return another(spec)


def test_a_lock_is_had_once_and_freed_by_its_own_id_alone(
    spec: HttpSpec, store: Any, another: Open, states: States
) -> None:
    mine = store.create(record())

    with pytest.raises(Conflict):
        another(spec).create(record())
    with pytest.raises(Conflict):
        another(spec).delete(record())
    assert states.lock_of(spec.address) == mine.id
    store.delete(mine)

    assert states.lock_of(spec.address) == ""
    with pytest.raises(Conflict):
        store.delete(mine)


def test_a_look_shows_the_holder_and_leaves_a_free_lock_free(
    spec: HttpSpec, store: Any, another: Open, states: States
) -> None:
    before = store.read()
    mine = another(spec).create(record())

    found = store.read()

    assert before is None
    assert found is not None and found.id == mine.id
    assert found.lease is None
    assert states.lock_of(spec.address) == mine.id


def test_gitlab_says_of_a_holder_only_what_is_not_ours(states: States, another: Open) -> None:
    """The rest of its answer is what we asked with."""
    spec = spec_of(states, "gitlab")
    another(spec).create(record())

    found = another(spec).read()

    assert found is not None and found.info is not None
    assert (found.info.who, found.info.operation, found.info.info) == ("gitlab-ci-token", "", "")
    assert found.info.created


def test_what_a_dead_look_has_left_can_be_taken_over(spec: HttpSpec, store: Any, states: States) -> None:
    look = LockInfo(id="tfguard-look-0").encode()
    status, _ = states.ask(spec.lock_method, spec.lock_address, look.encode())

    found = store.read()
    assert found is not None
    taken = store.replace(found, record())

    assert status == 200
    assert found.lease is not None and found.lease.seconds >= 30
    assert states.lock_of(spec.address) == taken.id


def test_a_lock_whose_answer_was_lost_is_ours_after_a_look(
    spec: HttpSpec, store: Any, another: Open, states: States
) -> None:
    for is_landing in (True, False):
        mine, send = record(), store._client.transport.send

        def lose(request: Request, limit: int, is_landing: bool = is_landing, send=send) -> Response:  # type: ignore[no-untyped-def]
            if is_landing:
                send(request, limit)
            raise NoAnswer("it took too long")

        store._client.transport.send = lose  # type: ignore[method-assign,assignment]
        with pytest.raises(StoreUnavailable):
            store.create(mine)
        store._client.transport.send = send  # type: ignore[method-assign]

        found = store.read()

        assert found is not None and found.id == mine.id
        assert states.lock_of(spec.address) == mine.id, "it cannot land later, when nobody expects it"
        store.delete(found)


def test_a_server_that_lets_anybody_unlock_is_found_out(states: States, another: Open) -> None:
    careless, strict = (another(spec_of(states, kind)) for kind in ("careless", "strict"))

    assert strict.try_identity()
    strict.prove_conditional(strict.create(record()))
    with pytest.raises(StoreMisconfigured, match="whatever its ID"):
        careless.try_identity()
    with pytest.raises(StoreMisconfigured, match="whatever its ID"):
        careless.prove_conditional(careless.create(record()))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, StoreDenied),
        (403, ActionDenied),
        (404, StoreMisconfigured),
        (302, StoreMisconfigured),
        (429, StoreUnavailable),
        (500, StoreUnavailable),
    ],
)
def test_what_an_answer_becomes(store: Any, status: int, kind: type[Exception]) -> None:
    store._client.transport.send = lambda *_: Response(status, {}, b"<html>")  # type: ignore[method-assign]

    with pytest.raises(kind):
        store.create(record())


def test_where_a_server_leads_elsewhere_it_is_said_where_and_nobody_goes_there(store: Any) -> None:
    asked = []
    headers = {"location": "//ana:geheim@other.example.com/state/prod?token=geheim"}
    store._client.transport.send = lambda request, _: asked.append(request.url) or Response(308, headers, b"")

    with pytest.raises(
        StoreMisconfigured, match=r"leads elsewhere \(308\), to http://other\.example\.com/state/prod\."
    ):
        store.create(record())

    assert len(asked) == 1


@pytest.mark.parametrize("body", [b"", b"<html>locked</html>", b"[1, 2]"])
def test_a_server_that_does_not_say_who_holds_a_lock_is_found_out(states: States, another: Open, body: bytes) -> None:
    """A lock of our own would be another's to us."""
    strict = another(spec_of(states, "strict"))
    held, send = strict.create(record()), strict._client.transport.send

    def silently(request: Any, max_bytes: int) -> Response:
        answer = send(request, max_bytes)
        return Response(423, {}, body) if answer.status == 423 else answer

    strict._client.transport.send = silently

    with pytest.raises(StoreMisconfigured, match="does not say who holds a lock"):
        strict.prove_conditional(held)


@pytest.mark.parametrize("body", [b"", b"locked by Bob", b'{"ID":7}', b"\xff"])
def test_a_holder_that_nobody_can_read_is_a_holder(store: Any, body: bytes) -> None:
    store._client.transport.send = lambda *_: Response(423, {}, body)  # type: ignore[method-assign]

    found = store.read()

    assert found is not None
    assert (found.info, found.id) == (None, "")
    asked: list[Any] = []
    store._client.transport.send = lambda request, _: asked.append(request) or Response(200, {}, b"")
    store.delete(found)
    assert [request.body for request in asked] == [b""], "as terraform force-unlock asks for it"


def test_user_and_password_are_the_backends_then_the_environments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TF_HTTP_PASSWORD", "theirs")
    sent = []
    for access in (HttpAccess(), HttpAccess(username="ana"), HttpAccess(username="ana", password="geheim")):
        store = HttpLockStore(
            HttpSpec(address="http://h", lock_address="http://h", unlock_address="http://h", http=access)
        )
        store._client.transport.send = lambda request, _: sent.append(request) or Response(200, {}, b"")  # type: ignore[method-assign]
        store.create(record())

    logins = [request.headers.get("Authorization") for request in sent]

    assert logins == [None, "Basic YW5hOnRoZWlycw==", "Basic YW5hOmdlaGVpbQ=="]


def test_a_register_that_somebody_has_deleted_comes_back_by_no_heartbeat(states: States, another: Open) -> None:
    spec = GitLabGuardSpec(address=states.gitlab())
    store = another(spec)
    mine = store.create(record())
    states.ask("DELETE", f"{spec.address}{GUARD}/versions/1")

    with pytest.raises(Conflict):
        store.replace(mine, mine)

    assert store.read() is None
    assert states.serials(spec.address + GUARD) == []


def test_a_write_that_comes_late_into_a_cleared_place_counts_nothing_and_leaves_nothing(
    states: States, another: Open
) -> None:
    spec = GitLabGuardSpec(address=states.gitlab())
    store = another(spec)
    old = store.create(record())
    mine = store.replace(store.replace(old, old), old)

    with pytest.raises(Conflict):
        another(spec).replace(old, record())

    assert store.read() == mine
    assert states.serials(spec.address + GUARD) == [3]


def test_a_register_does_not_grow(states: States, another: Open) -> None:
    spec = GitLabGuardSpec(address=states.gitlab())
    store = another(spec)

    for _ in range(5):
        mine = store.create(record())
        store.delete(store.replace(mine, mine))

    assert states.serials(spec.address + GUARD) == [15]
