"""The lock that Terraform takes by itself: how a refusal is known, and how it is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from tfguard.errors import LockBusy
from tfguard.report.reporter import Reporter
from tfguard.run import implicit_lock

_INFO = "\x1b[31m│\x1b[0m \x1b[0mLock Info:\n\x1b[31m│\x1b[0m \x1b[0m  ID:        1f4c"
_FRAMED = "\x1b[31m│\x1b[0m \x1b[0m\x1b[1m\x1b[31mError: \x1b[0m\x1b[0m\x1b[1m"
#: As Terraform 1.11 says it: of `init`, of `output`, of `plan`, and of `plan -json`.
REFUSED = [
    f'{_FRAMED}Error loading state: writing "gs://b/app/blue.tflock" failed: googleapi: Error 412: At\n{_INFO}',
    f"{_FRAMED}Failed to load state: the state is already locked by another terraform client\n{_INFO}",
    f"{_FRAMED}Failed to load state: failed to lock state in Consul: {_INFO}",
    f'{_FRAMED}error loading state: failed to lock azure state: \nblob metadata "terraformlockid" was empty',
    "Error: error loading state: failed to lock s3 state: operation error DynamoDB: PutItem\nLock Info:\n  ID: 1f4c",
    '{"@message":"Error: error loading state: failed to lock azure state: it is locked\\nLock Info:\\n  ID: 1f4c"}',
    # Of one that was just taken or freed.
    'Error loading state: failed to lock azure state: it is already locked\nblob metadata "terraformlockid" was empty',
    "Error: Error loading state: failed to lock s3 state: api error PreconditionFailed: At least one\nNoSuchKey",
    "Error: Error loading state: googleapi: Error 412: conditionNotMet\nstorage: object doesn't exist",
    'Error: Error loading state: leases.coordination.k8s.io "lock-tfstate-default-prod" already exists',
    # Of a wrapped line, and of a lock that was just being taken.
    f"{_FRAMED}Error loading state: failed to lock state in Postgres: Lock\n\x1b[31m│\x1b[0m \x1b[0mInfo:\n",
    f"{_FRAMED}Error loading state: failed to lock state in Consul: \x1b[0m\n\x1b[31m│\x1b[0m \x1b[0m\n╵\x1b[0m\n",
]
NOT = [
    "",
    "Error: error loading state: failed to lock s3 state: AccessDeniedException: not authorized to perform",
    "Error: error loading state: failed to lock state in Consul: Unexpected response code: 403 (Permission denied)",
    "Error: Error acquiring the state lock\nLock Info:\n  ID: 1f4c",
    "Error: error loading state: no such host",
]


@pytest.mark.parametrize("words", REFUSED)
def test_a_refusal_is_known_on_each_backend(words: str) -> None:
    assert implicit_lock.is_refused(words)


@pytest.mark.parametrize("words", NOT)
def test_what_no_wait_would_cure_is_none(words: str) -> None:
    assert not implicit_lock.is_refused(words)


class Front:
    """Whose pauses take no time."""

    def wait(self, is_over: Any) -> None:
        pass


def test_it_is_asked_until_it_is_not_refused() -> None:
    answers = [True, True, False]

    implicit_lock.wait(Front(), Reporter("console", -1), "app", 60, lambda: answers.pop(0), bool)  # type: ignore[arg-type]

    assert answers == []


def test_who_may_not_wait_is_told_so() -> None:
    with pytest.raises(LockBusy, match="did not wait"):
        implicit_lock.wait(Front(), Reporter("console", -1), "app", 0, lambda: True, bool)  # type: ignore[arg-type]
