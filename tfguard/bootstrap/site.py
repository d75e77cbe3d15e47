"""
The bucket and the table of a backend, as they are: looked at, judged, and built where they are missing.

What was begun is marked until it is finished, see `build`: so it can be interrupted anywhere, and visited again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tfguard.backends.aws.client import Client
from tfguard.backends.aws.facts import BucketFacts, TableFacts, bucket_client, read_bucket, read_table, table_client
from tfguard.backends.aws.tables import where_else
from tfguard.bootstrap.blueprint import Blueprint, check_bucket_name, check_table_name
from tfguard.bootstrap.build import build_bucket, build_table, speaks_tls
from tfguard.bootstrap.judge import inspect_bucket, inspect_table, planned_bucket, planned_table
from tfguard.errors import ActionDenied
from tfguard.findings import Finding

#: What was to be set, and a server that is not AWS's does not know.
_SPOKEN = {
    "update_continuous_backups": "point-in-time recovery",
    "put_bucket_encryption": "encryption",
    "put_public_access_block": "a public access block",
    "put_bucket_policy": "a policy",
    "put_bucket_versioning": "versioning",
    "put_bucket_lifecycle_configuration": "a lifecycle",
}


@dataclass(frozen=True)
class Site:
    """What is there: None for what is not. `elsewhere` is another region than the one asked, if it has such a table."""

    plan: Blueprint
    s3: Client
    dynamodb: Client | None
    is_over_tls: bool
    bucket: BucketFacts | None
    table: TableFacts | None
    elsewhere: str

    @property
    def region(self) -> str:
        """The region that is asked."""
        return self.s3.region

    @property
    def needs_bucket(self) -> bool:
        """Whether it is missing, or was begun and not finished."""
        return self.bucket is None or self.bucket.is_unfinished is True

    @property
    def needs_table(self) -> bool:
        """The same of the table."""
        return self.plan.table is not None and (self.table is None or self.table.is_unfinished is True)

    @property
    def is_complete(self) -> bool:
        """Whether all that the backend needs is there."""
        return not self.needs_bucket and not self.needs_table

    def findings(self) -> Iterator[Finding]:
        """Judge what is there, and name what would be created."""
        plan, is_over_tls = self.plan, self.is_over_tls
        if self.bucket is None or self.needs_bucket:
            is_begun = self.bucket is not None
            yield from planned_bucket(plan, self.region, is_begun=is_begun, is_over_tls=is_over_tls)
        else:
            yield from inspect_bucket(self.bucket, self.region, is_over_tls=is_over_tls)
        if plan.table is not None:
            if self.table is None or self.needs_table:
                yield from planned_table(plan.table.table, self.region, is_begun=self.table is not None)
            else:
                yield from inspect_table(self.table)
            if self.elsewhere:
                says = f"there is a table {plan.table.table} in {self.elsewhere}, and the backend says {self.region}"
                advice = "If that one is meant: correct `region` and `bucket` there."
                yield Finding("table region", "warning", says, advice)
        elif not plan.has_lock_object:
            advice = "Set use_lockfile = true in its backend block."
            yield Finding("lock", "warning", "the backend takes no lock", advice)

    def check_names(self) -> None:
        """Make sure that what is missing can be created under its name. Raises ConfigError."""
        if self.bucket is None:
            check_bucket_name(self.plan.state.bucket)
        if self.plan.table is not None and self.table is None:
            check_table_name(self.plan.table.table)

    def build(self, tell: Callable[[str, str, str], None]) -> None:
        """
        Create what is missing; `tell` hears of each: what it is, its name, and what it is without.

        The bucket first: its name may be taken, and then there is no use for a table.

        Raises: StoreDenied, StoreUnavailable, StoreMisconfigured.
        """
        if self.needs_bucket:
            unknown = build_bucket(self.s3, self.plan, is_begun=self.bucket is not None)
            tell("bucket", self.plan.state.bucket, _without(unknown))
        if self.needs_table and self.dynamodb is not None and self.plan.table is not None:
            tell("table", self.plan.table.table, _without(build_table(self.dynamodb, self.plan.table.table)))


def _without(unknown: Sequence[str]) -> str:
    return " and ".join(_SPOKEN[step] for step in unknown if step in _SPOKEN)


@contextlib.contextmanager
def visited(plan: Blueprint) -> Iterator[Site]:
    """
    Look at what is there; the site can be built on while the block lasts.

    Raises:
        StoreDenied, StoreUnavailable, StoreMisconfigured: AWS says no, or nothing.
    """
    with contextlib.ExitStack() as stack:
        s3 = stack.enter_context(bucket_client(plan.state))
        dynamodb = stack.enter_context(table_client(plan.table)) if plan.table else None
        yield _survey(plan, s3, dynamodb)


def _survey(plan: Blueprint, s3: Client, dynamodb: Client | None) -> Site:
    try:
        bucket = read_bucket(s3, plan.state.bucket)
    except ActionDenied as error:
        # S3 says no more of a stranger's bucket than of one that we lack a permission for.
        text = f"{error}\nIf the bucket is another account's: choose another name."
        raise ActionDenied(text, action=error.action, resource=error.resource) from error
    table, elsewhere = None, ""
    if dynamodb is not None and plan.table is not None:
        table = read_table(dynamodb, plan.table.table)
        elsewhere = where_else(plan.table, s3.region) if table is None else ""
    return Site(plan, s3, dynamodb, speaks_tls(s3), bucket, table, elsewhere)
