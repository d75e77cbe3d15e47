"""
A client for one of AWS's services.

What a run does to its lock (three operations of DynamoDB's, four of S3's) is spoken by us; all else, for people who
look around or build, by botocore, whose models take longer to load than a run's whole work on its lock. Both go through
the same transport.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tfguard.backends.aws import dynamodb_wire, s3_wire
from tfguard.backends.aws.answers import AwsError, NotAws, answers, page_in
from tfguard.backends.aws.endpoints import address, bucket_url, is_address, is_aws, is_for_botocore
from tfguard.backends.aws.keys import Keys
from tfguard.backends.aws.signing import signed
from tfguard.backends.net.transport import Request, Response, Transport, parsed_date
from tfguard.errors import StoreDenied

if TYPE_CHECKING:
    from tfguard.backends.aws.spec import AwsAccess

_OURS = {"dynamodb": dynamodb_wire.OPERATIONS, "s3": s3_wire.OPERATIONS}
#: Permissions whose name is not the operation's.
_ACTIONS = {
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:DeleteBucketTagging": "s3:PutBucketTagging",
}
#: AWS takes a signature whose time is wrong by less than this, and says one of these where it is wrong by more.
_SKEW = timedelta(minutes=4)
_SKEWED = {
    "RequestTimeTooSkewed",
    "RequestExpired",
    "RequestInTheFuture",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "AuthFailure",
}


class Signer(Protocol):
    """Whose keys a client signs with."""

    def keys(self) -> Keys:
        """Return the keys at hand; never waits."""

    def renew_soon(self) -> None:
        """Resolve them anew, in the background."""

    def botocore_session(self) -> Any:
        """Return a session of botocore's that signs with them."""


class Reach(msgspec.Struct, frozen=True):
    """
    How a service is reached. `access` and `endpoint` have what environment and profile add (`where`); empty: AWS's own.

    A bucket's name is part of the path with `path_style`; else it is part of the host where it can be.
    """

    access: AwsAccess
    region: str
    transport: Transport
    endpoint: str = ""
    path_style: bool = False


