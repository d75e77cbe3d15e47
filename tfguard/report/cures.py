"""
What to do about a failure that Terraform is known for: one line, or nothing.

Only Terraform's own errors are read, never what a plan shows. What is not in the table is not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tfguard.terraform.diagnostics import Diagnostic

#: What Terraform and OpenTofu say, its lines joined → what helps. The special before the general. What tfguard itself
#: refuses to start, and so says at the end of a run (an errored.tfstate that waits), is not here.
_CURES: tuple[tuple[str, str], ...] = (
    (
        r"created by (?:Terraform|OpenTofu) v?\S+, which is newer than|Unsupported state file format",
        "The state was written by a newer version than runs here: use at least that one in this job.",
    ),
    (
        r"state data in S3 does not have the expected content",
        (
            "The state does not match its digest: if it is the right one, run tfguard doctor --repair-digest, "
            "else restore a former version of it."
        ),
    ),
    (
        r"Backend configuration (?:block )?has changed|Backend type changed|Backend configuration changed",
        "The backend has changed: tfguard init -migrate-state takes the state along, init -reconfigure does not.",
    ),
    (
        r"-lockfile=readonly|Provider dependency changes detected",
        "The lock file in git lacks a provider: run terraform init on your machine, and commit .terraform.lock.hcl.",
    ),
    (
        r"Inconsistent dependency lock file",
        "Lock file and configuration differ: run tfguard init, and commit .terraform.lock.hcl.",
    ),
    (
        (
            r"Required plugins are not installed|Missing required provider|Module not installed|"
            r"Backend initialization required"
        ),
        "The directory is not initialised for this configuration: run tfguard init in this job.",
    ),
    (
        r"\bExpiredToken(?:Exception)?\b|\bRequestExpired\b|token (?:included in the request )?(?:has|is) expired",
        "The credentials have expired: get new ones, for longer than the run takes, and run it again.",
    ),
    (
        (
            r"No valid credential sources found|could not find default credentials|"
            r"unable to build authorizer for Resource Manager API"
        ),
        "There are no credentials here: give this job those of the backend and the providers, and run it again.",
    ),
)


def cure(diagnostics: Iterable[Diagnostic]) -> str:
    """Return what helps against the errors among them, which have no colours; empty where nobody knows."""
    errors = [each for each in diagnostics if each.severity == "error"]
    said = " ".join(" ".join(f"{each.summary} {each.detail}" for each in errors).split())
    return next((cure for known, cure in _CURES if re.search(known, said, re.IGNORECASE)), "")
