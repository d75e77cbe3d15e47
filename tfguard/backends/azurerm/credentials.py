"""
Who we are to Azure, found in Terraform's order, and kept fresh.

| order | what |
|---|---|
| 1 | `access_key`, ARM_ACCESS_KEY: the account's key |
| 2 | `sas_token`, ARM_SAS_TOKEN: a signed query |
| 3 | `use_azuread_auth`: an Entra token for the storage |
| 4 | an Entra token for the management, which gives the account's key, and says where its blobs are |

A heartbeat is sent with what is at hand, and never waits: `fresh` keeps it so.
"""

from __future__ import annotations

import base64
import binascii
import os
from datetime import datetime
from typing import TYPE_CHECKING

from tfguard.backends.azurerm.answers import WHERE_CREDENTIALS_COME_FROM, lines_of
from tfguard.backends.azurerm.entra import Entra
from tfguard.backends.azurerm.signing import SharedKey, SignedQuery, Token, Unsigned, Way
from tfguard.backends.fresh import Fresh
from tfguard.errors import StoreMisconfigured

if TYPE_CHECKING:
    from tfguard.backends.azurerm.spec import AzureAccess

#: Refresh this long before the end, or when a third of the life is left, whichever is later.
EARLY_SECONDS = 5 * 60.0


class Credentials:
    """One AzureAccess's way to be somebody, kept fresh for any number of stores. The first `resolve` may take long."""

    def __init__(self, access: AzureAccess) -> None:
        self._access = access
        self._fresh: Fresh[Way] = Fresh(self._found, EARLY_SECONDS)
        self._endpoint = f"https://{access.account}.blob.{access.suffix}"

    @property
    def endpoint(self) -> str:
        """Where the account's blobs are: once resolved, as Azure says, where Terraform asks for that."""
        return self._endpoint

    def resolve(self) -> None:
        """
        Find out who we are, if that is not known yet.

        Raises:
            StoreDenied: There are no credentials, or Azure does not take them.

            StoreMisconfigured: They are half, or of a kind that we do not speak.

            StoreUnavailable: Nobody answered who would know.
        """
        self._fresh.resolve()

    def sign(self, request: Unsigned) -> tuple[str, dict[str, str]]:
        """Return the query and the headers of a request as they are sent; never waits."""
        way = self._fresh.get()
        return way.sign(request) if way is not None else (request.question, dict(request.headers))

    def expires_at(self) -> datetime | None:
        """When what is at hand ends, UTC; None if it does not, or nobody knows."""
        way = self._fresh.get()
        return way.said_end if isinstance(way, SignedQuery) else self._fresh.expires_at()

    def renew_soon(self) -> None:
        """Azure said that it has expired: find it anew, in the background. What was given cannot be renewed."""
        if not (self._access.access_key or self._access.sas_token):
            self._fresh.renew_soon()

    def close(self) -> None:
        """Stop refreshing. Stores that are open keep what they have."""
        self._fresh.close()

    def _found(self) -> Way:
        """Find everything anew: files may have been rewritten."""
        access = self._access
        if access.access_key:
            return SharedKey(_decoded(access.access_key))
        if access.sas_token:
            return SignedQuery(access.sas_token)
        entra = Entra(access, os.environ)
        if access.lookup_endpoint or not access.use_azuread:
            self._endpoint = entra.endpoint()
        if access.use_azuread:
            text, ends = entra.token("https://storage.azure.com")
            return Token(text, ends)
        return SharedKey(_decoded(entra.account_key()))


def _decoded(key: str) -> bytes:
    try:
        return base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise StoreMisconfigured(
            lines_of("The storage account's key is no base64.", WHERE_CREDENTIALS_COME_FROM)
        ) from None
