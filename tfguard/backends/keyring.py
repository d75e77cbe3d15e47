"""Credentials that are resolved once for all the locks that are reached in the same way."""

from __future__ import annotations

import os

from tfguard.backends.spec import Credentials, LockSpec


class Keyring:
    """Credentials shared by all locks that are reached the same way; resolving them may take a while each time."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Credentials] = {}

    def credentials(self, spec: LockSpec) -> Credentials | None:
        """Return the credentials for this spec and the environment of now, None where it needs none."""
        key = spec.credentials_key(os.environ)
        if not key:
            return None
        way = (spec.backend, key)
        if way not in self._known:
            self._known[way] = spec.credentials()
        return self._known[way]

    def close(self) -> None:
        """Stop keeping them fresh."""
        for each in self._known.values():
            each.close()
