"""What an error of a store's becomes on its way to the front."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.fakes import anothers
from tfguard import errors
from tfguard.lock import protocol, refusals

RIVAL = anothers()
DENIED = {"action": "dynamodb:PutItem", "resource": "table locks"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.StoreUnavailable("no answer"), refusals.StoreUnavailable(message="no answer", is_throttled=False)),
        (
            errors.StoreUnavailable("slow down", is_throttled=True),
            refusals.StoreUnavailable(message="slow down", is_throttled=True),
        ),
        (
            errors.StoreDenied("no", **DENIED, is_expired=True),
            refusals.StoreDenied(message="no", **DENIED, is_expired=True),
        ),
        (errors.ActionDenied("no", **DENIED), refusals.ActionDenied(message="no", **DENIED)),
        (errors.StoreMisconfigured("no table"), refusals.StoreMisconfigured(message="no table")),
        (
            errors.LeaseLost("another's", kind="another's", record=RIVAL),
            refusals.LeaseLost(message="another's", kind="another's", record=RIVAL),
        ),
        (errors.TfguardError("a defect"), refusals.Unexpected(message="a defect")),
    ],
)
def test_an_error_crosses_the_socket_with_all_that_it_knows(error, expected):
    failed = protocol.Failed(why=refusals.of(error), waited_seconds=1.0)

    assert failed.why == expected
    assert msgspec.json.decode(msgspec.json.encode(failed), type=protocol.Failed) == failed
