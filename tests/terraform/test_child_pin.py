"""What is pinned is for one Terraform, not for the tfguards that it starts."""

from __future__ import annotations

import pytest

from tfguard.terraform.child_pin import pin, unpin


def test_a_pin_is_undone_as_a_whole() -> None:
    environ = pin(pin({"HOME": "/"}, "TF_WORKSPACE", "dev"), "TF_DATA_DIR", ".terraform/ours")
    assert (environ["TF_WORKSPACE"], environ["TF_DATA_DIR"]) == ("dev", ".terraform/ours")

    unpin(environ)

    assert environ == {"HOME": "/"}


def test_what_was_there_before_is_there_again() -> None:
    environ = pin({"TF_DATA_DIR": "theirs"}, "TF_DATA_DIR", "ours")

    unpin(environ)

    assert environ == {"TF_DATA_DIR": "theirs"}


@pytest.mark.parametrize("changed", ["prod", ""])
def test_what_a_script_has_set_since_stays(changed: str) -> None:
    environ = {**pin({}, "TF_WORKSPACE", "dev"), "TF_WORKSPACE": changed}

    unpin(environ)

    assert environ == {"TF_WORKSPACE": changed}


def test_the_users_own_variable_is_no_pin() -> None:
    environ = pin({"TF_WORKSPACE": "dev"}, "TF_WORKSPACE", "dev")
    assert environ == {"TF_WORKSPACE": "dev"}

    unpin(environ)

    assert environ == {"TF_WORKSPACE": "dev"}
