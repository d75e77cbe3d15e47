"""tfguard asks as the same one, and at the same place, as the real Terraform did: `whom` has the rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends.aws.whom import ROWS, Row, alike, recorded, staged
from tests.support.fake_aws import FakeAws, fake_aws

TERRAFORM = recorded()


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAws]:
    with fake_aws(tmp_path_factory.mktemp("aws")) as server:
        yield server


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_as_whom_and_where_are_terraforms(aws: FakeAws, row: Row) -> None:
    with staged(aws, row) as stage:
        found = stage.ask_tfguard()

    assert alike(found, TERRAFORM[row.name]), f"{found}\nTerraform: {TERRAFORM[row.name]}"
    # What cannot be resolved is said in two lines, each fit for a terminal, without a secret.
    lines = found.error.splitlines()
    assert len(lines) == (2 if found.error else 0) and all(len(line) <= 120 for line in lines), found.error
    assert not [secret for secret in ("sAK", "a.jwt", "secret-") if secret in found.error]


def test_every_row_has_terraforms_answer_and_a_name_of_its_own() -> None:
    names = [row.name for row in ROWS]

    assert sorted(names) == sorted(TERRAFORM)
    assert len(set(names)) == len(names)
