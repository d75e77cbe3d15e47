"""
What to do about a failure that Terraform is known for: one line, or nothing.

Only Terraform's own errors are read, never what a plan shows. What is not in the table is not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tfguard.terraform.diagnostics import Diagnostic

#: How Terraform and OpenTofu head an error, which nobody else can; or else what stands anywhere in an error, in words
#: that only they and the services behind them have → what helps. The special before the general. What tfguard itself
#: refuses to start, and so says at the end of a run (an errored.tfstate that waits), is not here.
_CURES: tuple[tuple[str, str, str], ...] = (
    (
        r".*Unsupported state file format",
        r"state snapshot was created by (?:Terraform|OpenTofu) v?\S+, which is newer than",
        "The state was written by a newer version than runs here: use at least that one in this job.",
    ),
    (
        "",
        r"state data in S3 does not have the expected content",
        (
            "The state does not match its digest: if it is the right one, run tfguard doctor --repair-digest, "
            "else restore a former version of it."
        ),
    ),
    (
        r"Backend configuration changed",
        r"Reason: Backend (?:configuration (?:block )?has|type) changed",
        "The backend has changed: tfguard init -migrate-state takes the state along, init -reconfigure does not.",
    ),
    (
        r"Provider dependency changes detected",
        r"-lockfile=readonly",
        "The lock file in git lacks a provider: run terraform init on your machine, and commit .terraform.lock.hcl.",
    ),
    (
        "",
        r"doesn't match any of the checksums previously recorded in the dependency lock file",
        (
            "The lock file has no checksum of a provider for this platform: run terraform providers lock "
            "-platform=OS_ARCH for each that you use, and commit .terraform.lock.hcl."
        ),
    ),
    (
        r"Inconsistent dependency lock file",
        "",
        "Lock file and configuration differ: run tfguard init, and commit .terraform.lock.hcl.",
    ),
    (
        (
            r"Required plugins are not installed|Missing required provider|Module not installed|"
            r"Backend initialization required"
        ),
        "",
        "The directory is not initialised for this configuration: run tfguard init in this job.",
    ),
    (
        "",
        (
            r"api error (?:ExpiredToken|RequestExpired)|\bExpiredToken(?:Exception)?:|"
            r"(?:provided|security|refresh) token (?:included in the request )?(?:has|is) expired|"
            r"SSO session has expired|refresh cached SSO token failed|client secret keys for app .{1,100} are expired|"
            r"invalid_grant\W+(?:Token has been expired|reauth related error)"
        ),
        "The credentials have expired: get new ones, for longer than the run takes, and run it again.",
    ),
    (
        r"Unauthorized$",
        (
            r"api error (?:InvalidClientTokenId|UnrecognizedClientException|InvalidAccessKeyId)\b|"
            r"api error SignatureDoesNotMatch\b|AADSTS7000215|pq: password authentication failed|"
            r"HTTP remote state endpoint (?:requires|invalid) auth"
        ),
        "The credentials are not accepted: look at which ones this job has, and whether they are still in use.",
    ),
    (
        (
            r"No valid credential sources found|.*could not find default credentials|"
            r".*unable to build authorizer for Resource Manager API|"
            r"Attempted to load application default credentials since neither"
        ),
        "",
        "There are no credentials here: give this job those of the backend and the providers, and run it again.",
    ),
)


def cure(diagnostics: Iterable[Diagnostic]) -> str:
    """Return what helps against the errors among them, which have no colours; empty where nobody knows."""
    errors = [each for each in diagnostics if each.severity == "error"]
    said = " ".join(" ".join(f"{each.summary} {each.detail}" for each in errors).split())
    for headed, within, helps in _CURES:
        if headed and any(re.match(headed, each.summary, re.IGNORECASE) for each in errors):
            return helps
        if within and re.search(within, said, re.IGNORECASE):
            return helps
    return ""
