"""The backends that are measured, a row each: what Terraform's block says, and where the store of its lock is."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.stage import KEYS, REGION, Bench
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec, S3Spec
from tfguard.backends.consul.spec import ConsulAccess, ConsulSpec
from tfguard.backends.gcs.spec import GcsAccess, GcsSpec
from tfguard.backends.target import StoreSpec

_AWS = AwsAccess(region=REGION, access_key=KEYS["AWS_ACCESS_KEY_ID"], secret_key=KEYS["AWS_SECRET_ACCESS_KEY"])


@dataclass(frozen=True)
class Measured:
    """
    One backend: `block` gives the backend block of a state that is new, `spec` a lock that is new.

    `handoff_seconds` is what the median of its hand-overs must keep; None where the service itself sets the pace.
    """

    block: Callable[[Bench], str]
    spec: Callable[[Bench], StoreSpec]
    handoff_seconds: float | None = 0.25


def _new() -> str:
    return f"lock-{uuid.uuid4().hex[:8]}"


def _dynamodb(bench: Bench) -> StoreSpec:
    return DynamoDBSpec(table=bench.table(), lock_id="b/k", aws=_AWS, endpoint=bench.dynamodb_endpoint)


def _s3(bench: Bench) -> StoreSpec:
    return S3Spec(bucket=bench.bucket(), key="k.tflock", aws=_AWS, endpoint=bench.s3_endpoint, use_path_style=True)


def _consul(bench: Bench) -> StoreSpec:
    return ConsulSpec(path=_new(), consul=ConsulAccess(address=bench.consul_endpoint.removeprefix("http://")))


def _consul_block(bench: Bench) -> str:
    return bench.block("consul", address=bench.consul_endpoint.removeprefix("http://"), path=_new())


def _gcs(bench: Bench) -> StoreSpec:
    access = GcsAccess(access_token="bench", endpoint=bench.gcs_endpoint)
    return GcsSpec(bucket=bench.gcs_bucket(), key="default.tflock", gcs=access)


def _gcs_block(bench: Bench) -> str:
    endpoint = {"access_token": "bench", "storage_custom_endpoint": bench.gcs_endpoint}
    return bench.block("gcs", bucket=bench.gcs_bucket(), prefix="app", **endpoint)


BACKENDS: Mapping[str, Measured] = {
    "dynamodb": Measured(lambda bench: bench.s3_block(bench.bucket(), bench.table()), _dynamodb),
    "s3": Measured(lambda bench: bench.s3_block(bench.bucket()), _s3),
    "consul": Measured(_consul_block, _consul, 0.15),  # Who is next in line there is woken.
    "gcs": Measured(_gcs_block, _gcs, None),  # Google takes one write a second for each object.
}
