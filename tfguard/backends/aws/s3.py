"""
Terraform's `.tflock` object in S3: its LockInfo, with our lease as one more key at the end, which Terraform ignores.

Every write names the ETag that it replaces or deletes, or asks that there be none. Some servers that speak S3's
protocol ignore such conditions; `prove_conditional` finds out before a lease is trusted.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec

from tfguard.backends.aws.answers import lines_of
from tfguard.backends.aws.client import Client
from tfguard.backends.aws.credentials import AwsStore, Credentials
from tfguard.errors import Conflict, StoreMisconfigured
from tfguard.lock import lockinfo, queue_record
from tfguard.lock.names import QUEUE_SUFFIX, beside_lock, probe_suffix
from tfguard.lock.store import Lease, LockRecord, QueueRecord
from tfguard.wire import parse, publish

if TYPE_CHECKING:
    from tfguard.backends.aws.spec import S3Object, WorkspaceProbe

_WRONG_ETAG = '"00000000000000000000000000000000"'


class S3Store(AwsStore):
    """A lock object in a bucket, or a state and what lies beside it. `version` is the lock object's ETag."""

    has_leases = True

    def __init__(self, spec: S3Object, access: Credentials | None = None) -> None:
        super().__init__(spec.aws, access, lambda keys: keys.s3_client(spec))
        self._spec = spec

    @property
    def place(self) -> str:
        return f"s3://{self._spec.bucket}/{self._spec.key}"

    def read(self) -> LockRecord | None:
        found = self._get(self._spec.key, lockinfo.MAX_BYTES + 1)
        if found is None:
            return None
        text, lease = _split(found[0].decode("utf-8", "replace"))
        return LockRecord(text=text, info=lockinfo.decode(text), lease=lease, version=found[1])

    def create(self, record: LockRecord) -> LockRecord:
        etag = self._put(self._spec.key, _body(record), IfNoneMatch="*")
        return msgspec.structs.replace(record, version=etag)

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        etag = self._put(self._spec.key, _body(record), IfMatch=_etag(seen.version))
        return msgspec.structs.replace(record, version=etag)

    def delete(self, seen: LockRecord) -> None:
        self._delete(self._spec.key, _etag(seen.version))

    def read_queue(self) -> QueueRecord | None:
        found = self._get(self._queue_key, queue_record.MAX_STORED_BYTES)
        return None if found is None else queue_record.decode_record(*found)

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        condition = {"IfNoneMatch": "*"} if seen is None else {"IfMatch": _etag(seen.version)}
        etag = self._put(self._queue_key, queue_record.encode_record(record), **condition)
        return msgspec.structs.replace(record, version=etag)

    def prove_conditional(self, record: LockRecord) -> None:
        """
        Prove that this server refuses a write or a deletion whose condition does not hold. Of AWS nothing is asked.

        Everything is tried on a scratch object beside the lock, so a server that fails does no harm to `record`.

        Raises:
            StoreMisconfigured: It ignores conditions: a lease kept here could be held twice.
        """
        if self._client.is_aws:
            return
        key = self._spec.key + probe_suffix()
        self._put(key, b"{}")
        try:
            self._expect_refusal("PutObject with If-None-Match", lambda: self._put(key, b"{}", IfNoneMatch="*"))
            self._expect_refusal("PutObject with If-Match", lambda: self._put(key, b"{}", IfMatch=_WRONG_ETAG))
            self._expect_refusal("DeleteObject with If-Match", lambda: self._delete(key, _WRONG_ETAG))
        finally:
            self._client.ask("delete_object", self.place, {"Bucket": self._spec.bucket, "Key": key})

    def _expect_refusal(self, what: str, attempt: Callable[[], object]) -> None:
        try:
            attempt()
        except Conflict:
            return
        raise StoreMisconfigured(
            lines_of(
                f"{self.place}: this server ignores conditions ({what} went through).",
                "Two runs could hold one lock there. Use a server that honours them, or lock.mode: named.",
            )
        )

    def read_body(self, key: str, max_bytes: int) -> bytes | None:
        """Return the first bytes of an object of this bucket, None if there is none. For the state beside the lock."""
        found = self._get(key, max_bytes)
        return None if found is None else found[0]

    def write_body(self, key: str, body: bytes) -> None:
        """Write an object of this bucket, encrypted as the state is. For copies beside the state."""
        self._put(key, body)

    def attempts_on(self, key: str) -> dict[str, Callable[[], object]]:
        """
        Give, for each action on an object, a request that changes nothing: what it asks for never holds.

        A server that is not AWS may ignore conditions: there a scratch object is asked for, which the last deletes.
        """
        name = key if self._client.is_aws else key + probe_suffix()
        return {
            "s3:GetObject": lambda: self._get(name, 1),
            "s3:PutObject": lambda: self._put(name, b"{}", IfMatch=_WRONG_ETAG),
            "s3:DeleteObject": lambda: self._delete(name, _WRONG_ETAG),
        }

    def list_keys(self, prefix: str, at_most: int = 1000) -> list[str]:
        """Name the bucket's objects that start so."""
        parameters = {"Bucket": self._spec.bucket, "Prefix": prefix, "MaxKeys": at_most}
        answer = self._client.ask("list_objects_v2", f"s3://{self._spec.bucket}", parameters)
        return [str(entry["Key"]) for entry in answer.get("Contents", ())]

    @property
    def _queue_key(self) -> str:
        return beside_lock(self._spec.key, QUEUE_SUFFIX)

    def _get(self, key: str, max_bytes: int) -> tuple[bytes, str] | None:
        """Return an object's first bytes and its ETag, None if there is none."""
        customer_key = self._customer_key() if self._spec.encrypt and not self._spec.kms_key_id else {}
        parameters = {"Bucket": self._spec.bucket, "Key": key, **customer_key}
        try:
            answer = self._client.ask("get_object", f"s3://{self._spec.bucket}/{key}", parameters, max_bytes)
        except Conflict:
            return None
        return answer["Body"], answer["ETag"]

    def _put(self, key: str, body: bytes, **condition: str) -> str:
        """Write an object, and give its ETag."""
        parameters = {"Bucket": self._spec.bucket, "Key": key, "Body": body, "ContentType": "application/json"}
        parameters |= {**self._encryption(), **condition}
        if self._spec.acl:
            parameters["ACL"] = self._spec.acl
        if not self._spec.skip_checksum:
            # As a header, as Terraform sends it; botocore itself would send a trailer, which look-alikes do not know.
            parameters["ChecksumSHA256"] = base64.b64encode(hashlib.sha256(body).digest()).decode()
        return str(self._client.ask("put_object", f"s3://{self._spec.bucket}/{key}", parameters)["ETag"])

    def _delete(self, key: str, etag: str) -> None:
        parameters = {"Bucket": self._spec.bucket, "Key": key, "IfMatch": etag}
        self._client.ask("delete_object", f"s3://{self._spec.bucket}/{key}", parameters)

    def _encryption(self) -> dict[str, Any]:
        if not self._spec.encrypt:
            return {}
        if self._spec.kms_key_id:
            return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._spec.kms_key_id}
        return self._customer_key() or {"ServerSideEncryption": "AES256"}

    def _customer_key(self) -> dict[str, Any]:
        if not self._spec.sse_customer_key:
            return {}
        try:
            key = base64.b64decode(self._spec.sse_customer_key, validate=True)
        except ValueError:
            message = lines_of("`sse_customer_key` is not base64.", "Give the 256-bit key in base64, as for Terraform.")
            raise StoreMisconfigured(message) from None
        return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}


