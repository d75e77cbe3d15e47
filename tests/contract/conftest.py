from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.kinds import AwsKind, DynamoDBKind, Kind, LocalKind, MemoryKind, S3Kind
from tests.support.eventually import patience
from tfguard.backends.aws import sessions
from tfguard.backends.local import store as local_store

_EMULATED = [pytest.param(name, marks=pytest.mark.emulator) for name in ("dynamodb", "s3", "s3-versioned")]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all is busy the last of fifty requests is answered late; when one is given up is no part of this."""
    for name in ("CONNECT_SECONDS", "READ_SECONDS"):
        monkeypatch.setattr(sessions, name, patience(getattr(sessions, name)))
    monkeypatch.setattr(local_store, "_QUEUE_SECONDS", patience(local_store._QUEUE_SECONDS))


@pytest.fixture(params=["memory", "local", *_EMULATED])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kind]:
    """One lock in each kind of store."""
    made = _make(request, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=_EMULATED)
def aws_kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AwsKind]:
    """One lock in each kind of store that a network lies before."""
    made = _make(request, tmp_path)
    assert isinstance(made, AwsKind)
    yield made
    made.close()


def _make(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    if request.param == "memory":
        return MemoryKind()
    if request.param == "local":
        return LocalKind(tmp_path)
    if request.param == "dynamodb":
        return DynamoDBKind(request.getfixturevalue("dynamodb"))
    return S3Kind(request.getfixturevalue("s3"), versioned=request.param == "s3-versioned")
