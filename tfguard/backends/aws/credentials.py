"""
Credentials for AWS, resolved as Terraform would, and clients that use them.

Credentials are resolved once, synchronously, and from then on refreshed by a thread of their own: a request is signed
with the snapshot at hand and never waits for STS or a metadata service. A heartbeat that hung there would look like a
dead store. What an error means is decided in `answers`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.credentials import ReadOnlyCredentials

from tfguard import threads
from tfguard.backends.aws.answers import answers
from tfguard.backends.aws.keys import Keys
from tfguard.backends.aws.order import Decision, decide, nothing_found, profiles_of
from tfguard.backends.aws.origins import Given
from tfguard.backends.aws.sessions import create_client, new_session
from tfguard.backends.aws.sources import NoInstanceRole, Sources
from tfguard.backends.aws.where import Where, where_of
from tfguard.errors import StoreDenied
from tfguard.lock.store import BaseStore

if TYPE_CHECKING:
    from tfguard.backends.aws.spec import AwsAccess, S3Object, WorkspaceProbe

#: Refresh this long before the end, or when a third of the life is left, whichever is later. botocore's own
#: sources start to renew 15 minutes before the end, so asking them earlier would only bring the old ones back.
EARLY_SECONDS = 14 * 60.0
#: Between two attempts to refresh.
RETRY_SECONDS = 5.0
#: A suspended machine's waits are stretched: look at the clock at least this often.
LOOK_SECONDS = 60.0

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
_AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".api.amazonwebservices.com.cn")


class Client:
    """A botocore client whose errors are ours."""

    def __init__(self, client: Any, service: str, credentials: Credentials) -> None:
        self._client = client
        self._service = service
        self._credentials = credentials
        #: What the server's clock said with its last good answer, None if it did not.
        self.date: datetime | None = None

    @property
    def botocore(self) -> Any:
        """The client itself, for its event hooks."""
        return self._client

    @property
    def is_aws(self) -> bool:
        """Whether the endpoint is AWS's own rather than something that speaks its protocol."""
        return (urlsplit(self._client.meta.endpoint_url).hostname or "").endswith(_AWS_DOMAINS)

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        return str(self._client.meta.region_name)

    def ask(self, method: str, resource: str, parameters: Mapping[str, Any], max_body: int = 0) -> dict[str, Any]:
        """
        Make one request, once. `resource` says for people what it is about.

        With `max_body` the answer's Body is read, so many bytes of it at most.

        Raises: Conflict, StoreUnavailable, StoreDenied, StoreMisconfigured.
        """
        action = f"{self._service}:{self._client.meta.method_to_api_mapping[method]}"
        try:
            with answers(_ACTIONS.get(action, action), resource, self.region):
                self.date = None
                answer: dict[str, Any] = getattr(self._client, method)(**parameters)
                self.date = _date(answer)
                if max_body:
                    with contextlib.closing(answer["Body"]) as body:
                        answer["Body"] = body.read(max_body)
                return answer
        except StoreDenied as error:
            if error.is_expired:
                self._credentials.renew_soon()
            raise

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


def _date(answer: Mapping[str, Any]) -> datetime | None:
    text = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return parsedate_to_datetime(text).astimezone(timezone.utc)
    except (TypeError, ValueError, OverflowError):
        return None


class AwsStore(BaseStore):
    """What the stores in AWS have in common: a client, and credentials, closed with the store if they are its own."""

    def __init__(self, aws: AwsAccess, access: Credentials | None, connect: Callable[[Credentials], Client]) -> None:
        self._owns_access = access is None
        self._access = access or Credentials(aws)
        self._client = connect(self._access)

    @property
    def date(self) -> datetime | None:
        """What the server's clock said with its last good answer; by it a hold ends."""
        return self._client.date

    def credentials_expire_at(self) -> datetime | None:
        """When the credentials at hand end; None if they do not, or nobody knows."""
        return self._access.expires_at()

    def close(self) -> None:
        """Let go of the connections, and of credentials of our own."""
        self._client.close()
        if self._owns_access:
            self._access.close()