class Client:
    """A client for `service` whose errors are ours."""

    def __init__(self, service: str, signer: Signer, reach: Reach) -> None:
        self._service = service
        self._signer = signer
        self._reach = reach
        self._skew = timedelta()
        #: What the server's clock said with its last good answer, None if it did not.
        self.date: datetime | None = None

    @cached_property
    def endpoint(self) -> str:
        """
        The service's address.

        Raises:
            StoreMisconfigured: It is no URL, or the region no region.
        """
        reach = self._reach
        return address(self._service, reach.endpoint, reach.region, reach.access)

    @property
    def is_aws(self) -> bool:
        """Whether the endpoint is AWS's own rather than something that speaks its protocol."""
        return is_aws(self.endpoint)

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        return self._reach.region

    @cached_property
    def botocore(self) -> Any:
        """botocore's client, for what we do not speak ourselves."""
        from tfguard.backends.aws.sessions import create_client

        session, reach = self._signer.botocore_session(), self._reach
        if self._service not in _OURS:
            return create_client(session, self._service, reach.access, self.region, reach.endpoint, {})
        style = "path" if self._is_path_style else ("auto" if self.is_aws else "virtual")
        # Said here, so that a profile's `use_accelerate_endpoint` does not count: Terraform does not read it.
        s3 = {"addressing_style": style, "use_accelerate_endpoint": False}
        settings = {"s3": s3} if self._service == "s3" else {}
        return create_client(session, self._service, reach.access, self.region, reach.endpoint, settings)

    @property
    def _is_path_style(self) -> bool:
        return self._reach.path_style or is_address(self.endpoint)

    def ask(self, method: str, resource: str, parameters: Mapping[str, Any], max_body: int = 0) -> dict[str, Any]:
        """
        Make one request, once. `resource` says for people what it is about.

        With `max_body` the answer's Body is read, so many bytes of it at most.

        Raises: Conflict, StoreUnavailable, StoreDenied, StoreMisconfigured.
        """
        action = f"{self._service}:{method.title().replace('_', '')}"
        is_ours = method in _OURS.get(self._service, ()) and not is_for_botocore(str(parameters.get("Bucket", "")))
        try:
            with answers(_ACTIONS.get(action, action), resource, self.region):
                self.date = None
                if not is_ours:
                    return self._ask_botocore(method, parameters, max_body)
                return self._ask(method, parameters, max_body)
        except StoreDenied as error:
            if error.is_expired:
                self._signer.renew_soon()
            raise

    def close(self) -> None:
        """Let go of the connections."""
        self._reach.transport.close()
        if "botocore" in self.__dict__:
            self.botocore.close()

    def _ask(self, method: str, parameters: Mapping[str, Any], max_body: int) -> dict[str, Any]:
        response = self._send(method, parameters, max_body)
        try:
            answer = self._read(method, parameters, response)
        except AwsError as error:
            if error.code not in _SKEWED or not self._has_set_clock(response):
                raise
            # Refused for its time, so it has done nothing: ask again, by the server's clock.
            response = self._send(method, parameters, max_body)
            answer = self._read(method, parameters, response)
        self.date = response.date
        return answer

    def _send(self, method: str, parameters: Mapping[str, Any], max_body: int) -> Response:
        if self._service == "dynamodb":
            verb, url, limit = "POST", f"{self.endpoint}/", dynamodb_wire.MAX_BYTES
            headers, body = dynamodb_wire.request(method, parameters)
        else:
            verb, limit = s3_wire.OPERATIONS[method], max_body or s3_wire.MAX_BYTES
            bucket = bucket_url(self.endpoint, str(parameters["Bucket"]), path_style=self._reach.path_style)
            url, headers, body = s3_wire.request(method, bucket, parameters)
        sent = signed(
            verb,
            url,
            {**headers, "User-Agent": "tfguard", "Accept-Encoding": "identity"},
            body,
            keys=self._signer.keys(),
            scope=(self.region, self._service),
            now=datetime.now(timezone.utc) + self._skew,
        )
        return self._reach.transport.send(Request(verb, url, sent, body), limit)

    def _read(self, method: str, parameters: Mapping[str, Any], response: Response) -> dict[str, Any]:
        try:
            return self._read_proven(method, parameters, response)
        except NotAws as error:
            page = page_in(response.status, response.headers.get("content-type", ""), response.body)
            raise NotAws(str(error), error.page or page) from error

    def _read_proven(self, method: str, parameters: Mapping[str, Any], response: Response) -> dict[str, Any]:
        if self._service == "dynamodb":
            return dynamodb_wire.read(response, str(parameters["TableName"]), is_aws=self.is_aws)
        answer = s3_wire.read(method, response)
        if method == "delete_object" and not s3_wire.is_proven(response):
            self._look_whether_it_is_gone(parameters)
        return answer

    def _look_whether_it_is_gone(self, parameters: Mapping[str, Any]) -> None:
        where = {name: parameters[name] for name in ("Bucket", "Key")}
        try:
            self._read("get_object", where, self._send("get_object", where, 1))
        except AwsError as error:
            if error.code == "NoSuchKey":
                return
            raise
        raise NotAws("the object is still there")

    def _has_set_clock(self, response: Response) -> bool:
        """Whether the server's clock is so far from ours that this alone was the reason; from now on it counts."""
        date = response.date
        if date is None:
            return False
        skew, before = date - datetime.now(timezone.utc), self._skew
        self._skew = skew
        return abs(skew - before) > _SKEW

    def _ask_botocore(self, method: str, parameters: Mapping[str, Any], max_body: int) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self.botocore, method)(**parameters)
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        self.date = parsed_date(headers.get("date", ""))
        if max_body:
            with contextlib.closing(answer["Body"]) as body:
                answer["Body"] = body.read(max_body)
        return answer
