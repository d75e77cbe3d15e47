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
    from tfguard.backends.gcs.asking import Asking
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
            asking = Asking(environ)
            try:
                source = _impersonated(_source(self._access, environ, asking), self._access)
                source.refresh(asking)
            except exceptions.TransportError as error:
                raise _unanswered(error, asking) from error
            except (exceptions.GoogleAuthError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise _failed(error, asking) from error
        ends = source.expiry
        return _Token(str(source.token), ends.replace(tzinfo=timezone.utc) if ends else None)


def _source(access: GcsAccess, environ: Mapping[str, str], asking: Asking) -> Any:
    if access.access_token:
        from google.oauth2.credentials import Credentials as GivenToken

        return GivenToken(access.access_token)
    if access.credentials:
        return _loaded(_contents(access.credentials), access.credentials, asking)
    if path := environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return _loaded(_read(Path(path)), path, asking)
    of_gcloud = _gclouds_file(environ)
    if os.path.exists(of_gcloud):
        return _loaded(_read(of_gcloud), str(of_gcloud), asking)
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


def _loaded(text: str, given: str, asking: Asking) -> Any:
    """Make google-auth's credentials of a key's JSON, `given` so or as a path. Raises ValueError where it is none."""
    import google.auth
    from google.auth.credentials import with_scopes_if_required

    try:
        info = json.loads(text)
    except ValueError:
        raise ValueError("they are no JSON") from None  # Its own words might repeat the key.
    if _names_program(info):
        from tfguard.backends.gcs import executable

        executable.refuse_checkouts(given)
        executable.take_over()
    # Scopes come later: with them it would ask at once for the name of a federation's project, which nobody needs. And
    # without somebody to ask it would import requests, which the extra does not bring.
    return with_scopes_if_required(google.auth.load_credentials_from_dict(info, request=asking)[0], SCOPES)


def _names_program(info: object) -> bool:
    if isinstance(info, dict):
        return "executable" in info or any(map(_names_program, info.values()))
    return False


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


def _failed(error: Exception, asking: Asking) -> StoreUnavailable | StoreDenied | StoreMisconfigured:
    """Return what becomes of it: who was not asked has refused nothing, and a later answer may be another."""
    from google.auth import exceptions

    from tfguard.backends.gcs.asking import NoToken

    if asking.is_told_to_wait or getattr(error, "retryable", False):
        return _unanswered(error, asking)
    if asking.status is None and not isinstance(error, NoToken):
        said = f"The credentials for Google cannot be used: {_words(error, asking)}"
        return StoreMisconfigured(lines_of(said, WHERE_CREDENTIALS_COME_FROM))
    if not isinstance(error, exceptions.GoogleAuthError):
        return _unanswered(ValueError("what came is not Google's"), asking)
    said = f"Google gives no token for these credentials: {_words(error, asking)}"
    return StoreDenied(lines_of(said, WHERE_CREDENTIALS_COME_FROM), action="sign", resource="Google credentials")


def _unanswered(error: Exception, asking: Asking) -> StoreUnavailable:
    return StoreUnavailable(lines_of(f"A token for Google cannot be had just now: {_words(error, asking)}"))


def _words(error: Exception, asking: Asking) -> str:
    if said := asking.said():
        return asking.without_secrets(said)
    words, *rest = [*error.args] or [type(error).__name__]
    if rest and words == rest[0]:  # A whole page, which is no answer of Google's.
        words = "a job's token cannot be exchanged"
    return asking.without_secrets(f"{words}: the answer was {asking.status}" if asking.is_refused else str(words))
