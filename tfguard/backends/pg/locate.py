"""From the pg backend's attributes to the lock that Terraform itself would take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tfguard.backends.attributes import Attributes
from tfguard.backends.pg.conninfo import access_of
from tfguard.backends.pg.spec import PgProbe, PgSpec
from tfguard.backends.target import Target
from tfguard.text import printable

_SCHEMA = "terraform_remote_state"


def pg_lock(settings: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target:
    """Find the lock of a workspace."""
    conn_str = settings.text("conn_str") or environ.get("PG_CONN_STR", "")
    schema = settings.text("schema_name") or environ.get("PG_SCHEMA_NAME", "") or _SCHEMA
    access = access_of(conn_str, environ, directory, "the pg backend")
    spec = PgSpec(name=workspace, schema=schema, pg=access)
    path = f"{access.database or access.user}/{schema}/{workspace}"
    return Target(
        label=printable(path),
        path=path,
        backend="pg",
        workspace=workspace,
        stores=(spec,),
        probe=None if workspace == "default" else PgProbe(workspace=workspace, lock=spec),
    )
