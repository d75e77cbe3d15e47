"""Which checks are made of a lock: its backend's, and those of a store of the user's where its lease lies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec, S3Spec
from tfguard.backends.gcs.spec import GcsAccess, GcsSpec
from tfguard.backends.hcp.spec import HcpAccess, HcpSpec
from tfguard.backends.http.spec import GitLabGuardSpec, HttpSpec
from tfguard.backends.spec import LockSpec
from tfguard.backends.target import Target
from tfguard.doctor.lock import checks_of

_GCS = GcsSpec(bucket="locks", key="app.tflock", gcs=GcsAccess())
_TABLE = DynamoDBSpec(table="locks", lock_id="app", aws=AwsAccess(region="eu-central-1"))
_OBJECT = S3Spec(bucket="states", key="app.tflock", aws=AwsAccess(region="eu-central-1"))
_HTTP = HttpSpec(address="https://h/s", lock_address="https://h/s", unlock_address="https://h/s")
_GITLAB = GitLabGuardSpec(address="https://h/s")
_HCP = HcpSpec(organization="acme", workspace="app", hcp=HcpAccess(host="h"))


@pytest.mark.parametrize(
    ("stores", "expected", "unexpected"),
    [
        ((_GCS, _HTTP), {"permissions", "lock IDs", "store", "store heartbeat", "store queue"}, set()),
        ((_TABLE, _HCP), {"token", "API", "workspace", "permissions", "store identity", "store", "store queue"}, set()),
        ((_GITLAB, _HTTP), {"permissions", "guard", "lock IDs"}, {"store"}),
        ((_OBJECT, _TABLE), {"permissions", "queue", "identity"}, {"store"}),
        ((_GCS,), {"permissions", "heartbeat", "queue"}, {"store"}),
    ],
    ids=["http and a store", "HCP and a store", "GitLab", "S3 and its table", "named"],
)
def test_a_lock_is_examined_wherever_its_records_are(
    stores: tuple[Any, ...], expected: set[str], unexpected: set[str]
) -> None:
    patient: Any = SimpleNamespace(target=_target(stores))

    names = list(checks_of(patient))

    assert expected <= {*names}
    assert not unexpected & {*names}
    assert names.index("lock") < names.index("permissions") < names.index("line")


def _target(stores: tuple[LockSpec, ...]) -> Target:
    made: Any = stores
    return Target(label="app", path="app", backend=stores[-1].backend, workspace="default", stores=made)
