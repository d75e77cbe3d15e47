"""
What a run may do in PostgreSQL, and nothing more: grants for the role of who plans, and of who applies.

The lock takes the same in both, since a plan holds it too. Our table is made here, by somebody who may: the roles need
no CREATE then. The session that holds the lock is its own role's, who may end it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tfguard.backends.pg.columns import COLUMNS
from tfguard.text import printable

KIND = "pg"
_DEFAULT_SCHEMA = "terraform_remote_state"


def grants(config: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> str:
    """Give both roles' grants, as SQL for `psql -v planner=ROLE -v applier=ROLE`."""
    named = config.get("schema_name") or environ.get("PG_SCHEMA_NAME") or _DEFAULT_SCHEMA
    schema = '"' + str(named).replace('"', '""') + '"'
    return "\n".join(
        [
            "-- psql -v planner=ROLE -v applier=ROLE, once, as the schema's owner, after tfguard init",
            f"CREATE TABLE IF NOT EXISTS {schema}.tfguard {COLUMNS};",
            "-- the lock, the line, the history",
            f'GRANT USAGE ON SCHEMA {schema} TO :"planner", :"applier";',
            f'GRANT SELECT, INSERT, UPDATE ON {schema}.tfguard TO :"planner", :"applier";',
            "-- the states; skip_schema_creation, skip_table_creation and skip_index_creation = true in the backend",
            f'GRANT SELECT ON {schema}.states TO :"planner";',
            f'GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.states TO :"applier";',
            'GRANT USAGE ON SEQUENCE public.global_states_id_seq TO :"applier";',
            "-- whoever is to take over from, or to unlock, runs of other roles",
            '-- GRANT pg_signal_backend TO :"applier";',
            "",
        ]
    )


def wrong_backend(kind: str) -> str:
    """Say that these grants are for PostgreSQL alone."""
    return (
        f"The backend is {printable(kind, 20)}, and these grants are for PostgreSQL.\n"
        "For an s3 backend: tfguard bootstrap --print iam"
    )
