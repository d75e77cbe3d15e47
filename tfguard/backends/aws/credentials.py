"""
Credentials for AWS, resolved as Terraform would, and clients that use them.

A request is signed with the keys at hand and never waits for STS or a metadata service: `fresh` keeps them so. What an
error means is decided in `answers`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tfguard.backends.aws.answers import answers
from tfguard.backends.aws.client import Client, Reach
from tfguard.backends.aws.keys import Keys
from tfguard.backends.aws.order import Decision, decide, nothing_found, profiles_of
from tfguard.backends.aws.origins import Given
from tfguard.backends.aws.sessions import new_session, transport, trust
from tfguard.backends.aws.where import Where, where_of
from tfguard.backends.fresh import Fresh
from tfguard.backends.net.trust import Trust
from tfguard.lock.store import BaseStore

if TYPE_CHECKING:
    from tfguard.backends.aws.spec import AwsAccess, S3Object, WorkspaceProbe

#: Refresh this long before the end, or when a third of the life is left, whichever is later. botocore's own
#: sources start to renew 15 minutes before the end, so asking them earlier would only bring the old ones back.
EARLY_SECONDS = 14 * 60.0


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
        self._fresh = Fresh(self._resolved, EARLY_SECONDS)
        self._where: Where | None = None
        self._trust: Trust | None = None

    def client(self, service: str, endpoint: str = "", *, path_style: bool = False) -> Client:
        """
        Make a client for `service`; `endpoint` is what the backend's configuration says.

        Raises:
            StoreDenied: No credentials.

            StoreMisconfigured: No region, no such profile, an endpoint that is none.
        """
        with self._lock, answers(f"{service}:*", "the AWS configuration"):
            self._fresh.resolve()
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
        return self._fresh.expires_at()

    def renew_soon(self) -> None:
        """AWS said that they have expired: resolve them anew, in the background."""
        self._fresh.renew_soon()

    def close(self) -> None:
        """Stop refreshing. Clients keep the last snapshot."""
        self._fresh.close()

    def keys(self) -> Keys:
        """Return the snapshot; never waits."""
        keys = self._fresh.get()
        assert keys is not None
        return keys

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

    # --- resolving ----------------------------------------------------------------------------------------------

    def _resolved(self) -> Keys:
        """Resolve everything anew: files may have been rewritten, and roles are always assumed again."""
        environ: Mapping[str, str] = os.environ
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
            keys = self._fresh.get() or self._resolved()
            assert self._where is not None
            return Sources(new_session(self._where.access), self._where, "").caller(keys)


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
