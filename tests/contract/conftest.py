from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Azure
from tests.contract.kinds import (
    AzureKind,
    ConsulKind,
    DynamoDBKind,
    GcsKind,
    GitLabKind,
    Kind,
    KubernetesKind,
    LocalKind,
    MemoryKind,
    NetworkKind,
    PgKind,
    S3Kind,
)
from tests.support.eventually import patience
from tfguard.backends.local import store as local_store
from tfguard.backends.net import times

_EMULATED = [
    pytest.param(name, marks=pytest.mark.emulator)
    for name in (
        "dynamodb",
        "s3",
        "s3-versioned",
        "consul",
        "gcs",
        "gitlab",
        "kubernetes",
        "azure",
        "azure-guarding",
        "pg",
    )
]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all is busy the last of fifty requests is answered late; when one is given up is no part of this."""
    monkeypatch.setattr(times, "BEAT", times.Times(*map(patience, times.BEAT)))
    monkeypatch.setattr(local_store, "_QUEUE_SECONDS", patience(local_store._QUEUE_SECONDS))


@pytest.fixture(params=["memory", "local", *_EMULATED])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kind]:
    """One lock in each kind of store."""
    made = _make(request, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=_EMULATED)
def network_kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NetworkKind]:
    """One lock in each kind of store that a network lies before."""
    made = _make(request, tmp_path)
    assert isinstance(made, NetworkKind)
    yield made
    made.close()


def _make(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    if request.param == "memory":
        return MemoryKind()
    if request.param == "local":
        return LocalKind(tmp_path)
    if request.param == "dynamodb":
        return DynamoDBKind(request.getfixturevalue("dynamodb"))
    if request.param == "consul":
        return ConsulKind(request.getfixturevalue("consul"))
    if request.param.startswith("azure"):
        server: Azure = request.getfixturevalue("azure")
        for name, value in server.environ.items():
            request.getfixturevalue("monkeypatch").setenv(name, value)
        return AzureKind(server, is_guarding=request.param == "azure-guarding")
    if request.param == "gcs":
        return GcsKind(request.getfixturevalue("gcs"))
    if request.param == "gitlab":
        return GitLabKind(request.getfixturevalue("states"))
    if request.param == "kubernetes":
        return KubernetesKind(request.getfixturevalue("kubernetes"))
    if request.param == "pg":
        return PgKind(request.getfixturevalue("postgres"), is_terraforms=True)
    return S3Kind(request.getfixturevalue("s3"), versioned=request.param == "s3-versioned")
