"""Backends that make everything by themselves, and what a user needs there all the same: a token."""

from __future__ import annotations

_HCP = (
    "HCP Terraform keeps the states, and `terraform init` makes the workspace: there is nothing to create. Init needs a"
    " token that may create workspaces (terraform login), and runs one that may write in it."
)
_NOTHING = {
    "http": (
        "A server of the http backend makes a state with its first write: there is nothing to create. GitLab wants a"
        " token with the role Maintainer: in a job CI_JOB_TOKEN, elsewhere an access token with the scope api."
    ),
    "cloud": _HCP,
    "remote": _HCP,
}


def nothing_to_make(kind: str) -> str:
    """Say that there is nothing to create for this type of backend, and what is needed; empty where there may be."""
    return _NOTHING.get(kind, "")
