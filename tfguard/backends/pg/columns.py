"""What our table is made of, for whoever makes it or prints how."""

from __future__ import annotations

#: A name's lock is free where `lock` is NULL.
COLUMNS = (
    "(name text PRIMARY KEY, lock text, beat bigint NOT NULL DEFAULT -1, lease text,"
    " revision bigint NOT NULL DEFAULT 0, queue text)"
)
