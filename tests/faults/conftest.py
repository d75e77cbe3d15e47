from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.kinds import DynamoDBKind, S3Kind
from tests.e2e.conftest import stage  # noqa: F401 - a fixture
from tests.faults.proxy import fault_proxy
from tests.faults.scene import Scene


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.emulator) for name in ("dynamodb", "s3")])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """A lock in each kind of store that a network lies before."""
    server = request.getfixturevalue(request.param)
    kind = DynamoDBKind(server) if request.param == "dynamodb" else S3Kind(server)
    with fault_proxy(server.endpoint) as proxy:
        made = Scene(kind, proxy, tmp_path)
        yield made
        made.close()
    kind.close()
