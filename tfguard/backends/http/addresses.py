"""Addresses of the http backend: for people, for files, and of what lies beside a state."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from tfguard.text import printable

#: What is added to the name of a state on GitLab, for the guard and for the queue.
GUARD, QUEUE = "-tfguard", "-tfguard-queue"
#: And for a copy that Terraform could not save, followed by the lock's ID.
COPY = "-tfguard-errored-"


def without_login(address: str) -> str:
    """Return an address without the user and the password in it."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def shown(address: str, at_most: int = 100) -> str:
    """Return an address for people: what might hold a secret is left out."""
    parts = urlsplit(without_login(address))
    return printable(urlunsplit(parts._replace(query="", fragment="")), at_most)
