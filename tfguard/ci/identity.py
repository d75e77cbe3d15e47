"""
Which CI this is, who started the run, and where to look at it.

One table, a row per platform, tried from the top: the specific before the general, since most platforms also set
`CI=true` and some run inside another's agent. Names of variables are the platforms' own, from their documentation.
Everything found is a stranger's text (a user's name, a job's name): it leaves here printable, on one line and bounded.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from tfguard.text import printable

ProviderName = Literal[
    "github",
    "gitlab",
    "buildkite",
    "circleci",
    "azure",
    "bitbucket",
    "codebuild",
    "jenkins",
    "ci",
    "laptop",
]


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """
    A row of the table.

    `detect`: variables that must all be there, each with its value, or None where any value will do. Texts in braces
    are variables; of several templates the first whose variables are all set is taken. `first_attempt` is the number
    that the platform gives to a run which is no re-run.
    """

    name: ProviderName
    detect: Mapping[str, str | None]
    run: tuple[str, ...]
    link: tuple[str, ...] = ()
    actor: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    attempt: str = ""
    first_attempt: int = 1


PROVIDERS = (
    Provider(
        name="github",
        detect={"GITHUB_ACTIONS": "true"},
        run=("GitHub run {GITHUB_RUN_NUMBER}", "GitHub run {GITHUB_RUN_ID}"),
        link=(
            "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}/attempts/{GITHUB_RUN_ATTEMPT}",
            "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",
        ),
        # Whoever pressed "re-run" is responsible now; GITHUB_ACTOR stays the first one.
        actor=("{GITHUB_TRIGGERING_ACTOR}", "{GITHUB_ACTOR}"),
        host=("{RUNNER_NAME}",),
        attempt="{GITHUB_RUN_ATTEMPT}",  # a re-run keeps GITHUB_RUN_ID
    ),
    Provider(
        name="gitlab",
        detect={"GITLAB_CI": "true"},
        run=("GitLab job {CI_JOB_ID}",),
        link=("{CI_JOB_URL}",),
        actor=("{GITLAB_USER_LOGIN}",),
        host=("{CI_RUNNER_DESCRIPTION}", "runner-{CI_RUNNER_ID}"),
    ),
    Provider(
        name="buildkite",
        detect={"BUILDKITE": "true"},
        run=("Buildkite build {BUILDKITE_BUILD_NUMBER}",),
        link=("{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}",),
        actor=("{BUILDKITE_BUILD_CREATOR}",),
        host=("{BUILDKITE_AGENT_NAME}",),
        attempt="{BUILDKITE_RETRY_COUNT}",
        first_attempt=0,
    ),
    Provider(
        name="circleci",
        detect={"CIRCLECI": "true"},
        run=("CircleCI job {CIRCLE_BUILD_NUM}",),
        link=("{CIRCLE_BUILD_URL}",),
        actor=("{CIRCLE_USERNAME}",),
    ),
    Provider(
        name="azure",
        detect={"TF_BUILD": "True"},
        run=("Azure build {BUILD_BUILDID}",),
        link=("{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",),
        actor=("{BUILD_REQUESTEDFOR}",),
        host=("{AGENT_NAME}",),
        attempt="{SYSTEM_JOBATTEMPT}",
    ),
    Provider(
        name="bitbucket",
        detect={"BITBUCKET_BUILD_NUMBER": None},
        run=("Bitbucket build {BITBUCKET_BUILD_NUMBER}",),
        link=("{BITBUCKET_GIT_HTTP_ORIGIN}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",),
        actor=("{BITBUCKET_STEP_TRIGGERER_UUID}",),
        attempt="{BITBUCKET_STEP_RUN_NUMBER}",
    ),
    Provider(
        name="codebuild",
        detect={"CODEBUILD_BUILD_ARN": None},
        run=("CodeBuild build {CODEBUILD_BUILD_NUMBER}", "CodeBuild build {CODEBUILD_BUILD_ID}"),
        link=("{CODEBUILD_BUILD_URL}",),
        actor=("{CODEBUILD_INITIATOR}",),
    ),
    Provider(
        # Below the others: agents' machines often have JENKINS_URL set for good.
        name="jenkins",
        detect={"JENKINS_URL": None, "BUILD_ID": None},
        run=("Jenkins {JOB_NAME} #{BUILD_NUMBER}", "Jenkins build {BUILD_ID}"),
        link=("{BUILD_URL}",),
        actor=("{BUILD_USER_ID}",),  # with the build-user-vars plugin only
        host=("{NODE_NAME}",),
    ),
)

_VARIABLE = re.compile(r"\{([A-Z_]+)\}")
_MAX_LINK = 500


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """
    Who runs, as everybody will see it: lock record, line, logs.

    `who` is user@host, on a laptop exactly as Terraform writes its own. `run` is short and for people
    (`GitHub run 4812`), `link` an http(s) address; both empty on a laptop.
    """

    provider: ProviderName
    who: str
    run: str = ""
    link: str = ""

    @property
    def is_ci(self) -> bool:
        """Whether a machine started this run."""
        return self.provider != "laptop"


def identify(environ: Mapping[str, str] = os.environ) -> Identity:
    """
    Say who runs here. Never fails: what is missing or malformed is left empty.

    `TFGUARD_WHO` replaces `who`, `TFGUARD_RUN_URL` replaces `link`.
    """
    provider = find_provider(environ)
    identity = _identify_in(provider, environ) if provider else _identify_elsewhere(environ)
    who = _clean(environ.get("TFGUARD_WHO", ""), 128)
    link = _link(environ.get("TFGUARD_RUN_URL", ""))
    return msgspec.structs.replace(identity, who=who or identity.who, link=link or identity.link)


def find_provider(environ: Mapping[str, str]) -> Provider | None:
    """Return the platform's row, None where none of them runs us."""
    return next((row for row in PROVIDERS if _is_here(row, environ)), None)


