"""
S3's protocol, as far as locks need it: four operations, and what proves that an answer is S3's.

An object comes with its ETag, a write is answered by an ETag and nothing else, a refusal and a listing are XML with
S3's own root. A deletion is answered by nothing at all: what proves it is the request's number, and where a look-alike
gives none, whoever asked has to look (`is_proven`).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit
from xml.parsers import expat

from tfguard.backends.aws.answers import AwsError, NotAws
from tfguard.backends.net.transport import Response

OPERATIONS = {"get_object": "GET", "put_object": "PUT", "delete_object": "DELETE", "list_objects_v2": "GET"}
#: Of a refusal, or of a page of a listing: a thousand keys, each escaped.
MAX_BYTES = 8 * 1024 * 1024
_MAX_DEPTH = 8
_SSE = "x-amz-server-side-encryption"
_HEADERS = {
    "ContentType": "Content-Type",
    "IfMatch": "If-Match",
    "IfNoneMatch": "If-None-Match",
    "ACL": "x-amz-acl",
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "ServerSideEncryption": _SSE,
    "SSEKMSKeyId": f"{_SSE}-aws-kms-key-id",
    "SSECustomerAlgorithm": f"{_SSE}-customer-algorithm",
}
_QUERY = {
    "Prefix": "prefix",
    "StartAfter": "start-after",
    "MaxKeys": "max-keys",
    "ContinuationToken": "continuation-token",
}


def request(method: str, bucket_url: str, parameters: Mapping[str, Any]) -> tuple[str, dict[str, str], bytes]:
    """Return address, headers and body of an operation."""
    headers = {header: str(parameters[name]) for name, header in _HEADERS.items() if name in parameters}
    if "SSECustomerKey" in parameters:
        key = parameters["SSECustomerKey"]
        headers[f"{_SSE}-customer-key"] = base64.b64encode(key).decode()
        # S3 wants MD5 to see whether the key arrived whole; nothing is kept secret by it.
        digest = hashlib.md5(key, usedforsecurity=False).digest()
        headers[f"{_SSE}-customer-key-MD5"] = base64.b64encode(digest).decode()
    if method == "list_objects_v2":
        words = {
            "list-type": "2",
            **{word: str(parameters[name]) for name, word in _QUERY.items() if name in parameters},
        }
        query = "&".join(f"{word}={quote(value, safe='~')}" for word, value in sorted(words.items()))
        # A bucket that is part of the path ends it; one that is part of the host has a path of its own.
        slash = "" if urlsplit(bucket_url).path else "/"
        return f"{bucket_url}{slash}?{query}", headers, b""
    return f"{bucket_url}/{quote(parameters['Key'], safe='/~')}", headers, parameters.get("Body", b"")


def read(method: str, response: Response) -> dict[str, Any]:
    """
    Return `Body` and `ETag` of an object, the `ETag` of what was written, or a page of a listing.

    Raises:
        AwsError: S3 refuses.

        NotAws: This is no answer of S3's.
    """
    if not 200 <= response.status < 300:
        raise _refusal(response)
    if method == "list_objects_v2":
        return _listing(response)
    if method == "delete_object":
        if response.body or response.status not in (200, 204):
            raise NotAws("it says more than that the object is gone")
        return {}
    etag = response.headers.get("etag", "")
    if response.status != 200 or not etag:
        raise NotAws("it has no ETag")
    if method == "put_object":
        if response.body:
            raise NotAws("it says more than that the object is written")
        return {"ETag": etag}
    if response.headers.get("content-type", "").lower().startswith("text/html"):
        raise NotAws("it is a page")
    return {"Body": response.body, "ETag": etag}


def is_proven(response: Response) -> bool:
    """Whether S3 has put its own number to an answer that has nothing else."""
    return any(name in response.headers for name in ("x-amz-request-id", "x-amz-id-2", "x-oss-request-id"))


def _refusal(response: Response) -> AwsError:
    if response.status in (409, 412) and not response.body:
        # A condition that did not hold; whoever asked reads what there is.
        return AwsError(
            {409: "ConditionalRequestConflict", 412: "PreconditionFailed"}[response.status], "", response.status
        )
    texts = dict(_texts(response, "Error"))
    if not texts.get("Code"):
        raise NotAws(f"it is no refusal of S3's ({response.status})")
    return AwsError(texts["Code"], texts.get("Message", ""), response.status)


def _listing(response: Response) -> dict[str, Any]:
    keys: list[dict[str, str]] = []
    answer: dict[str, Any] = {"Contents": keys, "IsTruncated": False}
    for name, text in _texts(response, "ListBucketResult"):
        if name == "Contents/Key":
            keys.append({"Key": text})
        elif name == "IsTruncated":
            answer[name] = text.strip().lower() == "true"
        elif name == "NextContinuationToken":
            answer[name] = text
    if answer["IsTruncated"] and "NextContinuationToken" not in answer:
        raise NotAws("its listing ends in the middle")
    return answer


def _texts(response: Response, root: str) -> Iterator[tuple[str, str]]:
    """Return the texts of a small XML document, each with the path of names below its root."""
    path: list[str] = []
    words: list[str] = []
    found: list[tuple[str, str]] = []

    def begin(name: str, _: object) -> None:
        path.append(name.rpartition(" ")[2])
        words.clear()
        if path[0] != root or len(path) > _MAX_DEPTH:
            raise NotAws("it is some other document")

    def end(_: str) -> None:
        found.append(("/".join(path[1:]), "".join(words)))
        words.clear()
        path.pop()

    def refuse(*_: object) -> None:
        raise NotAws("it brings its own definitions")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = words.append, refuse
    try:
        parser.Parse(response.body, True)
    except (expat.ExpatError, ValueError) as error:
        raise NotAws("it is no XML") from error
    if not response.is_whole:
        raise NotAws("it does not end")
    yield from found
