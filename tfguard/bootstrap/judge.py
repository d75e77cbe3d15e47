"""
How `tfguard bootstrap` makes a table and a bucket, and whether those that are there already are like that.

Nothing is asked here, and nothing is changed: each line says what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfguard.backends.aws.facts import PUBLIC_ACCESS_SWITCHES, BucketFacts, TableFacts, Unknown
from tfguard.backends.aws.tables import judge_table
from tfguard.bootstrap.blueprint import OLD_VERSIONS_DAYS, OLD_VERSIONS_KEPT, Blueprint
from tfguard.findings import Answer, Finding, failure, ok, warning


def planned_table(name: str, region: str, *, is_begun: bool) -> Iterator[Finding]:
    """What would be created; `is_begun` tells that an earlier bootstrap was interrupted."""
    yield Finding("table", "absent", f"{name} in {region}, its key LockID, on demand{_begun(is_begun)}")
    yield Finding("table encryption", "absent", "with a KMS key")
    yield Finding("table deletion", "absent", "protected against")
    yield Finding("table backups", "absent", "point-in-time recovery")


def _begun(is_begun: bool) -> str:
    return " (begun, and not finished)" if is_begun else ""


def inspect_table(facts: TableFacts) -> Iterator[Finding]:
    """Whether locks can live in this table, and whether it is looked after."""
    yield Finding("table", *judge_table(facts))
    if not facts.is_on_demand:
        says = f"{facts.name} has provisioned capacity: where it is short, heartbeats are throttled"
        yield Finding("table capacity", *warning(says, _update(facts, "--billing-mode PAY_PER_REQUEST")))
    key = "a KMS key" if facts.encryption == "KMS" else "a key of AWS's own"
    yield Finding("table encryption", *ok(f"encrypted with {key}"))
    yield Finding("table deletion", *_deletion(facts))
    yield Finding("table backups", *_backups(facts))


def _deletion(facts: TableFacts) -> Answer:
    if facts.has_deletion_protection:
        return ok("protected against deletion")
    return warning(f"{facts.name} can be deleted by mistake", _update(facts, "--deletion-protection-enabled"))


def _backups(facts: TableFacts) -> Answer:
    otherwise = warning(
        f"{facts.name} cannot be restored to a point in time",
        f"aws dynamodb update-continuous-backups --table-name {facts.name}"
        " --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
    )
    good = "can be restored to any second of its last days"
    return _judged(facts.has_point_in_time_recovery, "point-in-time recovery", good, otherwise)


def _update(facts: TableFacts, change: str) -> str:
    return f"aws dynamodb update-table --table-name {facts.name} {change}"


def planned_bucket(plan: Blueprint, region: str, *, is_begun: bool, is_over_tls: bool) -> Iterator[Finding]:
    """As `planned_table`. A bucket that is reached without TLS cannot demand it."""
    tls = "demanded" if is_over_tls else "not demanded, since the endpoint is http://"
    yield Finding("bucket", "absent", f"{plan.state.bucket} in {region}{_begun(is_begun)}")
    yield Finding("bucket versions", "absent", "a state's old versions are kept")
    yield Finding("bucket encryption", "absent", plan.encryption)
    yield Finding("bucket access", "absent", "closed to the public")
    yield Finding("bucket TLS", "absent", tls)
    ends = f"end after {OLD_VERSIONS_DAYS} days, but for the newest {OLD_VERSIONS_KEPT}"
    yield Finding("old versions", "absent", ends)


def inspect_bucket(facts: BucketFacts, region: str, *, is_over_tls: bool) -> Iterator[Finding]:
    """
    Whether states can live in this bucket, and whether it is looked after.

    `region` is the backend's. Without TLS on our way to it, its policy about TLS is none of our business.
    """
    yield Finding("bucket", *_place(facts, region))
    yield Finding("bucket versions", *_versions(facts))
    yield Finding("bucket encryption", *_encryption(facts))
    yield Finding("bucket access", *_access(facts))
    if is_over_tls:
        yield Finding("bucket TLS", *_tls(facts))
    if facts.is_versioned is True:
        yield Finding("old versions", *_old_versions(facts))


def _place(facts: BucketFacts, region: str) -> Answer:
    """Whether the bucket is where the backend looks for it."""
    if facts.region in (region, ""):
        return ok(f"{facts.name} is there, in {region}")
    return failure(f"{facts.name} is in {facts.region}, and the backend says {region}", "Correct `region` there.")


def _versions(facts: BucketFacts) -> Answer:
    otherwise = warning(
        f"{facts.name} keeps no old versions of a state",
        f"aws s3api put-bucket-versioning --bucket {facts.name} --versioning-configuration Status=Enabled",
    )
    return _judged(facts.is_versioned, "versioning", "keeps old versions of a state", otherwise)


def _encryption(facts: BucketFacts) -> Answer:
    if isinstance(facts.encryption, Unknown):
        return _unknown("encryption", facts.encryption)
    return ok(f"encrypted ({facts.encryption or 'AES256'})")


def _access(facts: BucketFacts) -> Answer:
    otherwise = warning(
        f"{facts.name} may be opened to the public, and a state holds secrets",
        f"aws s3api put-public-access-block --bucket {facts.name} --public-access-block-configuration "
        + ",".join(f"{switch}=true" for switch in PUBLIC_ACCESS_SWITCHES),
    )
    return _judged(facts.blocks_public_access, "the public access block", "closed to the public", otherwise)


def _tls(facts: BucketFacts) -> Answer:
    otherwise = warning(
        f"{facts.name} answers without TLS too", "Add the statement that `tfguard bootstrap --print terraform` shows."
    )
    return _judged(facts.is_tls_only, "the bucket's policy", "refuses what does not come over TLS", otherwise)


def _old_versions(facts: BucketFacts) -> Answer:
    otherwise = warning(
        f"{facts.name} keeps every old version for good, with a .tflock one for each heartbeat",
        "Add the lifecycle rule that `tfguard bootstrap --print terraform` shows.",
    )
    return _judged(facts.forgets_old_versions, "the bucket's lifecycle", "expire by a lifecycle rule", otherwise)


def _judged(found: bool | Unknown, what: str, as_wanted: str, otherwise: Answer) -> Answer:
    if isinstance(found, Unknown):
        return _unknown(what, found)
    return ok(as_wanted) if found else otherwise


def _unknown(what: str, why: Unknown) -> Answer:
    return warning(f"{what} is unknown: {why.reason}", "Nothing needs it but this check.")
