"""Terraform's pg backend, as `backends.Backend` asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from tfguard.backends.attributes import Attributes
from tfguard.backends.checks import Checks
from tfguard.backends.pg.conninfo import access_of
from tfguard.backends.pg.locate import pg_lock
from tfguard.backends.pg.spec import PgSpec
from tfguard.backends.spec import Credentials
from tfguard.backends.target import StoreSpec, Target, Unlockable
from tfguard.backends.urls import StoreUrl

requires = ("psycopg",)
urls = {"postgres": "postgres://HOST:PORT/DATABASE?schema=SCHEMA&user=USER"}
fetch = "cp"


def locate(attributes: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:
    """Find the lock of a workspace, as `Backend.locate` has it."""
    return pg_lock(attributes, directory, workspace, environ)


def from_url(url: StoreUrl, name: str, environ: Mapping[str, str]) -> PgSpec:
    """
    Take the row `name` in a schema's table `tfguard`, which is made where there is none; the password is the
    environment's.

        postgres://db.example.com:5432/ops?schema=locks&user=ci&sslmode=verify-full
    """
    options = url.options("schema", "user", "sslmode", "sslrootcert")
    if not url.parts.netloc:
        raise url.wrong("names no host.")
    schema = options.pop("schema", "") or "tfguard"
    query = "&".join(f"{word}={value}" for word, value in options.items())
    text = f"postgres://{url.parts.netloc}{url.parts.path}?{query}"
    return PgSpec(name=name, schema=schema, pg=access_of(text, environ, Path.cwd(), "lock.store"), is_terraforms=False)


def locks_beside(spec: StoreSpec, credentials: Credentials | None) -> Iterator[tuple[str, StoreSpec]]:  # noqa: ARG001 - there are none
    """Return the locks in the same schema that tfguard holds, each by its name, as `Backend` has it."""
    from tfguard.backends.pg.store import PgStore

    assert isinstance(spec, PgSpec)
    with closing(PgStore(spec)) as store:
        names = store.held_names()
    for name in names:
        yield f"{spec.schema}/{name}", msgspec.structs.replace(spec, name=name)


def checks() -> Checks:
    """Return the checks of permissions, and of what stands between us and the server."""
    from tfguard.backends.pg.checks import CHECKS

    return CHECKS
