"""What `tfguard doctor` looks at in PostgreSQL: each right that a lock needs, and whether a pooler stands before it."""

from __future__ import annotations

from contextlib import closing

from tfguard.backends.checks import Checks, Examined, tried
from tfguard.backends.pg.answers import Missing
from tfguard.backends.pg.spec import PgSpec
from tfguard.backends.pg.store import PgStore
from tfguard.findings import Answer, failure, ok, warning


def lock_rights(lock: Examined) -> Answer | None:
    """Whether our table may be read and written."""
    store = _store(lock)
    if store is None:
        return None
    with closing(store):
        try:
            found = tried(store.attempts())
        except Missing:
            return warning(
                "the table `tfguard` is not there yet; the first run makes it",
                "It needs CREATE on the schema for that, or somebody who runs: tfguard bootstrap --print grants",
            )
    if found.denied:
        advice = "Run: tfguard bootstrap --print grants. Without it no lock can be held."
        return failure(found.denial(", ".join(found.denied_actions)), advice)
    return ok(", ".join(found.allowed) + ": allowed")


def no_pooler(lock: Examined) -> Answer | None:
    """Whether it is the server itself that answers."""
    store = _store(lock)
    if store is None:
        return None
    with closing(store):
        if store.is_pooled():
            return failure(
                "a pooler answers for the server: there Terraform's own lock may keep nobody out",
                "Name the server itself in `conn_str`, by its own port.",
            )
    return ok("the server itself answers, no pooler")


def _store(lock: Examined) -> PgStore | None:
    spec = next((spec for spec in lock.target.stores if isinstance(spec, PgSpec)), None)
    return PgStore(spec) if spec is not None else None


CHECKS = Checks(rights={"permissions": lock_rights}, places={"pooler": no_pooler})
