"""
TF_WORKSPACE as we set it: the workspace that is locked, whatever is selected in the directory by now.

Everything that Terraform starts inherits it. Where a provisioner runs a tfguard, perhaps in another directory, that one
unsets it again and looks for itself. A plain Terraform there keeps it, as it would a TF_WORKSPACE of the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

#: What we have put into TF_WORKSPACE, for a tfguard that inherits both.
PINNED = "TFGUARD_PINNED_WORKSPACE"


def pin(environ: Mapping[str, str], workspace: str) -> dict[str, str]:
    """Return the environment with this workspace pinned; as it was where it says so already."""
    if environ.get("TF_WORKSPACE") == workspace:
        return dict(environ)
    return {**environ, "TF_WORKSPACE": workspace, PINNED: workspace}


def unpin(environ: MutableMapping[str, str]) -> None:
    """Take out of our own environment what a tfguard around us has pinned, unless somebody has changed it since."""
    workspace = environ.pop(PINNED, None)
    if workspace is not None and environ.get("TF_WORKSPACE") == workspace:
        del environ["TF_WORKSPACE"]
