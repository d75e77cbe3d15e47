"""
What a run may do in Azure's storage, and nothing more: a role for who plans, and for who applies, on one container.

Both are the same. The lock is on the state's own blob, a plan takes it too, and Azure has no right to lease a blob that
is not the right to write it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfguard.errors import ConfigError

KIND = "azurerm"
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
#: Reading is listing too; writing is leasing and naming too.
_ACTIONS = ("read", "write", "delete")


def roles(config: Mapping[str, Any]) -> dict[str, Any]:
    """
    Give the roles for plan and for apply: which actions on data, and where.

    Raises:
        ConfigError: The backend names no account, or no container.
    """
    found = {name: config.get(name) for name in ("storage_account_name", "container_name")}
    for name, value in found.items():
        if not isinstance(value, str) or not value:
            raise ConfigError(f"The backend has no `{name}`.", f"Name it as to init: --backend-config {name}=NAME")
    names = {name: config.get(name) or f"<{name}>" for name in ("subscription_id", "resource_group_name")}
    scope = (
        f"/subscriptions/{names['subscription_id']}/resourceGroups/{names['resource_group_name']}"
        f"/providers/Microsoft.Storage/storageAccounts/{found['storage_account_name']}"
        f"/blobServices/default/containers/{found['container_name']}"
    )
    role = {"dataActions": [f"{_BLOBS}/{action}" for action in _ACTIONS], "scope": scope}
    return {"plan": role, "apply": role}
