"""
What lies beside a state is called after it: Terraform's own things, whose names are given, and ours.

Whoever may run tfguard on a state needs these names and no others: `iam` makes its policies of them.
"""

from __future__ import annotations

import uuid

#: Terraform's: the object that is its lock, the item that holds the state's MD5, the file with a state it cannot save.
LOCK_SUFFIX = ".tflock"
DIGEST_SUFFIX = "-md5"
UNSAVED_STATE = "errored.tfstate"

#: Ours: the queue record, copies of states that could not be saved, and what is written only to try a server.
QUEUE_SUFFIX = ".tfguard"
COPY_MARK = ".errored."
PROBE_MARK = ".tfguard-probe-"


def beside_lock(key: str, suffix: str) -> str:
    """Name what lies beside the state whose lock is the object `key`."""
    return key.removesuffix(LOCK_SUFFIX) + suffix


def probe_suffix() -> str:
    """Return a name for something to try: each time another."""
    return f"{PROBE_MARK}{uuid.uuid4().hex[:8]}"
