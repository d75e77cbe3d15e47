"""What a request can be sent to."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_address(url: str) -> bool:
    """Whether it is an address for http or https: with a host, a port that there may be, and in plain letters."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_good and url.isascii() and url.isprintable() and " " not in url
