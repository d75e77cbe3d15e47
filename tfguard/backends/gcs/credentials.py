"""
A token for Google, found in Terraform's order, and kept fresh.

| order | what |
|---|---|
| 1 | `access_token`, GOOGLE_OAUTH_ACCESS_TOKEN: used as it is |
| 2 | `credentials`, GOOGLE_BACKEND_CREDENTIALS, GOOGLE_CREDENTIALS: a file, or its JSON |
| 3 | GOOGLE_APPLICATION_CREDENTIALS, gcloud's own file, the metadata server |

A service account to impersonate is asked for with whatever was found. google-auth is imported from the second row on:
it is the extra `tfguard[gcs]`.

A heartbeat is sent with the token at hand, and never waits for one: `fresh` keeps it so.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfguard.backends.extras import how_to_install
from tfguard.backends.fresh import Fresh
from tfguard.backends.gcs.answers import WHERE_CREDENTIALS_COME_FROM, lines_of
from tfguard.errors import StoreDenied, StoreMisconfigured, StoreUnavailable
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.backends.gcs.spec import GcsAccess

#: Refresh this long before the end, or when a third of the life is left, whichever is later. Google's own library
#: gives the old token until 3 min 45 s before its end.
EARLY_SECONDS = 3.5 * 60.0
#: What Terraform asks a token for.
SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
_IMPERSONATED_SECONDS = 3600


@dataclass(frozen=True)
class _Token:
    text: str = field(repr=False)
    expires_at: datetime | None = None


class Credentials:
    """The token of one GcsAccess, kept fresh for any number of stores. The first `resolve` may take long."""

    def __init__(self, access: GcsAccess) -> None:
        self._access = access
        self._fresh = Fresh(self._found, EARLY_SECONDS)

    def resolve(self) -> None:
        """
        Find a token, if there is none yet.

        Raises:
            StoreDenied: There are no credentials, or Google does not take them.

            StoreMisconfigured: The extra is not installed; a file that cannot be read, or holds no key.

            StoreUnavailable: Google, or the metadata server, did not answer.
        """
        self._fresh.resolve()

    def token(self) -> str:
        """Return the token at hand; never waits."""
        token = self._fresh.get()
        return token.text if token else ""

    def expires_at(self) -> datetime | None:
        """When the token at hand ends, UTC; None if it does not, or nobody knows."""
        return self._fresh.expires_at()

    def renew_soon(self) -> None:
        """Google said that it has expired: get another, in the background. A token that was given cannot be renewed."""
        if not self._is_given:
            self._fresh.renew_soon()

    def close(self) -> None:
        """Stop refreshing. Stores that are open keep the token."""
        self._fresh.close()

    # --- finding ------------------------------------------------------------------------------------------------

    @property
    def _is_given(self) -> bool:
        return bool(self._access.access_token) and not self._access.impersonate

    def _found(self) -> _Token:
        """Find everything anew: files may have been rewritten."""
        return _Token(self._access.access_token) if self._is_given else self._refreshed(os.environ)

    def _refreshed(self, environ: Mapping[str, str]) -> _Token:
        try:
            from google.auth import exceptions
        except ImportError as error:
            raise StoreMisconfigured(
                "tfguard was installed without what these credentials for Google need.",
                f"{how_to_install('gcs')}. Or give an access token: GOOGLE_OAUTH_ACCESS_TOKEN",
            ) from error
        from tfguard.backends.gcs.asking import Asking

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It warns of what it is given, not of what we do.
            try:
                source = _impersonated(_source(self._access, environ), self._access)
                source.refresh(Asking(environ))
            except exceptions.TransportError as error:
                raise _unanswered(error) from error
            except exceptions.RefreshError as error:
                raise _unanswered(error) if error.retryable else _refused(error) from error
            except (exceptions.GoogleAuthError, ValueError, KeyError, TypeError) as error:
                raise StoreMisconfigured(
                    lines_of(f"The credentials for Google cannot be used: {_words(error)}", WHERE_CREDENTIALS_COME_FROM)
                ) from error
        ends = source.expiry
        return _Token(str(source.token), ends.replace(tzinfo=timezone.utc) if ends else None)


def _source(access: GcsAccess, environ: Mapping[str, str]) -> Any:
    if access.access_token:
        from google.oauth2.credentials import Credentials as GivenToken

        return GivenToken(access.access_token)
    if access.credentials:
        return _loaded(_contents(access.credentials))
    if path := environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return _loaded(_read(Path(path)))
    of_gcloud = _gclouds_file(environ)
    if of_gcloud.exists():
        return _loaded(_read(of_gcloud))
    from google.auth.compute_engine import Credentials as MetadataServer

    return MetadataServer()


def _gclouds_file(environ: Mapping[str, str]) -> Path:
    folder = environ.get("CLOUDSDK_CONFIG")
    home = Path(folder) if folder else Path(environ.get("HOME", "/")) / ".config" / "gcloud"
    return home / "application_default_credentials.json"


def _contents(text: str) -> str:
    return text if "{" in text else _read(Path(text))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise StoreMisconfigured(
            lines_of(f"The credentials in {printable(str(path), 60)} cannot be read: {why}."),
            "Give a key's file or its JSON in `credentials`, GOOGLE_CREDENTIALS or GOOGLE_APPLICATION_CREDENTIALS.",
        ) from error


def _loaded(text: str) -> Any:
    """Make google-auth's credentials of a key's JSON. Raises ValueError where it is none."""
    import google.auth

    try:
        info = json.loads(text)
    except ValueError:
        raise ValueError("they are no JSON") from None  # Its own words might repeat the key.
    return google.auth.load_credentials_from_dict(info, scopes=SCOPES)[0]


def _impersonated(source: Any, access: GcsAccess) -> Any:
    if not access.impersonate:
        return source
    from google.auth.impersonated_credentials import Credentials as Impersonated

    return Impersonated(
        source_credentials=source,
        target_principal=access.impersonate,
        target_scopes=list(SCOPES),
        delegates=list(access.delegates),
        lifetime=_IMPERSONATED_SECONDS,
    )


def _unanswered(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(lines_of(f"A token for Google cannot be had just now: {_words(error)}"))


def _refused(error: Exception) -> StoreDenied:
    return StoreDenied(
        lines_of(f"Google gives no token for these credentials: {_words(error)}", WHERE_CREDENTIALS_COME_FROM),
        action="sign",
        resource="Google credentials",
    )


def _words(error: Exception) -> str:
    return str(error.args[0] if error.args else type(error).__name__)
