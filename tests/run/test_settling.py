"""What settle says of a run whose lock is no state's: nothing of a state, and how that very lock is named."""

from __future__ import annotations

import pytest

from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec
from tfguard.backends.target import Target
from tfguard.clock import SystemClock
from tfguard.jobfiles.run_record import RunRecord
from tfguard.report.messages import operating
from tfguard.run.settling import _subject

TABLE = DynamoDBSpec(table="locks", lock_id="deploy it", aws=AwsAccess())


def record(backend: str) -> RunRecord:
    target = Target(label="deploy", path="deploy it", backend=backend, workspace="", stores=(TABLE,))
    return RunRecord(label="deploy", again="tfguard", target=target)


@pytest.mark.parametrize(
    ("backend", "missing", "unlock"),
    [
        (
            "named",
            "What that run was doing may be half done.",
            "tfguard unlock --name 'deploy it' --store … --id 1 --force",
        ),
        ("s3", "The state may miss what that run did: tfguard plan", "tfguard unlock --id 1 --force"),
    ],
)
def test_a_lock_of_the_users_own_name_is_named_so(backend: str, missing: str, unlock: str) -> None:
    subject = _subject(record(backend))

    released = operating.settled_by_release(subject, is_changing=True)
    still = operating.not_settled(subject, None, "1", SystemClock().now(), why="it is held still")

    assert released.splitlines()[1] == missing
    assert unlock in still
