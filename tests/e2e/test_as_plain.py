"""
A wrapper changes nothing: tfguard beside a plain Terraform, byte for byte. See `as_plain`.

A fixed few here; `TFGUARD_AS_PLAIN=all` compares every combination.
"""

from __future__ import annotations

import os

import pytest

from tests.e2e.as_plain import COMMANDS, DESCRIPTORS, SURROUNDINGS, WHOLE, Ground, thinned

pytestmark = pytest.mark.e2e

CASES = WHOLE if os.environ.get("TFGUARD_AS_PLAIN") == "all" else thinned()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("as_plain"))


@pytest.mark.parametrize("case", CASES, ids=" | ".join)
def test_it_shows_what_a_plain_terraform_shows(ground: Ground, case: tuple[str, str, str]) -> None:
    assert ground.differences(case) == []


def test_the_few_have_every_value_under_the_lock_and_without() -> None:
    few = [(COMMANDS[command].is_locked, *rest) for command, *rest in thinned()]

    for is_locked in (True, False):
        assert {case[1] for case in few if case[0] == is_locked} == set(DESCRIPTORS)
        assert {case[2] for case in few if case[0] == is_locked} == set(SURROUNDINGS)
    assert len(WHOLE) >= 150
