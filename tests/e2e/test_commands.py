"""What every user does first: Terraform's commands under its own lock, on every backend."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import BACKENDS, Backend, Stage

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("backend", BACKENDS)
def test_apply_writes_the_state_and_leaves_no_lock(stage: Callable[..., Stage], backend: Backend) -> None:
    made = stage(backend)

    result = made.tfguard("apply", "-auto-approve")

    assert result.code == 0, str(result)
    assert "Apply complete! Resources: 1 added" in result.out
    assert made.resources() == ["terraform_data.work"]
    assert made.locks() == []
    assert "outcome=succeeded" in result.err