class Credentials:
    """
    The credentials of one AwsAccess, kept fresh for the clients of any number of stores.

    The first `client` or `expires_at` resolves them and may take as long as STS does.
    """

    def __init__(self, access: AwsAccess) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._keys: Keys | None = None
        self._session: Any = None
        self._where: Where | None = None
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def client(self, service: str, endpoint: str = "", **config: Any) -> Client:
        """
        Make a client for `service`; `endpoint` is what the backend's configuration says, `config` is botocore's.

        Raises:
            StoreDenied: No credentials.

            StoreMisconfigured: No region, no such profile.
        """
        with self._lock, answers(f"{service}:*", "the AWS configuration"):
            if self._session is None:
                self._keys = self._resolve()
                self._session = self._snapshot_session()
                if self._keys.expires_at is not None:
                    self._start_thread()
            where = self._where
            assert where is not None
            made = create_client(
                self._session, service, where.access, where.region, where.endpoint(service, endpoint), config
            )
        return Client(made, service, self)

    def s3_client(self, place: S3Object | WorkspaceProbe) -> Client:
        """Make a client for the bucket of `place`. Raises as `client` does."""
        style = {"addressing_style": "path" if place.use_path_style else "auto"}
        return self.client("s3", place.endpoint, s3=style)

    def expires_at(self) -> datetime | None:
        """When the credentials at hand end, UTC; None if they do not, or nobody knows."""
        return self._keys.expires_at if self._keys else None

    def renew_soon(self) -> None:
        """AWS said that they have expired: resolve them anew, in the background."""
        with self._lock:
            self._start_thread()
        self._wake.set()

    def close(self) -> None:
        """Stop refreshing. Clients keep the last snapshot."""
        self._closed.set()
        self._wake.set()

    # botocore asks these of its credentials and of their provider.

    def load_credentials(self) -> Credentials:
        """Be our own session's only source of credentials."""
        return self

    method = "tfguard"

    def get_frozen_credentials(self) -> Any:
        """Return the snapshot; never waits."""
        keys = self._keys
        assert keys is not None
        return ReadOnlyCredentials(keys.access_key, keys.secret_key, keys.token, None)

    def get_deferred_property(self, name: str) -> Any:
        """Of what botocore may want to know beyond the keys (the account), we know nothing."""
        return lambda: None

    # --- refreshing ---------------------------------------------------------------------------------------------

    def _start_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            # Should it die: AWS says when the keys at hand have ended, and then another is started.
            self._thread = threads.start("credentials", self._keep_fresh, on_defect=lambda _: None)

    def _keep_fresh(self) -> None:
        while not self._closed.is_set():
            asked = self._wake.wait(min(LOOK_SECONDS, self._seconds_left()))
            if not self._closed.is_set() and (asked or self._seconds_left() <= 0):
                self._wake.clear()
                # Whatever fails leaves the old snapshot in place, good for minutes yet perhaps, and this thread alive.
                with contextlib.suppress(Exception):
                    self._keys = self._resolve()
                # botocore's sessions are cycles, and so quiet a process seldom looks for those by itself: each refresh
                # would leave its connections open.
                gc.collect()
                # However often we are asked: a session that is over is refused at every heartbeat.
                self._closed.wait(RETRY_SECONDS)

    def _seconds_left(self) -> float:
        """How long until it is time to refresh."""
        expires_at = self.expires_at()
        if expires_at is None:
            return LOOK_SECONDS
        left = (expires_at - datetime.now(timezone.utc)).total_seconds()
        return max(0.0, left - min(EARLY_SECONDS, self._life_seconds / 3))

    # --- resolving ----------------------------------------------------------------------------------------------

    def _resolve(self) -> Keys:
        """Resolve everything anew: files may have been rewritten, and roles are always assumed again."""
        keys = self._resolved(os.environ)
        if keys.expires_at is not None:
            self._life_seconds = (keys.expires_at - datetime.now(timezone.utc)).total_seconds()
        return keys

    def _resolved(self, environ: Mapping[str, str]) -> Keys:
        profiles = profiles_of(self._access, environ)
        self._where = where = where_of(self._access, environ, profiles)
        return _found_keys(where, decide(where.access, environ, profiles))

    def caller(self) -> str:
        """
        Return the ARN that AWS knows us by.

        Raises: StoreUnavailable, StoreDenied, StoreMisconfigured.
        """
        with self._lock:
            keys = self._keys or self._resolve()
            assert self._where is not None
            return Sources(new_session(self._where.access), self._where, "").caller(keys)

    _life_seconds = 3600.0

    def _snapshot_session(self) -> Any:
        assert self._where is not None
        session = new_session(self._where.access)
        session.register_component("credential_provider", self)
        return session


def _found_keys(where: Where, decision: Decision) -> Keys:
    """Get the keys of the source that was decided for, and assume the backend's roles with them."""
    if isinstance(decision.source, Given) and not where.access.assume_role:
        return decision.source.keys
    sources = Sources(new_session(where.access), where, decision.used.name)
    try:
        keys = sources.keys(decision.source)
    except NoInstanceRole:
        raise nothing_found(where.access, where.environ) from None
    for role in where.access.assume_role:
        keys = sources.assumed(role, keys, is_backends=True)
    return keys
