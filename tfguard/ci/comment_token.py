"""
Whether a job asks for a comment, and with which token it is written.

The token reaches us in a variable, and Terraform with all its providers would inherit that. So it is taken out of the
environment as soon as we start (`take_token`), before anything of ours could start a program.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from tfguard import redaction

#: Asks for a comment; our action and our template set it.
SWITCH = "TFGUARD_COMMENT"
TOKEN = "TFGUARD_COMMENT_TOKEN"  # noqa: S105 - a name  # nosec B105
_YES = frozenset({"1", "true", "yes"})
_taken = ""


def wants_comment(environ: Mapping[str, str]) -> bool:
    """Whether the job asks for a comment."""
    return environ.get(SWITCH, "").lower() in _YES


def take_token(environ: MutableMapping[str, str]) -> None:
    """Take the token out of our environment, once; from now on it is masked wherever we speak."""
    global _taken
    found = environ.pop(TOKEN, "").strip()
    if found:
        _taken = found
        redaction.register_secrets([found])


def token(environ: Mapping[str, str], kind: str) -> str:
    """Return what may write the comment; empty where the job gives us nothing."""
    # GitLab's CI_JOB_TOKEN may read, and write no note.
    return _taken or (environ.get("GITHUB_TOKEN", "") if kind == "github" else "")
