"""How what is ours is called in a container. A folder: `KEYenv:…` beside a state would be one of its workspaces."""

from __future__ import annotations

FOLDER = ".tfguard/"
GUARD_SUFFIX = ".lock"
QUEUE_SUFFIX = ".queue"
