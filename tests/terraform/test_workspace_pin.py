"""A pinned workspace is for one Terraform, not for the tfguards that it starts."""

from __future__ import annotations

import pytest

from tfguard.terraform.workspace_pin import PINNED, pin, unpin


def test_a_pin_is_undone_as_a_whole() -> None:
    environ = pin({"HOME": "/"}, "dev")
    assert environ["TF_WORKSPACE"] == "dev"

    unpin(environ)

    assert environ == {"HOME": "/"}


@pytest.mark.parametrize("changed", ["prod", ""])
def test_what_a_script_has_set_since_stays(changed: str) -> None:
    environ = {**pin({}, "dev"), "TF_WORKSPACE": changed}

    unpin(environ)

    assert environ == {"TF_WORKSPACE": changed}


def test_the_users_own_variable_is_no_pin() -> None:
    environ = pin({"TF_WORKSPACE": "dev"}, "dev")

    unpin(environ)

    assert environ == {"TF_WORKSPACE": "dev"}
    assert PINNED not in environ