def _identify_in(provider: Provider, environ: Mapping[str, str]) -> Identity:
    attempt = _attempt(provider, environ)
    run = _first(provider.run, environ)
    return Identity(
        provider=provider.name,
        who=f"{_actor(provider, environ)}@{_host(provider, environ)}",
        run=_clean(run, 80) + (f" attempt {attempt}" if attempt > 1 else ""),
        link=_link(_first(provider.link, environ, in_address=True)),
    )


def _identify_elsewhere(environ: Mapping[str, str]) -> Identity:
    who = f"{_user(environ)}@{_machine()}"
    if _says_ci(environ):
        return Identity(provider="ci", who=who, run="CI run")
    return Identity(provider="laptop", who=who)


def _is_here(provider: Provider, environ: Mapping[str, str]) -> bool:
    return all(
        environ.get(name, "") == value if value is not None else environ.get(name)
        for name, value in provider.detect.items()
    )


def _says_ci(environ: Mapping[str, str]) -> bool:
    return environ.get("CI", "").lower() not in ("", "0", "false", "no")


def _first(templates: tuple[str, ...], environ: Mapping[str, str], *, in_address: bool = False) -> str:
    for template in templates:
        if all(environ.get(name) for name in _VARIABLE.findall(template)):
            return _fill(template, environ, in_address=in_address)
    return ""


def _fill(template: str, environ: Mapping[str, str], *, in_address: bool = False) -> str:
    def value(match: re.Match[str]) -> str:
        text = environ.get(match[1], "")
        # Names of projects have blanks in them; what is an address already must keep its signs.
        return quote(text, safe=":/?#[]@!$&'()*+,;=%~", errors="replace") if in_address else text

    return _VARIABLE.sub(value, template)


def _actor(provider: Provider, environ: Mapping[str, str]) -> str:
    # `user@host` has one @: of an address only the name is kept.
    name = _first(provider.actor, environ).partition("@")[0]
    return _word(name) or _user(environ)


def _host(provider: Provider, environ: Mapping[str, str]) -> str:
    return _word(_first(provider.host, environ)) or _machine()


def _word(text: str) -> str:
    return "-".join(_clean(text, 64).split())


def _user(environ: Mapping[str, str]) -> str:
    # By the user ID, as Terraform does; the variables only where it has no name (a container's arbitrary user).
    try:
        import pwd

        return _clean(pwd.getpwuid(os.getuid()).pw_name, 64)
    except (ImportError, KeyError):
        return _clean(environ.get("USER") or environ.get("LOGNAME") or "", 64)


def _machine() -> str:
    try:
        return _clean(socket.gethostname(), 64)
    except OSError:
        return ""


def _attempt(provider: Provider, environ: Mapping[str, str]) -> int:
    text = _fill(provider.attempt, environ)
    if not re.fullmatch(r"[0-9]{1,6}", text):
        return 1
    return max(1, int(text) - provider.first_attempt + 1)


def _link(text: str) -> str:
    """Return the address without user and password in it; empty where it is none that a browser would open safely."""
    text = text.strip()
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    is_whole = len(text) <= _MAX_LINK and text == _clean(text, _MAX_LINK) and not re.search(r"\s", text)
    if parts.scheme not in ("http", "https") or not parts.netloc or not is_whole:
        return ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _clean(text: str, limit: int) -> str:
    return printable(text.strip(), limit)
