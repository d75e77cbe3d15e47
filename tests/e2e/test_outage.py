"""
The server of Terraform's lock goes away: before a run, during one and back in time, during one and for good.

On the backends beyond AWS's, all at once: most of it is waiting. `test_frozen_store` has AWS's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.e2e.conftest import GATED, SHORT_LEASE, Backend, Stage
from tests.e2e.native import APPLY
from tests.e2e.running import running
from tests.support.proxy import Proxy, proxy

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

#: Each kind of backend, and where its stage has the server.
SERVERS: dict[Backend, str] = {"consul": "consul", "gcs": "gcs", "kubernetes": "kubernetes", "pg": "postgres"}
#: What is said first of an outage, where it is not that no heartbeat has landed: a connection that ends is a lock free.
FIRST_WORDS: dict[Backend, str] = {"pg": "the lock's connection has ended: Terraform is frozen"}


@pytest.fixture
def everywhere(stage: Callable[..., Stage]) -> Iterator[Callable[[Callable[[Stage, Proxy], None]], None]]:
    """Play on each kind of backend, in a directory that reaches its server through a proxy."""
    with contextlib.ExitStack() as opened:

        def play(scene: Callable[[Stage, Proxy], None]) -> None:
            stages = [_behind(stage, kind, opened) for kind in SERVERS]
            with ThreadPoolExecutor(len(stages)) as pool:
                played = [pool.submit(scene, made.init(), between) for made, between in stages]
            errors = {kind: each.exception() for kind, each in zip(SERVERS, played)}
            assert not any(errors.values()), "\n".join(f"{kind}: {error}" for kind, error in errors.items() if error)

        yield play


def _behind(stage: Callable[..., Stage], kind: Backend, opened: contextlib.ExitStack) -> tuple[Stage, Proxy]:
    made = stage(kind, text=GATED, is_initialised=False, name=kind)
    server = getattr(made, SERVERS[kind])
    between = opened.enter_context(proxy(server.endpoint))
    setattr(made, SERVERS[kind], replace(server, endpoint=server.endpoint.replace(*_ports(server.endpoint, between))))
    made.write(GATED)
    setattr(made, SERVERS[kind], server)  # What a test looks at, it sees without the proxy.
    return made, between


def _ports(server: str, between: Proxy) -> tuple[str, str]:
    return server.split("/")[2], between.endpoint.split("/")[2]


def test_a_server_that_is_not_there_is_said_in_two_lines_with_69(everywhere: Callable[..., None]) -> None:
    def scene(made: Stage, server: Proxy) -> None:
        server.turn("refuse")

        result = made.tfguard("--lock-timeout=0s", *APPLY)

        said = [line for line in result.err.splitlines() if line.strip() and "run.finished" not in line]
        assert result.code == 69, str(result)
        assert "No answer from" in said[0]
        assert len(said) <= 3, result.err
        assert made.log_lines() == []

    everywhere(scene)


def test_a_server_that_is_back_within_the_lease_costs_a_warning(everywhere: Callable[..., None]) -> None:
    def scene(made: Stage, server: Proxy) -> None:
        with running(made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE="30s")) as ours:
            ours.wait_for_work(made)
            server.turn("refuse")
            ours.wait_for(FIRST_WORDS.get(made.backend, "no heartbeat has landed"))
            server.turn("pass")
            made.open_gate()
            result = ours.end()

        assert result.code == 0, str(result)
        assert made.resources() == ["terraform_data.work"]
        assert made.leftovers() == []

    everywhere(scene)


def test_a_server_that_stays_away_ends_the_run_before_another_may_begin(everywhere: Callable[..., None]) -> None:
    """It is stopped, or frozen and killed: what it had created is in `errored.tfstate`, or said to be in no state."""

    def scene(made: Stage, server: Proxy) -> None:
        environ = {"TFGUARD_LOCK_LEASE": SHORT_LEASE, "TFGUARD_LOCK_FREEZE_TIMEOUT": "3s"}
        with running(made.start_tfguard(*APPLY, **environ)) as ours:
            ours.wait_for_work(made)
            server.turn("refuse")
            result = ours.end()

        is_kept = (made.path / "errored.tfstate").exists()
        assert result.code in {1, 76}, str(result)
        assert is_kept or "what it had created since may be in no state" in result.err, str(result)
        assert "the lock could not be released" in result.err
        assert "Terraform goes on" not in result.err, "nothing proves that it may"
        assert made.log_lines() == ["begin"]
        assert made.locks() != [], "another has to wait for the end of its lease"

    everywhere(scene)
