"""Which locks are held in a project on GitLab, as its list of states shows them, page by page."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.conftest import States
from tests.contract.kinds import lease, record
from tests.support.gitlab import gitlab_lock
from tests.support.gitlab_server import ACCESS_TOKEN
from tfguard.backends.http.backend import locks_beside
from tfguard.backends.http.spec import GitLabGuardSpec, HttpAccess, HttpSpec
from tfguard.backends.net.transport import Response
from tfguard.backends.target import StoreSpec
from tfguard.errors import ConfigError, StoreDenied, StoreUnavailable

pytestmark = pytest.mark.emulator

_ACCESS = HttpAccess(username="ana", password=ACCESS_TOKEN)


def spec_of(address: str, access: HttpAccess = _ACCESS) -> HttpSpec:
    return gitlab_lock(address, access)


@pytest.fixture(params=["number", "path"])
def base(request: pytest.FixtureRequest, states: States) -> str:
    """A project of this test's own, by its number or its path."""
    project = str(uuid.uuid4().int) if request.param == "number" else f"group%2F{uuid.uuid4().hex}"
    return f"{states.endpoint}/api/v4/projects/{project}/terraform/state"


def write_state(states: States, address: str) -> None:
    status, _ = states.ask("POST", address, json.dumps({"version": 4, "serial": 1}).encode())
    assert status == 200


@pytest.fixture
def held(base: str, states: States) -> Iterator[str]:
    """One state is ours, one a plain Terraform's, one was ours and has been unlocked by force; two are free."""
    for name in ("free", "free-tfguard-of-nothing"):
        write_state(states, f"{base}/{name}")
    with (
        closing(GitLabGuardSpec(address=f"{base}/ours", http=_ACCESS).open()) as guard,
        closing(spec_of(f"{base}/ours").open()) as lock,
        closing(GitLabGuardSpec(address=f"{base}/unlocked", http=_ACCESS).open()) as other,
        closing(spec_of(f"{base}/plain").open()) as plain,
    ):
        mine = record(lease=lease())
        guard.create(mine)
        lock.create(mine)
        write_state(states, f"{base}/unlocked")
        other.create(record(lease=lease()))
        plain.create(record())
        # GitLab knows a state from its lock on; ours came before.
        released = record(lease=lease())
        with closing(GitLabGuardSpec(address=f"{base}/free", http=_ACCESS).open()) as free:
            free.delete(free.create(released))
        yield base


def names(spec: StoreSpec) -> dict[str, str]:
    return {name: getattr(each, "address", "") for name, each in locks_beside(spec, None)}


def test_guards_are_listed_for_a_guard_and_locks_for_a_lock(held: str) -> None:
    guards = names(GitLabGuardSpec(address=f"{held}/free", http=_ACCESS))
    alone = names(spec_of(f"{held}/free?x=y"))

    assert guards == {"ours": f"{held}/ours", "unlocked": f"{held}/unlocked"}
    assert alone == {"ours": f"{held}/ours", "plain": f"{held}/plain"}


def test_what_is_listed_can_be_looked_at(held: str) -> None:
    plain = dict(locks_beside(spec_of(f"{held}/free"), None))["plain"]

    with closing(plain.open()) as store:
        found = store.read()

    assert found is not None and found.info is not None


@pytest.mark.parametrize("password", ["a-jobs-own", ""])
def test_a_jobs_own_token_lists_nothing_and_it_is_said_which_does(base: str, password: str) -> None:
    access = HttpAccess(username="gitlab-ci-token", password=password)

    with pytest.raises(StoreDenied, match="CI_JOB_TOKEN"):
        names(spec_of(f"{base}/app", access))


def test_another_server_lists_nothing() -> None:
    spec = HttpSpec(address="https://h/s", lock_address="https://h/s", unlock_address="https://h/s")

    with pytest.raises(ConfigError, match="does not list"):
        names(spec)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", StoreDenied),
        (403, b"", StoreDenied),
        (500, b"", StoreUnavailable),
        (200, b"<html>", StoreUnavailable),
        (200, b'{"errors":[{"message":"no"}]}', StoreUnavailable),
        (200, b'{"data":{"projects":{"nodes":[{"terraformStates":{"nodes":[{}]}}]}}}', StoreUnavailable),
        (200, b'{"data":{"projects":null}}', StoreDenied),
        (200, b'{"data":{"projects":[1]}}', StoreUnavailable),
        (200, b'{"data":{"projects":{"nodes":[{"terraformStates":{"nodes":[1],"pageInfo":1}}]}}}', StoreUnavailable),
    ],
)
def test_what_an_answer_becomes(
    monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, kind: type[Exception]
) -> None:
    monkeypatch.setattr("tfguard.backends.net.transport.Transport.send", lambda *_: Response(status, {}, body))

    with pytest.raises(kind):
        names(spec_of("https://h/api/v4/projects/7/terraform/state/app"))
