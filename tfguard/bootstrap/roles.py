"""
What a run may do in Google's storage, and nothing more: roles for who plans, and for who applies, on one prefix.

The lock takes the same in both, since a plan holds it too. A condition binds each role to the names of objects that it
is for; who lists has to be allowed to on the whole bucket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfguard.errors import ConfigError
from tfguard.lock.names import LOCK_SUFFIX, QUEUE_SUFFIX

KIND = "gcs"
_READ = ("storage.objects.get", "storage.objects.list")
_LOCK = ("storage.objects.create", "storage.objects.delete", "storage.objects.get", "storage.objects.update")


def roles(config: Mapping[str, Any]) -> dict[str, Any]:
    """
    Give the bindings for plan and for apply: what is allowed, and for which objects (a condition in Google's CEL).

    Raises:
        ConfigError: The backend names no bucket.
    """
    bucket = config.get("bucket")
    if not isinstance(bucket, str) or not bucket:
        raise ConfigError("The backend names no bucket.", "Name it as you would to init: --backend-config bucket=NAME")
    prefix = str(config.get("prefix") or "").strip("/")
    below = f"projects/_/buckets/{bucket}/objects/{prefix}{'/' if prefix else ''}"
    ours = f'resource.name.startsWith("{below}")'
    ends = " || ".join(f'resource.name.endsWith("{suffix}")' for suffix in (LOCK_SUFFIX, QUEUE_SUFFIX))
    whole = f'resource.name == "projects/_/buckets/{bucket}" || {ours}'
    lock = _binding(f"{ours} && ({ends})", *_LOCK)
    return {
        "plan": [_binding(whole, *_READ), lock],
        "apply": [_binding(whole, *_READ), _binding(ours, "storage.objects.create", "storage.objects.delete"), lock],
    }


def _binding(condition: str, *permissions: str) -> dict[str, Any]:
    return {"permissions": list(permissions), "condition": condition}
