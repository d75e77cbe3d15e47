"""
What is to be said of a table and of a bucket that are there already. Nothing is asked here, and nothing is changed.

Also of the likeness that `tfguard bootstrap` would have given them, so that both are judged by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfguard.checks import Answer, Finding, failure, ok, warning
from tfguard.stores.foundation import BucketFacts, TableFacts, Unknown

#: The key schema that Terraform's locks need.
LOCK_KEY = (("LockID", "S", "HASH"),)
#: A table that is being made or altered answers soon; every other state but ACTIVE needs a person.
_PASSING = ("CREATING", "UPDATING")


def judge_table(facts: TableFacts) -> Iterator[Finding]:
    """Whether locks can live in this table, and whether it is looked after."""
    yield Finding("table", *_table(facts))
    if facts.replicas:
        yield Finding("table replicas", *_replicas(facts))
    if not facts.is_on_demand:
        says = f"{facts.name} has provisioned capacity: where it is short, heartbeats are throttled"
        yield Finding("table capacity", *warning(says, _update(facts, "--billing-mode PAY_PER_REQUEST")))
    key = "a KMS key" if facts.encryption == "KMS" else "a key of AWS's own"
    yield Finding("table encryption", *ok(f"encrypted with {key}"))
    yield Finding("table deletion", *_deletion(facts))
    yield Finding("table backups", *_backups(facts))


def _table(facts: TableFacts) -> Answer:
    if facts.key != LOCK_KEY:
        key = ", ".join(f"{name} ({kind}, {role})" for name, kind, role in facts.key)
        return failure(
            f"{facts.name} cannot hold Terraform's locks: its key is {key}",
            "It needs a single hash key of type string, named exactly LockID: name another table in the backend.",
        )
    if facts.status == "ACTIVE":
        return ok(f"{facts.name} can hold Terraform's locks")
    if facts.status in _PASSING:
        return warning(f"{facts.name} is not ready yet ({facts.status})", "Look again in a minute.")
    return failure(f"{facts.name} is {facts.status}", "Look at it in AWS: no lock can be taken there.")


def _replicas(facts: TableFacts) -> Answer:
    return failure(
        f"{facts.name} is a global table, with replicas in {', '.join(facts.replicas)}: the last writer wins there",
        "A lock in it can be held twice unless everybody uses one region. Remove the replicas.",
    )


def _deletion(facts: TableFacts) -> Answer:
    if facts.has_deletion_protection:
        return ok("protected against deletion")
    return warning(f"{facts.name} can be deleted by mistake", _update(facts, "--deletion-protection-enabled"))


def _backups(facts: TableFacts) -> Answer:
    found = facts.has_point_in_time_recovery
    if isinstance(found, Unknown):
        return _unknown("point-in-time recovery", found)
    if found:
        return ok("can be restored to any second of its last days")
    return warning(
        f"{facts.name} cannot be restored to a point in time",
        f"aws dynamodb update-continuous-backups --table-name {facts.name}"
        " --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
    )


def _update(facts: TableFacts, change: str) -> str:
    return f"aws dynamodb update-table --table-name {facts.name} {change}"


def judge_bucket(facts: BucketFacts, region: str) -> Iterator[Finding]:
    """Whether states can live in this bucket, and whether it is looked after. `region` is the backend's."""
    yield Finding("bucket", *in_region(facts, region))
    yield Finding("bucket versions", *_versions(facts))
    yield Finding("bucket encryption", *_encryption(facts))
    yield Finding("bucket access", *_access(facts))
    yield Finding("bucket TLS", *_tls(facts))
    if facts.is_versioned is True:
        yield Finding("old versions", *_old_versions(facts))


def in_region(facts: BucketFacts, region: str) -> Answer:
    """Whether the bucket is where the backend looks for it."""
    if facts.region == region:
        return ok(f"{facts.name} is there, in {region}")
    return failure(f"{facts.name} is in {facts.region}, and the backend says {region}", "Correct `region` there.")


def _versions(facts: BucketFacts) -> Answer:
    if isinstance(facts.is_versioned, Unknown):
        return _unknown("versioning", facts.is_versioned)
    if facts.is_versioned:
        return ok("keeps old versions of a state")
    return warning(
        f"{facts.name} keeps no old versions of a state",
        f"aws s3api put-bucket-versioning --bucket {facts.name} --versioning-configuration Status=Enabled",
    )


def _encryption(facts: BucketFacts) -> Answer:
    if isinstance(facts.encryption, Unknown):
        return _unknown("encryption", facts.encryption)
    return ok(f"encrypted ({facts.encryption or 'AES256'})")


def _access(facts: BucketFacts) -> Answer:
    if isinstance(facts.blocks_public_access, Unknown):
        return _unknown("the public access block", facts.blocks_public_access)
    if facts.blocks_public_access:
        return ok("closed to the public")
    switches = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    return warning(
        f"{facts.name} may be opened to the public, and a state holds secrets",
        f"aws s3api put-public-access-block --bucket {facts.name} --public-access-block-configuration "
        + ",".join(f"{switch}=true" for switch in switches),
    )


def _tls(facts: BucketFacts) -> Answer:
    if isinstance(facts.is_tls_only, Unknown):
        return _unknown("the bucket's policy", facts.is_tls_only)
    if facts.is_tls_only:
        return ok("refuses what does not come over TLS")
    return warning(
        f"{facts.name} answers without TLS too", "Add the statement that `tfguard bootstrap --print terraform` shows."
    )


def _old_versions(facts: BucketFacts) -> Answer:
    if isinstance(facts.forgets_old_versions, Unknown):
        return _unknown("the bucket's lifecycle", facts.forgets_old_versions)
    if facts.forgets_old_versions:
        return ok("expire by a lifecycle rule")
    return warning(
        f"{facts.name} keeps every old version for good, with a .tflock one for each heartbeat",
        "Add the lifecycle rule that `tfguard bootstrap --print terraform` shows.",
    )


def _unknown(what: str, why: Unknown) -> Answer:
    return warning(f"{what} is unknown: {why.reason}", "Nothing needs it but this check.")
