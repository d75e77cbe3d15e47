"""
What PostgreSQL's answers mean to us.

    answer                                                 becomes
    -----------------------------------------------------  ----------------------------------------------------
    42501: no right to a table, or to end a session        ActionDenied
    password, role or address refused                      StoreDenied
    no such database, schema or table; TLS not as asked    StoreMisconfigured
    what we would make is there                            Present
    22xxx, 42xxx, 25006 (a server that is read only)       StoreMisconfigured
    all else, connections, timeouts                        StoreUnavailable
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfguard.backends.pg.libpq import libpq
from tfguard.errors import ActionDenied, StoreDenied, StoreMisconfigured, StoreUnavailable, TfguardError
from tfguard.text import printable

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

    from tfguard.backends.pg.spec import PgAccess

_GRANTS = "Grant it: tfguard bootstrap --print grants"
_MISSING = {"42P01", "3F000"}
#: `IF NOT EXISTS` says so as well, where another transaction makes the same thing at the same moment.
_PRESENT = {"42P06", "42P07", "42710"}
_UNIQUE_VIOLATION, _CATALOG = "23505", "pg_"
#: What is said of a connection that is refused, the first that fits; it comes without a code.
_REFUSALS: tuple[tuple[str, type[StoreDenied | StoreMisconfigured | StoreUnavailable]], ...] = (
    ("SSL SYSCALL", StoreUnavailable),  # The connection broke off within the handshake.
    ("permission denied", StoreDenied),
    ("password", StoreDenied),
    ("authentication failed", StoreDenied),
    ("pg_hba.conf", StoreDenied),
    ('role "', StoreDenied),
    ('database "', StoreMisconfigured),
    ("SSL", StoreMisconfigured),
    ("certificate", StoreMisconfigured),
)


class Missing(StoreMisconfigured):
    """There is no such table, or no such schema."""


class Present(StoreMisconfigured):
    """There is a schema, a table or a type of that name."""


def refusal(result: PGresult, access: PgAccess, about: str) -> TfguardError:
    """Return what an answer becomes that is an error."""
    field = libpq().DiagnosticField
    code = (result.error_field(field.SQLSTATE) or b"").decode("ascii", "replace")
    said = (result.error_field(field.MESSAGE_PRIMARY) or b"").decode("utf-8", "replace")
    words = f"PostgreSQL at {access.place}: {printable(said, 80)} ({printable(code, 5)})."
    if code == "42501":
        return ActionDenied(words, _GRANTS, action=about or "access", resource=access.place)
    if code in _MISSING:
        return Missing(words, "Check `schema_name` in the backend's configuration, and run: tfguard init")
    constraint = (result.error_field(field.CONSTRAINT_NAME) or b"").decode("utf-8", "replace")
    if code in _PRESENT or (code == _UNIQUE_VIOLATION and constraint.startswith(_CATALOG)):
        return Present(words, "If it is not tfguard's own: rename it, or choose another schema.")
    if code.startswith(("22", "42")) or code == "25006":
        return StoreMisconfigured(words, "Check `conn_str` in the backend's configuration.")
    return StoreUnavailable(words)


def cannot_connect(said: str, access: PgAccess) -> TfguardError:
    """Return what becomes of a connection that was refused with these words, of the server's or of libpq's."""
    last = said.strip().splitlines()[-1] if said.strip() else "no reason given"
    reason = printable(last.rpartition("failed: ")[2].rpartition("FATAL:  ")[2], 120)
    words = f"PostgreSQL at {access.place} refuses us: {reason}."
    kind = next((kind for fragment, kind in _REFUSALS if fragment in last), None)
    if kind is StoreDenied:
        advice = "Check `conn_str`, PG_CONN_STR, or PGUSER and PGPASSWORD."
        return StoreDenied(words, advice, action="CONNECT", resource=access.place)
    if kind is StoreMisconfigured:
        advice = "Check `conn_str`: as for Terraform, sslmode is `require` unless it says otherwise."
        if "certificate" in last:
            advice = (
                "If the server is the right one, name who has signed it: sslrootcert in `conn_str`, or PGSSLROOTCERT."
            )
        return StoreMisconfigured(words, advice)
    return StoreUnavailable(f"No answer from PostgreSQL at {access.place} ({reason}).")
