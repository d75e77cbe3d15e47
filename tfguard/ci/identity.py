"""
Which CI this is, who started the run, and where to look at it.

One table, a row per platform, tried from the top: the specific before the general, since most platforms also set
`CI=true` and some run inside another's agent. Names of variables are the platforms' own, from their documentation.
Everything found is a stranger's text (a user's name, a job's name): it leaves here printable, on one line and bounded.

Not promised: that two legs of one matrix differ in `key`. Nothing that every platform sets tells them apart; the
lock ID does.
"""

from __future__ import annotations

import json
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
    pull_request: tuple[str, ...] = ()
    attempt: str = ""
    first_attempt: int = 1
    key: tuple[str, ...] = ()


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
        pull_request=("{GITHUB_REF}",),  # refs/pull/7/merge; other events have it in the event's file
        attempt="{GITHUB_RUN_ATTEMPT}",  # a re-run keeps GITHUB_RUN_ID
        key=("{GITHUB_SERVER_URL}", "{GITHUB_REPOSITORY_ID}", "{GITHUB_RUN_ID}", "{GITHUB_JOB}"),
    ),
    Provider(
        name="gitlab",
        detect={"GITLAB_CI": "true"},
        run=("GitLab job {CI_JOB_ID}",),
        link=("{CI_JOB_URL}",),
        actor=("{GITLAB_USER_LOGIN}",),
        host=("{CI_RUNNER_DESCRIPTION}", "runner-{CI_RUNNER_ID}"),
        pull_request=("{CI_MERGE_REQUEST_IID}",),
        key=("{CI_SERVER_URL}", "{CI_JOB_ID}"),  # a retried job has a new ID
    ),
    Provider(
        name="buildkite",
        detect={"BUILDKITE": "true"},
        run=("Buildkite build {BUILDKITE_BUILD_NUMBER}",),
        link=("{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}",),
        actor=("{BUILDKITE_BUILD_CREATOR}",),
        host=("{BUILDKITE_AGENT_NAME}",),
        pull_request=("{BUILDKITE_PULL_REQUEST}",),  # "false" where there is none
        attempt="{BUILDKITE_RETRY_COUNT}",
        first_attempt=0,
        key=("{BUILDKITE_JOB_ID}",),
    ),
    Provider(
        name="circleci",
        detect={"CIRCLECI": "true"},
        run=("CircleCI job {CIRCLE_BUILD_NUM}",),
        link=("{CIRCLE_BUILD_URL}",),
        actor=("{CIRCLE_USERNAME}",),
        pull_request=("{CIRCLE_PULL_REQUEST}",),  # its address
        key=("{CIRCLE_WORKFLOW_ID}", "{CIRCLE_BUILD_NUM}"),  # a re-run has a new number
    ),
    Provider(
        name="azure",
        detect={"TF_BUILD": "True"},
        run=("Azure build {BUILD_BUILDID}",),
        link=("{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",),
        actor=("{BUILD_REQUESTEDFOR}",),
        host=("{AGENT_NAME}",),
        # NUMBER is what people know of a pull request on GitHub; on Azure Repos there is only the ID.
        pull_request=("{SYSTEM_PULLREQUEST_PULLREQUESTNUMBER}", "{SYSTEM_PULLREQUEST_PULLREQUESTID}"),
        attempt="{SYSTEM_JOBATTEMPT}",
        key=("{SYSTEM_COLLECTIONURI}", "{BUILD_BUILDID}", "{SYSTEM_JOBID}"),
    ),
    Provider(
        name="bitbucket",
        detect={"BITBUCKET_BUILD_NUMBER": None},
        run=("Bitbucket build {BITBUCKET_BUILD_NUMBER}",),
        link=("{BITBUCKET_GIT_HTTP_ORIGIN}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",),
        actor=("{BITBUCKET_STEP_TRIGGERER_UUID}",),
        pull_request=("{BITBUCKET_PR_ID}",),
        attempt="{BITBUCKET_STEP_RUN_NUMBER}",
        key=("{BITBUCKET_PIPELINE_UUID}", "{BITBUCKET_STEP_UUID}"),
    ),
    Provider(
        name="codebuild",
        detect={"CODEBUILD_BUILD_ARN": None},
        run=("CodeBuild build {CODEBUILD_BUILD_NUMBER}", "CodeBuild build {CODEBUILD_BUILD_ID}"),
        link=("{CODEBUILD_BUILD_URL}",),
        actor=("{CODEBUILD_INITIATOR}",),
        pull_request=("{CODEBUILD_WEBHOOK_TRIGGER}",),  # pr/7, branch/x, tag/y
        key=("{CODEBUILD_BUILD_ARN}",),
    ),
    Provider(
        # Below the others: agents' machines often have JENKINS_URL set for good.
        name="jenkins",
        detect={"JENKINS_URL": None, "BUILD_ID": None},
        run=("Jenkins {JOB_NAME} #{BUILD_NUMBER}", "Jenkins build {BUILD_ID}"),
        link=("{BUILD_URL}",),
        actor=("{BUILD_USER_ID}",),  # with the build-user-vars plugin only
        host=("{NODE_NAME}",),
        pull_request=("{CHANGE_ID}",),
        key=("{JENKINS_URL}", "{BUILD_TAG}"),
    ),
)

