"""What is said where a comment on a pull or merge request could not be written: one line, and never an error."""

from __future__ import annotations

from tfguard.report.messages.phrases import fit
from tfguard.text import printable

_NEEDS = {
    "github": "It needs `pull-requests: write`, which a fork's pull request never gets.",
    "gitlab": "It needs a project access token (Reporter, scope api) in TFGUARD_COMMENT_TOKEN.",
}


def no_token(kind: str) -> str:
    """Nothing that may write was given to us."""
    if kind == "gitlab":
        return f"tfguard: no comment was written, as CI_JOB_TOKEN may not. {_NEEDS[kind]}"
    return "tfguard: no comment was written: there is no token. Set `github-token`, or GITHUB_TOKEN."


def refused(kind: str, status: int, *, is_later: bool = False) -> str:
    """The platform said no; `is_later`: to everybody, at this time."""
    if is_later:
        return (
            f"tfguard: no comment was written: there were too many requests (HTTP {status}). Run the job again later."
        )
    if status in (401, 403, 404):
        return f"tfguard: no comment was written: the token may not (HTTP {status}). {_NEEDS[kind]}"
    return fit(f"tfguard: no comment was written: the platform's answer was HTTP {status}.")


def no_answer(error: str) -> str:
    """It may have been written."""
    return fit(f"tfguard: whether the comment was written is not known: {printable(error, 70)}.")


def too_slow(seconds: float) -> str:
    """The run does not wait any longer."""
    return fit(f"tfguard: whether the comment was written is not known: there was no answer within {seconds:.0f} s.")
