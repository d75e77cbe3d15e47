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
from typing import TYPE_CHECKING, Any

from tfguard import threads
from tfguard.backends.aws.answers import answers
from tfguard.backends.aws.client import Client, Reach
from tfguard.backends.aws.keys import Keys
from tfguard.backends.aws.order import Decision, decide, nothing_found, profiles_of
from tfguard.backends.aws.origins import Given
from tfguard.backends.aws.sessions import new_session, transport, trust
from tfguard.backends.aws.where import Where, where_of
from tfguard.backends.net.trust import Trust
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
        self._where: Where | None = None
        self._trust: Trust | None = None
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def client(self, service: str, endpoint: str = "", *, path_style: bool = False) -> Client:
        """
        Make a client for `service`; `endpoint` is what the backend's configuration says.

        Raises:
            StoreDenied: No credentials.

            StoreMisconfigured: No region, no such profile, an endpoint that is none.
        """
        with self._lock, answers(f"{service}:*", "the AWS configuration"):
            if self._keys is None:
                self._keys = self._resolve()
                if self._keys.expires_at is not None:
                    self._start_thread()
            return Client(service, self, self._reach(service, endpoint, path_style=path_style))

    def s3_client(self, place: S3Object | WorkspaceProbe) -> Client:
        """Make a client for the bucket of `place`. Raises as `client` does."""
        return self.client("s3", place.endpoint, path_style=place.use_path_style)

    def _reach(self, service: str, endpoint: str, *, path_style: bool) -> Reach:
        where = self._where
        assert where is not None
        if self._trust is None:
            self._trust = trust(where.access)
        return Reach(
            access=where.access,
            region=where.region,
            transport=transport(where.access, self._trust),
            endpoint=where.configured(service, endpoint),
            path_style=path_style,
        )

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

    def keys(self) -> Keys:
        """Return the snapshot; never waits."""
        assert self._keys is not None
        return self._keys

    def botocore_session(self) -> Any:
        """Return a session of botocore's whose clients sign with the snapshot."""
        assert self._where is not None
        session = new_session(self._where.access)
        session.register_component("credential_provider", self)
        return session

    # botocore asks these of its credentials and of their provider.

    def load_credentials(self) -> Credentials:
        """Be our own session's only source of credentials."""
        return self

    method = "tfguard"

    def get_frozen_credentials(self) -> Any:
        """Return the snapshot; never waits."""
        from botocore.credentials import ReadOnlyCredentials

        keys = self.keys()
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
        from tfguard.backends.aws.sources import Sources

        with self._lock:
            keys = self._keys or self._resolve()
            assert self._where is not None
            return Sources(new_session(self._where.access), self._where, "").caller(keys)

    _life_seconds = 3600.0


def _found_keys(where: Where, decision: Decision) -> Keys:
    """Get the keys of the source that was decided for, and assume the backend's roles with them."""
    if isinstance(decision.source, Given) and not where.access.assume_role:
        return decision.source.keys  # They have only to be signed with: nothing of botocore's is imported.
    from tfguard.backends.aws.sources import NoInstanceRole, Sources

    sources = Sources(new_session(where.access), where, decision.used.name)
    try:
        keys = sources.keys(decision.source)
    except NoInstanceRole:
        raise nothing_found(where.access, where.environ) from None
    for role in where.access.assume_role:
        keys = sources.assumed(role, keys, is_backends=True)
    return keys
