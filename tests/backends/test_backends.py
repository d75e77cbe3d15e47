"""The table of backends: each is imported when it is needed, and says what is missing where it cannot be used."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tfguard import backends
from tfguard.backends import BACKENDS, Backend, load, locate
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec, S3Spec
from tfguard.backends.consul.spec import ConsulAccess, ConsulSpec
from tfguard.backends.gcs.spec import GcsAccess, GcsSpec
from tfguard.backends.kubernetes.spec import KubernetesAccess, KubernetesSpec
from tfguard.backends.local.spec import LocalSpec
from tfguard.backends.pg.spec import PgAccess, PgSpec
from tfguard.backends.target import PlannedBackend, StoreSpec, Target, Unlockable
from tfguard.backends.urls import fetch_command, parse_store_url
from tfguard.errors import ConfigError

SPECS = (
    LocalSpec(path="/state"),
    DynamoDBSpec(table="t", lock_id="l", aws=AwsAccess()),
    S3Spec(bucket="b", key="k", aws=AwsAccess()),
    GcsSpec(bucket="b", key="k", gcs=GcsAccess()),
    PgSpec(name="default", schema="s", pg=PgAccess(host="localhost")),
    ConsulSpec(path="p", consul=ConsulAccess(address="localhost")),
    KubernetesSpec(namespace="n", name="lock-x", kubernetes=KubernetesAccess(host="https://localhost")),
)
Fake = Callable[..., None]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a row `gcs` into the table, whose module is made of these names."""

    def put(**names: object) -> None:
        monkeypatch.setitem(BACKENDS, "gcs", "tests.backends.gcs")
        if names:
            monkeypatch.setitem(sys.modules, "tests.backends.gcs", SimpleNamespace(**names))  # type: ignore[arg-type]

    return put


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("s3", {"bucket": "b", "key": "k", "region": "eu-west-1", "use_lockfile": True}),
        ("local", {}),
        ("gcs", {"bucket": "b"}),
        ("consul", {"path": "p"}),
        ("kubernetes", {"secret_suffix": "x", "config_path": "c"}),
        ("pg", {"conn_str": "postgres://db/ops"}),
        ("azurerm", {"storage_account_name": "a", "container_name": "c", "key": "k", "access_key": "a2V5"}),
    ],
)
def test_every_lock_has_a_path_of_its_own_for_people_and_records(kind: str, config: dict[str, object]) -> None:
    """By which a log names it, and by which `settle` knows whether a directory is still the run's."""
    found = [
        locate(PlannedBackend(kind, config, name), Path("/work"), name, {}, source="it") for name in ("default", "blue")
    ]

    paths = {each.path for each in found if isinstance(each, Target)}
    assert len(paths) == 2 and "" not in paths


@pytest.mark.parametrize("kind", BACKENDS)
def test_every_backend_has_all_that_is_asked_of_one(kind: str) -> None:
    backend = load(kind)

    assert isinstance(backend, Backend)
    shapes = {name: len(inspect.signature(getattr(backend, name)).parameters) for name in ("locate", "from_url")}
    assert shapes == {"locate": 4, "from_url": 3}
    assert len(inspect.signature(backend.locks_beside).parameters) == 2
    assert backend.fetch
    assert all(form.startswith(f"{scheme}://") for scheme, form in backend.urls.items())


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_every_spec_names_a_backend_of_the_table(spec: StoreSpec) -> None:
    target = Target(label="x", path="x", backend="named", workspace="", stores=(spec,))

    assert spec.backend in BACKENDS
    assert backends.backend_of(target) is load(spec.backend)


def test_a_backend_whose_packages_are_not_installed_names_its_extra(fake: Fake, tmp_path: Path) -> None:
    fake(requires=("no_such_package_of_a_cloud",))

    with pytest.raises(ConfigError) as missing:
        locate(PlannedBackend("gcs", {}, "default"), tmp_path, "default", {}, source="the cache")

    assert str(missing.value).splitlines() == [
        "tfguard was installed without what the gcs backend needs.",
        "Install it: pip install 'tfguard[gcs]'",
    ]


