"""The table of the platforms to which we say more than a log's lines: a row each, and a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tfguard.ci.github import GitHub
from tfguard.ci.gitlab import GitLab
from tfguard.ci.identity import ProviderName, find_provider
from tfguard.ci.platform import Platform, is_asked

#: By the name that `identity.PROVIDERS` has for it.
PLATFORMS: Mapping[ProviderName, type[Platform]] = {"github": GitHub, "gitlab": GitLab}


def find_platform(environ: Mapping[str, str]) -> Platform | None:
    """Return the platform that this job is to be shown on; None where there is none, or nobody asked for it."""
    provider = find_provider(environ) if is_asked(environ) else None
    kind = PLATFORMS.get(provider.name) if provider else None
    return kind(environ) if kind else None


def find_job(environ: Mapping[str, str]) -> Platform | None:
    """Return the platform whose job we are in, as far as it gives a folder to all steps of a job, asked or not."""
    return next((kind(environ) for kind in PLATFORMS.values() if environ.get(kind.job_folder)), None)


def job_secret(environ: Mapping[str, str]) -> bytes:
    """Return what is known to the steps of this job alone; empty where they need none, or have none."""
    job = find_job(environ)
    names = job.job_secrets if job and not environ.get("TFGUARD_RECORDS") else ()
    if not names or not environ.get(names[0]):
        return b""
    return "\0".join(environ.get(name, "") for name in names).encode("utf-8", "surrogateescape")


def records_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the folder for the records of this job's runs; None where the job's steps share none."""
    job = find_job(environ)
    return Path(environ[job.job_folder], job.records) if job else None
