"""
What a run may do in Consul, and nothing more: rules for the tokens of who plans, and of who applies, on one state.

The lock takes the same in both, since a plan holds it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfguard.errors import ConfigError
from tfguard.text import printable
from tfguard.wire import publish

KIND = "consul"


def rules(config: Mapping[str, Any]) -> str:
    """
    Give both policies, as rules for Consul's ACLs.

    Raises:
        ConfigError: The backend names no path.
    """
    path = config.get("path")
    if not isinstance(path, str) or not path.strip("/"):
        raise ConfigError("The backend names no path.", "Name it as you would to init: --backend-config path=NAME")
    state, below = path, path.rstrip("/") + "/"
    lock = [
        "# the lock, the line, and a state that could not be saved",
        _rule("key_prefix", f"{below}.", "write"),
        "# the session that holds the lock",
        _rule("session_prefix", "", "write"),
    ]
    plan = [
        "# the state, which may be in several parts",
        _rule("key", state, "read"),
        _rule("key_prefix", below, "read"),
    ]
    apply = [line.replace('"read"', '"write"') for line in plan]
    return "\n".join(["### plan", *plan, *lock, "", "### apply", *apply, *lock, ""])


def wrong_backend(kind: str) -> str:
    """Say that these rules are for Consul alone."""
    return (
        f"The backend is {printable(kind, 20)}, and these rules are for Consul.\n"
        "For an s3 backend: tfguard bootstrap --print iam"
    )


def _rule(what: str, name: str, policy: str) -> str:
    return f'{what} {publish(name).decode()} {{ policy = "{policy}" }}'
