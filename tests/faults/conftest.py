from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.kinds import ConsulKind, DynamoDBKind, S3Kind
from tests.e2e.conftest import stage  # noqa: F401 - a fixture
from tests.faults.proxy import fault_proxy
from tests.faults.scene import Scene

_STORES = ("dynamodb", "s3")
_EVERY_STORE = (*_STORES, "consul")
_KINDS = {"dynamodb": DynamoDBKind, "s3": S3Kind, "consul": ConsulKind}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.emulator) for name in _EVERY_STORE])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """A lock in each kind of store that a network lies before."""
    with _opened(request, request.param, tmp_path) as made:
        yield made


@pytest.fixture
def scenes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Scene]]:
    """The same for AWS's two at once: see `on_both_stores`."""
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(_opened(request, name, tmp_path / name)) for name in _STORES]


@pytest.fixture
def every_scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Scene]]:
    """The same for all at once: see `on_every_store`."""
    with contextlib.ExitStack() as opened:
        yield [opened.enter_context(_opened(request, name, tmp_path / name)) for name in _EVERY_STORE]


@contextlib.contextmanager
def _opened(request: pytest.FixtureRequest, name: str, folder: Path) -> Iterator[Scene]:
    folder.mkdir(exist_ok=True)
    server = request.getfixturevalue(name)
    kind = _KINDS[name](server)
    with fault_proxy(server.endpoint) as proxy:
        made = Scene(kind, proxy, folder)
        try:
            yield made
        finally:
            made.close()
            kind.close()