def workspace_exists(probe: WorkspaceProbe) -> bool:
    """
    Say whether Terraform, listing `probe.prefix` as its S3 backend does, would find the workspace's state.

    Raises:
        StoreDenied: We may not list. Terraform may not either, and then takes the workspace for missing.
    """
    with closing(Credentials(probe.aws)) as access, closing(access.s3_client(probe)) as client:
        return _is_listed(client, probe)


def _is_listed(client: Client, probe: WorkspaceProbe) -> bool:
    wanted = probe.state_key.encode()
    # The listing is in the order of UTF-8: starting right before the key makes the first page decide, however many
    # workspaces there are. A server that does not know StartAfter only makes us read more pages.
    parameters = {"Bucket": probe.bucket, "Prefix": probe.prefix, "StartAfter": probe.state_key[:-1]}
    token: dict[str, str] = {}
    while True:
        answer = client.ask("list_objects_v2", f"s3://{probe.bucket}/{probe.prefix}", {**parameters, **token})
        keys = [entry["Key"].encode() for entry in answer.get("Contents", ())]
        if wanted in keys:
            return True
        if not answer.get("IsTruncated") or (keys and keys[-1] > wanted):
            return False
        token = {"ContinuationToken": answer["NextContinuationToken"]}


def _etag(version: str) -> str:
    """What a condition names; a record that was never stored cannot be the one that is."""
    if not version:
        raise Conflict("the record has no ETag")
    return version


def _body(record: LockRecord) -> bytes:
    if record.lease is None:
        return record.text.encode()
    return lockinfo.extended(record.text, publish(record.lease))


def _split(body: str) -> tuple[str, Lease | None]:
    """Return LockInfo and lease; the whole body and None where the lease is not there, or not ours to the letter."""
    text, ours = lockinfo.taken_apart(body)
    try:
        return text, parse(ours, Lease)
    except msgspec.DecodeError:
        return body, None
