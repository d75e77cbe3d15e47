"""
Terraform's lock item in DynamoDB: `LockID`, `Info`, and our lease in two attributes that Terraform never reads.

Only GetItem, PutItem and DeleteItem are used: these are the permissions that Terraform's users already granted. `Info`
is written once and stays constant, so it names one acquisition of the lock for good: it is what deletion asks for, and
together with the number of the beat what replacing asks for.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from tfguard.backends.aws.credentials import AwsStore, Credentials
from tfguard.lock import lockinfo
from tfguard.lock.names import DIGEST_SUFFIX, QUEUE_SUFFIX
from tfguard.lock.store import Lease, LockRecord, QueueRecord
from tfguard.wire import parse, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tfguard.backends.aws.spec import DynamoDBSpec

INFO, BEAT, LEASE = "Info", "TfguardBeat", "TfguardLease"
QUEUE, REVISION = "Queue", "Revision"
#: LockRecord.version where `Info`, or QueueRecord.version where `Revision`, is not there at all.
_ABSENT = "absent"


class DynamoDBStore(AwsStore):
    """A lock item in a table. `version` is empty; for garbage it holds the odd attribute, so that it can be deleted."""

    has_leases = True

    def __init__(self, spec: DynamoDBSpec, access: Credentials | None = None) -> None:
        super().__init__(spec.aws, access, lambda keys: keys.client("dynamodb", spec.endpoint))
        self._spec = spec

    @property
    def place(self) -> str:
        return f"DynamoDB table {self._spec.table}"

    def read(self) -> LockRecord | None:
        item = self._get(self._spec.lock_id)
        return None if item is None else _record(item)

    def create(self, record: LockRecord) -> LockRecord:
        self._put(self._item(record), "attribute_not_exists(LockID)")
        return msgspec.structs.replace(record, version="")

    def replace(self, seen: LockRecord, record: LockRecord) -> LockRecord:
        condition, values = _is_still(INFO, {"S": seen.text}, seen.version)
        if seen.lease is None:
            condition += f" AND attribute_not_exists({BEAT})"
        else:
            condition += f" AND {BEAT} = :beat"
            values[":beat"] = {"N": str(seen.beat)}
        self._put(self._item(record), condition, values)
        return msgspec.structs.replace(record, version="")

    def delete(self, seen: LockRecord) -> None:
        condition, values = _is_still(INFO, {"S": seen.text}, seen.version)
        self._ask("delete_item", _conditional(condition, values), Key={"LockID": {"S": self._spec.lock_id}})

    def read_queue(self) -> QueueRecord | None:
        item = self._get(self._spec.lock_id + QUEUE_SUFFIX)
        return None if item is None else _queue(item)

    def write_queue(self, seen: QueueRecord | None, record: QueueRecord) -> QueueRecord:
        item = {
            "LockID": {"S": self._spec.lock_id + QUEUE_SUFFIX},
            QUEUE: {"S": record.text},
            REVISION: {"N": str(record.revision)},
        }
        if seen is None:
            self._put(item, "attribute_not_exists(LockID)")
        else:
            self._put(item, *_is_still(REVISION, {"N": str(seen.revision)}, seen.version))
        return msgspec.structs.replace(record, version="")

    def read_digest(self) -> str:
        """Return the state's digest as Terraform keeps it, empty where there is none."""
        item = self._get(self._spec.lock_id + DIGEST_SUFFIX) or {}
        return str(item.get("Digest", {}).get("S", ""))

    def replace_digest(self, seen: str, digest: str) -> None:
        """Write the state's digest if it is still `seen`. Raises Conflict."""
        item = {"LockID": {"S": self._spec.lock_id + DIGEST_SUFFIX}, "Digest": {"S": digest}}
        self._put(item, "Digest = :seen", {":seen": {"S": seen}})

    def attempts_on(self, lock_id: str) -> dict[str, Callable[[], object]]:
        """Give, for each action on an item, a request that changes nothing: what it asks for never holds."""
        condition, values = f"{INFO} = :never", {":never": {"S": uuid.uuid4().hex}}
        key = {"LockID": {"S": lock_id}}
        return {
            "dynamodb:GetItem": lambda: self._get(lock_id),
            "dynamodb:PutItem": lambda: self._put(key, condition, values),
            "dynamodb:DeleteItem": lambda: self._ask("delete_item", _conditional(condition, values), Key=key),
        }

    def _get(self, key: str) -> Mapping[str, Any] | None:
        answer = self._ask("get_item", {}, Key={"LockID": {"S": key}}, ConsistentRead=True)
        item: Mapping[str, Any] | None = answer.get("Item")
        return item

    def _put(self, item: Mapping[str, Any], condition: str, values: Mapping[str, Any] | None = None) -> None:
        self._ask("put_item", _conditional(condition, values), Item=item)

    def _ask(self, method: str, condition: Mapping[str, Any], **parameters: Any) -> dict[str, Any]:
        return self._client.ask(method, self.place, {"TableName": self._spec.table, **parameters, **condition})

    def _item(self, record: LockRecord) -> dict[str, Any]:
        item = {"LockID": {"S": self._spec.lock_id}, INFO: {"S": record.text}}
        if record.lease is not None:
            item[BEAT] = {"N": str(record.lease.beat)}
            item[LEASE] = {"S": publish(record.lease).decode()}
        return item


def _conditional(condition: str, values: Mapping[str, Any] | None) -> dict[str, Any]:
    # DynamoDB takes no empty map of values.
    return {"ConditionExpression": condition, **({"ExpressionAttributeValues": values} if values else {})}


def _is_still(name: str, value: Mapping[str, Any], version: str) -> tuple[str, dict[str, Any]]:
    """The condition that an attribute is what was seen: the value, an odd one kept in `version`, or absent."""
    if version == _ABSENT:
        return f"attribute_exists(LockID) AND attribute_not_exists({name})", {}
    return f"{name} = :seen", {":seen": _revived(version) if version else value}


def _record(item: Mapping[str, Any]) -> LockRecord:
    text = item.get(INFO, {}).get("S")
    if not isinstance(text, str):
        version = _kept(item.get(INFO))
        return LockRecord(text="" if version == _ABSENT else version, info=None, version=version)
    return LockRecord(text=text, info=lockinfo.decode(text), lease=_lease(item))


def _lease(item: Mapping[str, Any]) -> Lease | None:
    """Read our lease; None where it is not whole, so that the lock can never be taken for expired."""
    try:
        lease = parse(item[LEASE]["S"], Lease)
        return lease if item[BEAT]["N"] == str(lease.beat) else None
    except (KeyError, TypeError, msgspec.DecodeError):
        return None


def _queue(item: Mapping[str, Any]) -> QueueRecord:
    text = item.get(QUEUE, {}).get("S", "")
    number = str(item.get(REVISION, {}).get("N", ""))
    if number.isdecimal():
        return QueueRecord(text=text, revision=int(number))
    return QueueRecord(text=text, version=_kept(item.get(REVISION)))


def _kept(attribute: Mapping[str, Any] | None) -> str:
    """Keep an odd attribute as text, so that a condition can name it again. Bytes travel as base64."""
    return _ABSENT if attribute is None else msgspec.json.encode(attribute).decode()


def _revived(version: str) -> Any:
    import base64

    attribute = msgspec.json.decode(version)
    return {"B": base64.b64decode(attribute["B"])} if "B" in attribute else attribute