#: What platforms put in front of a pull request's number; a bare number is one too.
_PULL_REQUEST = re.compile(r"(?:refs/pull/|pr/|PR-|https?://.*/)?(\d{1,12})(?:/merge|/head)?")
_VARIABLE = re.compile(r"\{([A-Z_]+)\}")
_MAX_EVENT_BYTES = 4 * 1024 * 1024
_MAX_LINK = 500


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """
    Who runs, as everybody will see it: lock record, line, logs.

    `who` is user@host, on a laptop exactly as Terraform writes its own. `run` is short and for people
    (`GitHub run 4812`), `link` an http(s) address; both empty on a laptop. `pull_request` is its number or empty.
    `attempt` counts from 1. `key` is equal for two processes of the same attempt of the same job.
    """

    provider: ProviderName
    who: str
    run: str = ""
    link: str = ""
    pull_request: str = ""
    attempt: int = 1
    key: str = ""

    @property
    def is_ci(self) -> bool:
        """Whether a machine started this run."""
        return self.provider != "laptop"


def identify(environ: Mapping[str, str] = os.environ) -> Identity:
    """
    Say who runs here. Never fails: what is missing or malformed is left empty.

    `TFGUARD_WHO` replaces `who`, `TFGUARD_RUN_URL` replaces `link`.
    """
    provider = next((row for row in PROVIDERS if _is_here(row, environ)), None)
    identity = _identify_in(provider, environ) if provider else _identify_elsewhere(environ)
    who = _clean(environ.get("TFGUARD_WHO", ""), 128)
    link = _link(environ.get("TFGUARD_RUN_URL", ""))
    return msgspec.structs.replace(identity, who=who or identity.who, link=link or identity.link)


def is_ci(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a CI platform runs us, known to the table or not."""
    return _says_ci(environ) or any(_is_here(row, environ) for row in PROVIDERS)


def escape_github(text: str, *, is_property: bool = False) -> str:
    """Escape text for a GitHub workflow command: its message, or (stricter) one of its properties."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if is_property else text


def _identify_in(provider: Provider, environ: Mapping[str, str]) -> Identity:
    attempt = _attempt(provider, environ)
    run = _first(provider.run, environ)
    return Identity(
        provider=provider.name,
        who=f"{_actor(provider, environ)}@{_host(provider, environ)}",
        run=_clean(run, 80) + (f" attempt {attempt}" if attempt > 1 else ""),
        link=_link(_first(provider.link, environ, in_address=True)),
        pull_request=_pull_request(provider, environ),
        attempt=attempt,
        key=_clean("/".join([provider.name, *(_fill(part, environ) for part in provider.key), str(attempt)]), 400),
    )


def _identify_elsewhere(environ: Mapping[str, str]) -> Identity:
    who = f"{_user(environ)}@{_machine()}"
    if _says_ci(environ):
        return Identity(provider="ci", who=who, run="CI run", key=f"ci/{who}")
    return Identity(provider="laptop", who=who, key=f"laptop/{who}")


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


def _pull_request(provider: Provider, environ: Mapping[str, str]) -> str:
    match = _PULL_REQUEST.fullmatch(_first(provider.pull_request, environ))
    if match:
        return match[1]
    if provider.name == "github" and environ.get("GITHUB_EVENT_NAME", "").startswith(("pull_request", "issue")):
        return _pull_request_of_event(environ.get("GITHUB_EVENT_PATH", ""))
    return ""


def _pull_request_of_event(path: str) -> str:
    """Read the number from GitHub's event file: `pull_request_target` and comments have a branch as their ref."""
    try:
        with open(path, "rb") as file:
            event = json.loads(file.read(_MAX_EVENT_BYTES))
        subject = event.get("pull_request") or event["issue"]
        # An issue that is no pull request has no such key.
        number = subject["number"] if "pull_request" in event or "pull_request" in subject else 0
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return str(number) if isinstance(number, int) and number > 0 else ""


def _link(text: str) -> str:
    """Give the address without user and password in it; empty where it is none that a browser would open safely."""
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
    # Bytes that are no UTF-8 reach us as lone surrogates, which no encoder of ours takes.
    return printable(text.encode("utf-8", "replace").decode("utf-8").strip(), limit)
