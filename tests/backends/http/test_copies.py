"""Copies on GitLab of what Terraform could not save, and where they are kept if the state has no such place itself."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from tests.conftest import States
from tests.support.gitlab_server import ACCESS_TOKEN
from tfguard.backends import state
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec, S3Spec
from tfguard.backends.azurerm.spec import AzureAccess, AzureSpec
from tfguard.backends.gcs.spec import GcsAccess, GcsSpec
from tfguard.backends.hcp.spec import HcpAccess, HcpSpec
from tfguard.backends.http.spec import GitLabCopies, GitLabGuardSpec, HttpAccess, HttpSpec
from tfguard.backends.target import StoreSpec, Target
from tfguard.errors import StoreDenied, StoreUnavailable

_PERSON = HttpAccess(username="ana", password=ACCESS_TOKEN)
_HTTP = HttpSpec(address="https://h/s", lock_address="https://h/s", unlock_address="https://h/s")
_HCP = HcpSpec(organization="acme", workspace="app", hcp=HcpAccess(host="h"))


def target_of(*stores: StoreSpec) -> Target:
    return Target(label="app", path="p", backend="http", workspace="", stores=stores)


@pytest.mark.emulator
def test_a_copy_is_a_state_beside_the_state(states: States, tmp_path: Path) -> None:
    project = f"{states.endpoint}/api/v4/projects/{uuid.uuid4().int}/terraform/state"
    copies, unsaved = GitLabCopies(address=f"{project}/app", http=_PERSON), tmp_path / "errored.tfstate"
    unsaved.write_text(json.dumps({"version": 4, "serial": 7, "lineage": "l", "resources": []}))
    before = copies.find_copies()

    place = copies.keep_copy(str(unsaved), "id-1")
    again = copies.keep_copy(str(unsaved), "id-1")

    assert before == []
    assert place == again == f"{project}/app-tfguard-errored-id-1"
    assert copies.find_copies() == [place]
    assert states.ask("GET", place) == (200, unsaved.read_bytes())
    assert (copies.has_copy(place), copies.has_copy(f"{place}0")) == (True, False)
    assert copies.has_copy("/elsewhere/errored.tfstate"), "nobody can tell"


@pytest.mark.emulator
def test_a_jobs_own_token_keeps_a_copy_and_sees_it_but_lists_none(states: States, tmp_path: Path) -> None:
    job = HttpAccess(username="gitlab-ci-token", password="job")
    copies, unsaved = GitLabCopies(address=states.gitlab(), http=job), tmp_path / "errored.tfstate"
    unsaved.write_text('{"version":4,"serial":7}')

    place = copies.keep_copy(str(unsaved), "id-1")

    assert copies.has_copy(place)
    with pytest.raises(StoreDenied, match="CI_JOB_TOKEN"):
        copies.find_copies()


@pytest.mark.parametrize(
    ("stores", "place"),
    [
        ((GitLabGuardSpec(address="https://h/state/app"), _HTTP), "https://h/state/app"),
        ((GcsSpec(bucket="b", key="locks/app.tflock", gcs=GcsAccess()), _HTTP), "gs://b/locks/app"),
        ((S3Spec(bucket="b", key="locks/app.tflock", aws=AwsAccess(region="r")), _HCP), "s3://b/locks/app"),
        (
            (AzureSpec(container="c", key="locks/app.lock", azure=AzureAccess(account="acct")), _HCP),
            "azblob://acct/c/locks/app",
        ),
        ((DynamoDBSpec(table="t", lock_id="app", aws=AwsAccess(region="r")), _HCP), None),
        ((GcsSpec(bucket="b", key="app.tflock", gcs=GcsAccess()),), None),
    ],
    ids=["GitLab", "gs", "s3", "azblob", "a table has no room", "a named lock is no state's"],
)
def test_a_copy_is_kept_beside_the_guard_where_the_state_has_no_place_for_it(
    stores: tuple[StoreSpec, ...], place: str | None
) -> None:
    found = target_of(*stores).copies_place

    assert (found.place if found else None) == place


def test_where_there_is_no_room_it_is_said(tmp_path: Path) -> None:
    table = DynamoDBSpec(table="t", lock_id="app", aws=AwsAccess(region="r"))

    with pytest.raises(StoreUnavailable, match="no place for a copy"):
        state.keep_copy(target_of(table, _HCP), str(tmp_path / "errored.tfstate"), "id-1")
