"""
DynamoDB's protocol, as far as locks need it: three operations, and what proves that an answer is DynamoDB's.

An answer counts if its type is DynamoDB's, its checksum fits, and, where it names a table, that is ours. AWS always
sends the checksum; a look-alike that sends none is believed for its type.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from tfguard.backends.aws.answers import AwsError, NotAws
from tfguard.backends.net.transport import Response
from tfguard.wire import parse

OPERATIONS = {"get_item": "GetItem", "put_item": "PutItem", "delete_item": "DeleteItem"}
#: An item has 400 KB at most, and escapes make six letters of one.
MAX_BYTES = 4 * 1024 * 1024
_TYPE = "application/x-amz-json-1.0"


class _Capacity(msgspec.Struct):
    TableName: str = ""


class _Answer(msgspec.Struct):
    Item: dict[str, dict[str, Any]] | None = None
    ConsumedCapacity: _Capacity | None = None


class _Refusal(msgspec.Struct):
    code: str = msgspec.field(name="__type")
    message: str | None = None
    Message: str | None = None


def request(method: str, parameters: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
    """Return headers and body of an operation; bytes in an item become base64."""
    headers = {"Content-Type": _TYPE, "X-Amz-Target": f"DynamoDB_20120810.{OPERATIONS[method]}"}
    # The answer then names the table, which no block page does.
    return headers, msgspec.json.encode({**parameters, "ReturnConsumedCapacity": "TOTAL"})


def read(response: Response, table: str, *, is_aws: bool) -> dict[str, Any]:
    """
    Return the item, if the answer has one.

    Raises:
        AwsError: DynamoDB refuses.

        NotAws: This is no answer of DynamoDB's.
    """
    _prove(response, is_aws=is_aws)
    if response.status != 200:
        raise _refusal(response)
    answer = _decoded(response, _Answer)
    named = answer.ConsumedCapacity.TableName if answer.ConsumedCapacity else ""
    if named and named.rpartition("/")[2] != table.rpartition("/")[2]:
        raise NotAws("it is about another table")
    return {} if answer.Item is None else {"Item": answer.Item}


def _refusal(response: Response) -> AwsError:
    refusal = _decoded(response, _Refusal)
    code = refusal.code.rpartition("#")[2].partition(":")[0]
    return AwsError(code, refusal.message or refusal.Message or "", response.status)


def _prove(response: Response, *, is_aws: bool) -> None:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    checksum = response.headers.get("x-amz-crc32")
    # A look-alike's refusal may be of JSON's ordinary type; then its checksum has to tell that it is no portal's.
    is_refusal = response.status != 200 and kind == "application/json" and checksum is not None
    if kind != _TYPE and not is_refusal:
        raise NotAws(f"its type is {kind or 'not said'}")
    if checksum is None and is_aws:
        raise NotAws("it has no checksum")
    if not response.is_whole or (checksum is not None and checksum != str(zlib.crc32(response.body))):
        raise NotAws("its checksum does not fit")


def _decoded(response: Response, kind: type[Any]) -> Any:
    try:
        return parse(response.body, kind)
    except (ValueError, RecursionError) as error:
        raise NotAws("it is not what was asked for") from error
