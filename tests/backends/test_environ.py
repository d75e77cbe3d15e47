"""A pipeline's environment in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from unittest import mock

import pytest

from tfguard.backends.environ import extend_environment, extended_environment, replace_environment


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Begin with one variable of a cloud, and leave nothing behind."""
    with mock.patch.dict(os.environ, {"ACME_PROFILE": "mine"}):
        yield


def of_the_cloud() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("ACME_")}


def test_what_is_added_counts_more_and_leaves_the_rest() -> None:
    extend_environment({"ACME_REGION": "eu-west-1"})
    extend_environment({"ACME_REGION": "eu-north-1"})

    assert of_the_cloud() == {"ACME_PROFILE": "mine", "ACME_REGION": "eu-north-1"}


def test_what_replaces_leaves_nothing_of_before() -> None:
    replace_environment({"ACME_REGION": "eu-west-1"})

    assert dict(os.environ) == {"ACME_REGION": "eu-west-1"}


def test_what_is_added_for_a_while_is_gone_after_it() -> None:
    with extended_environment({"ACME_PROFILE": "theirs", "ACME_REGION": "eu-west-1"}):
        inside = of_the_cloud()

    assert inside == {"ACME_PROFILE": "theirs", "ACME_REGION": "eu-west-1"}
    assert of_the_cloud() == {"ACME_PROFILE": "mine"}


@pytest.mark.parametrize("put", [extend_environment, replace_environment])
def test_a_variable_without_a_name_is_left_out(put: Callable[[Mapping[str, str]], None]) -> None:
    put({"": "C:=x", "ACME_REGION": "eu-west-1"})

    assert "" not in os.environ
    assert os.environ["ACME_REGION"] == "eu-west-1"
