"""From the local backend's attributes to the lock that Terraform itself would take."""

from __future__ import annotations

import os
from pathlib import Path

from tfguard.backends.attributes import Attributes
from tfguard.backends.local.spec import LocalSpec
from tfguard.backends.target import Target
from tfguard.files import absolute
from tfguard.text import printable


def local_lock(settings: Attributes, directory: Path, workspace: str) -> Target:
    """Find the state file of a workspace: it is what is locked."""
    if workspace == "default":
        shown = settings.text("path") or "terraform.tfstate"
    else:
        # `path` is for the default workspace only.
        shown = os.path.normpath(
            os.path.join(settings.text("workspace_dir") or "terraform.tfstate.d", workspace, "terraform.tfstate")
        )
    # The real directory: a link to it may be switched before the lock is taken.
    path = str(absolute(Path(os.path.realpath(directory), shown)))
    label = shown if os.path.isabs(shown) else f"{directory.name}/{shown}"
    return Target(
        label=printable(label), path=shown, backend="local", workspace=workspace, stores=(LocalSpec(path=path),)
    )
