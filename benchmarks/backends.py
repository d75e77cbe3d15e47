"""The backends that are measured, a row each: what Terraform's block says, and where the store of its lock is."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.stage import KEYS, REGION, Bench
from tests.support.gitlab import gitlab_lock
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec, S3Spec
from tfguard.backends.azurerm.spec import AzureAccess, AzureSpec
from tfguard.backends.consul.spec import ConsulAccess, ConsulSpec
from tfguard.backends.gcs.spec import GcsAccess, GcsSpec
from tfguard.backends.http.spec import GitLabGuardSpec
from tfguard.backends.kubernetes.spec import KubernetesAccess, KubernetesSpec
from tfguard.backends.pg.spec import PgAccess, PgSpec
from tfguard.backends.target import StoreSpec

_AWS = AwsAccess(region=REGION, access_key=KEYS["AWS_ACCESS_KEY_ID"], secret_key=KEYS["AWS_SECRET_ACCESS_KEY"])


@dataclass(frozen=True)
class Measured:
    """
    One backend: `block` gives the backend block of a state that is new, `specs` what holds a lock that is new together.

    `handoff_seconds` is what the median of its hand-overs must keep, None where that is DynamoDB's and a third.
    """

    block: Callable[[Bench], str]
    specs: Callable[[Bench], tuple[StoreSpec, ...]]
    handoff_seconds: float | None = None


def _new() -> str:
    return f"lock-{uuid.uuid4().hex[:8]}"


def _dynamodb(bench: Bench) -> tuple[StoreSpec, ...]:
    return (DynamoDBSpec(table=bench.table(), lock_id="b/k", aws=_AWS, endpoint=bench.dynamodb_endpoint),)


def _s3(bench: Bench) -> tuple[StoreSpec, ...]:
    endpoint = bench.s3_endpoint
    return (S3Spec(bucket=bench.bucket(), key="k.tflock", aws=_AWS, endpoint=endpoint, use_path_style=True),)


def _consul(bench: Bench) -> tuple[StoreSpec, ...]:
    access = ConsulAccess(address=bench.consul_endpoint.removeprefix("http://"))
    return (ConsulSpec(path=_new(), consul=access),)


def _consul_block(bench: Bench) -> str:
    return bench.block("consul", address=bench.consul_endpoint.removeprefix("http://"), path=_new())


def _gcs(bench: Bench) -> tuple[StoreSpec, ...]:
    access = GcsAccess(access_token="bench", endpoint=bench.gcs_endpoint)
    return (GcsSpec(bucket=bench.gcs_bucket(), key="default.tflock", gcs=access),)


def _gcs_block(bench: Bench) -> str:
    endpoint = {"access_token": "bench", "storage_custom_endpoint": bench.gcs_endpoint}
    return bench.block("gcs", bucket=bench.gcs_bucket(), prefix="app", **endpoint)


def _kubernetes(bench: Bench) -> tuple[StoreSpec, ...]:
    access = KubernetesAccess(host=bench.kubernetes.endpoint, token="bench")
    return (KubernetesSpec(namespace="tf", name=f"lock-tfstate-default-{_new()}", kubernetes=access),)


def _kubernetes_block(bench: Bench) -> str:
    config = str(bench.kubernetes.kubeconfig(bench.scratch / "kubeconfig"))
    return bench.block("kubernetes", namespace="tf", secret_suffix=_new(), config_path=config, token="bench")


def _pg(bench: Bench) -> tuple[StoreSpec, ...]:
    database = bench.postgres.database()
    bench.postgres.make_states(database, "tf", "default")
    host, _, port = bench.postgres.address.partition(":")
    access = PgAccess(host=host, port=port, user="postgres", database=database, sslmode="disable")
    return (PgSpec(name="default", schema="tf", pg=access),)


def _pg_block(bench: Bench) -> str:
    address = f"{bench.postgres.address}/{bench.postgres.database()}"
    return bench.block("pg", conn_str=f"postgres://postgres@{address}?sslmode=disable", schema_name="tf")


def _azurerm(bench: Bench) -> tuple[StoreSpec, ...]:
    access = AzureAccess(account=bench.azure.account, access_key=bench.azure.key)
    return (AzureSpec(container=bench.azure.container(), key=".tfguard/app.lock", state_key="app", azure=access),)


def _azurerm_block(bench: Bench) -> str:
    account = {"storage_account_name": bench.azure.account, "access_key": bench.azure.key}
    return bench.block("azurerm", container_name=bench.azure.container(), key="app", **account)


def _gitlab(bench: Bench) -> tuple[StoreSpec, ...]:
    address = bench.states.gitlab()
    return (GitLabGuardSpec(address=address), gitlab_lock(address))


def _gitlab_block(bench: Bench) -> str:
    address = bench.states.gitlab()
    methods = {"lock_method": "POST", "unlock_method": "DELETE"}
    return bench.block(
        "http", address=address, lock_address=f"{address}/lock", unlock_address=f"{address}/lock", **methods
    )


BACKENDS: Mapping[str, Measured] = {
    "dynamodb": Measured(lambda bench: bench.s3_block(bench.bucket(), bench.table()), _dynamodb, 0.25),
    "s3": Measured(lambda bench: bench.s3_block(bench.bucket()), _s3, 0.25),
    "consul": Measured(_consul_block, _consul, 0.15),  # Who is next in line there is woken.
    "kubernetes": Measured(_kubernetes_block, _kubernetes, 0.15),  # There, too.
    "gcs": Measured(_gcs_block, _gcs),
    "pg": Measured(_pg_block, _pg),
    "azurerm": Measured(_azurerm_block, _azurerm),
    "http": Measured(_gitlab_block, _gitlab),  # GitLab's.
}