@pytest.mark.parametrize(
    ("job", "way"),
    [
        ("GITHUB_ACTIONS", "Give the action `extras: gcs`, or install it into the image: pip install 'tfguard[gcs]'"),
        ("GITLAB_CI", "Pin tfguard[gcs] instead of tfguard in tfguard.lock, or install it into the image: pip install"),
        ("BUILDKITE", "Install it: pip install 'tfguard[gcs]'"),
    ],
)
def test_in_a_job_of_ours_the_way_to_an_extra_is_the_jobs(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, job: str, way: str
) -> None:
    fake(requires=("no_such_package_of_a_cloud",))
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(job, "true")

    monkeypatch.setenv("TFGUARD_CI_LOG", "1")
    with pytest.raises(ConfigError) as in_ours:
        load("gcs")
    monkeypatch.delenv("TFGUARD_CI_LOG")
    with pytest.raises(ConfigError) as in_another:
        load("gcs")

    assert str(in_ours.value).splitlines()[1].startswith(way)
    assert str(in_another.value).splitlines()[1] == "Install it: pip install 'tfguard[gcs]'"


def test_a_backend_that_cannot_be_imported_for_that_names_its_extra_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "fake_backend_of_a_cloud.py").write_text("import no_such_package_of_a_cloud")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(BACKENDS, "gcs", "fake_backend_of_a_cloud")

    with pytest.raises(ConfigError, match=r"tfguard\[gcs\]"):
        load("gcs")


def test_a_module_of_ours_that_is_missing_is_a_defect_and_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "swift", "tfguard.backends.swift.backend")

    with pytest.raises(ModuleNotFoundError):
        load("swift")


def test_a_new_row_is_all_that_a_backend_and_its_urls_need(fake: Fake, tmp_path: Path) -> None:
    target = Target(label="b/x", path="b/x", backend="gcs", workspace="default", stores=(SPECS[0],))
    seen: list[object] = []
    fake(
        requires=(),
        urls={"gcs": "gcs://"},
        fetch="gcloud storage cp",
        locate=lambda attributes, *_: seen.append(attributes.text("bucket")) or target,
        from_url=lambda url, name, _: LocalSpec(path=f"/{url.parts.netloc}/{name}"),
    )

    assert locate(PlannedBackend("gcs", {"bucket": "b"}, "default"), tmp_path, "default", {}, source="x") is target
    assert seen == ["b"]
    assert parse_store_url("gcs://bucket", "prod", {}) == LocalSpec(path="/bucket/prod")
    assert fetch_command("gcs://bucket/x") == "gcloud storage cp"
    with pytest.raises(ConfigError, match="gcs://"):
        parse_store_url("redis://host", "prod", {})


def test_a_url_of_a_backend_without_its_packages_names_the_extra_and_others_do_not_mind(fake: Fake) -> None:
    fake(requires=("no_such_package_of_a_cloud",))

    with pytest.raises(ConfigError, match=r"tfguard\[gcs\]"):
        parse_store_url("gcs://bucket", "prod", {})
    with pytest.raises(ConfigError, match=r"Expected dynamodb://"):
        parse_store_url("redis://host", "prod", {})
    assert fetch_command("gcs://bucket/x") == "cp"


@pytest.mark.parametrize(
    ("place", "command"),
    [("s3://b/k.errored.1", "aws s3 cp"), ("/srv/state.errored.1", "cp"), ("what is this", "cp"), ("http://[", "cp")],
)
def test_a_copy_is_fetched_by_its_backends_command(place: str, command: str) -> None:
    assert fetch_command(place) == command


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("swift", "it has no store for it"),
        ("oss", "it has no store for it"),
    ],
)
def test_what_has_no_row_says_why_it_cannot_be_locked(kind: str, why: str, tmp_path: Path) -> None:
    found = locate(PlannedBackend(kind, {}, "default"), tmp_path, "default", {}, source="the cache")

    assert isinstance(found, Unlockable)
    assert found.needs_lock
    assert f"the {kind} backend: {why}." in found.reason


def test_nothing_lies_beside_a_local_lock() -> None:
    with pytest.raises(ConfigError, match="this state is a local file"):
        load("local").locks_beside(SPECS[0], None)
