"""A run told in one comment: found again, renewed, and never a job's failure."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.report.comments import STRANGER, Site, served
from tests.report.page import Rendered
from tests.support.authority import Authority
from tests.support.eventually import patience
from tests.support.serving import replying
from tfguard import redaction
from tfguard.ci import comment_token
from tfguard.ci.discussion import Discussion, find_discussion
from tfguard.errors import Outcome
from tfguard.report import comment
from tfguard.report.job_page import JobPage
from tfguard.report.run_ended import RunEnded
from tfguard.report.summary import Page
from tfguard.terraform.plan_json import PlannedChanges

TOKEN = "ghs_abcdefgh12345678"
PAGE = Page(label="prod/net work", outcome="succeeded", exit_code=0, command="plan", text="Plan: 1 to add.")


@pytest.fixture(autouse=True)
def _taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a process of its own, as far as a token goes."""
    monkeypatch.setattr(comment_token, "_taken", "")
    monkeypatch.setattr(redaction, "_secrets", redaction._secrets)
    monkeypatch.setattr(redaction, "_forms", redaction._forms)


@pytest.fixture(params=["github", "gitlab"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with served(Site(request.param)) as found:
        yield found


@pytest.fixture
def tell(
    site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Tell of a page from a job of run number `run` at `commit`; gives what stood in the log."""
    monkeypatch.setattr(comment, "_SECONDS", patience(10))

    def run(page: Page = PAGE, run: int = 100, commit: str = "a" * 40, token: str = TOKEN, **more: str) -> str:
        environ = environment(site, tmp_path, run, commit) | {comment_token.TOKEN: token} | more
        comment_token.take_token(environ)
        assert comment_token.TOKEN not in environ
        listener = comment.listen(environ, ())
        assert listener is not None
        listener.finish(page)
        return capfd.readouterr().err

    return run


def environment(site: Site, folder: Path, run: int, commit: str) -> dict[str, str]:
    if site.kind == "gitlab":
        return {
            "GITLAB_CI": "true",
            "CI_API_V4_URL": site.url,
            "CI_PROJECT_ID": "9",
            "CI_OPEN_MERGE_REQUESTS": "acme/infra!5,acme/other!6",
            "CI_COMMIT_SHA": commit,
            "CI_PIPELINE_ID": str(run),
            "CI_JOB_ID": str(run),
        }
    (folder / "event.json").write_text(json.dumps({"pull_request": {"number": 5, "head": {"sha": commit}}}))
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": site.url,
        "GITHUB_REPOSITORY": "acme/infra",
        "GITHUB_REF": "refs/pull/5/merge",
        "GITHUB_EVENT_PATH": str(folder / "event.json"),
        "GITHUB_SHA": "f" * 40,
        "GITHUB_RUN_ID": str(run),
        "GITHUB_RUN_ATTEMPT": "1",
    }


def test_there_is_one_comment_of_each_label_renewed_in_place(site: Site, tell: Callable[..., str]) -> None:
    site.write("first!", STRANGER, is_bot=False)

    assert tell() == tell(msgspec.structs.replace(PAGE, label="prod/app")) == ""
    assert tell(msgspec.structs.replace(PAGE, outcome="failed"), run=101) == ""

    first, network, app = site.bodies
    assert first == "first!"
    assert network.startswith("<!-- tfguard prod/net%20work -->\n") and "failed" in network
    assert "<code>prod/app</code>" in app
    assert not Rendered(network).broken
    sent = {headers.get("Authorization") or headers.get("PRIVATE-TOKEN") for headers in site.headers}
    assert sent <= {TOKEN, f"Bearer {TOKEN}"}


def test_what_was_said_of_a_former_commit_is_folded_below(site: Site, tell: Callable[..., str]) -> None:
    tell(msgspec.structs.replace(PAGE, text="the first"), run=1, commit="a" * 40)
    tell(msgspec.structs.replace(PAGE, text="the second"), run=2, commit="b" * 40)
    tell(msgspec.structs.replace(PAGE, text="the third"), run=3, commit="c" * 40)
    tell(msgspec.structs.replace(PAGE, text="once more"), run=4, commit="c" * 40)

    (body,) = site.bodies
    rendered = Rendered(body)
    assert "once more" in body and not {"the first", "the second", "the third"} & set(body.split("\n"))
    assert not rendered.broken
    tell(msgspec.structs.replace(PAGE, text="the fifth"), run=5, commit="d" * 40)
    (body,) = site.bodies
    assert body.index("the fifth") < body.index("Superseded: commit <code>ccccccccc</code>") < body.index("once more")
    assert not Rendered(body).broken


def test_an_older_run_leaves_a_newer_ones_comment_alone(site: Site, tell: Callable[..., str]) -> None:
    tell(run=20)
    before = site.bodies

    assert tell(msgspec.structs.replace(PAGE, text="too late"), run=19) == ""
    assert site.bodies == before


def test_a_strangers_comment_with_our_mark_is_not_ours(site: Site, tell: Callable[..., str]) -> None:
    fake = "<!-- tfguard prod/net%20work -->\n<!-- tfguard run 999.1  -->\n\nall is well"
    site.write(fake, STRANGER, is_bot=False)

    tell()

    assert site.bodies[0] == fake and len(site.bodies) == 2


def test_a_persons_token_finds_that_persons_comments(site: Site, tell: Callable[..., str]) -> None:
    site.write("<!-- tfguard prod/net%20work -->\n", STRANGER)

    tell(token="ghp_abcdefgh12345678")
    tell(token="ghp_abcdefgh12345678", run=101)

    assert len(site.bodies) == 2 and "GET /user" in site.asked


def test_a_comment_is_found_behind_hundreds_of_others(site: Site, tell: Callable[..., str]) -> None:
    for number in range(150):
        site.write(f"comment {number}")
    tell()

    tell(run=101)

    assert len(site.bodies) == 151


def test_two_jobs_that_told_of_one_label_at_once_leave_one_comment(site: Site, tell: Callable[..., str]) -> None:
    tell()
    site.write(site.bodies[0])

    tell(run=101)

    assert len(site.bodies) == 1 and "run 101." in site.bodies[0]


def test_a_long_page_is_cut_to_what_the_platform_takes(site: Site, tell: Callable[..., str]) -> None:
    text = "é<&\n" * 400_000

    assert tell(msgspec.structs.replace(PAGE, text=text)) == ""
    assert tell(msgspec.structs.replace(PAGE, text=text), run=101, commit="b" * 40) == ""

    (body,) = site.bodies
    assert not Rendered(body).broken
    assert len(body.encode()) <= comment.LIMIT_BYTES[site.kind]


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_a_refusal_is_one_line(site: Site, tell: Callable[..., str], status: int) -> None:
    site.refuses = {"POST": status}

    said = tell()

    assert said.startswith("tfguard: no comment was written") and said.count("\n") == 1 and f"HTTP {status}" in said
    assert not site.bodies


@pytest.mark.parametrize("fault", [429, 502, 503, -1])
def test_what_comes_at_a_bad_time_is_tried_once_more(site: Site, tell: Callable[..., str], fault: int) -> None:
    site.faults = [fault]

    assert tell() == ""
    assert len(site.bodies) == 1


@pytest.mark.parametrize(("status", "headers"), [(403, {"X-RateLimit-Remaining": "0"}), (403, {"Retry-After": "9999"})])
def test_too_many_requests_are_not_the_tokens_fault(
    site: Site, tell: Callable[..., str], status: int, headers: dict[str, str]
) -> None:
    site.faults, site.fault_headers = [status], headers

    said = tell()

    assert said == (
        f"tfguard: no comment was written: there were too many requests (HTTP {status}). Run the job again later.\n"
    )


def test_each_workspace_of_a_pipeline_has_its_comment(site: Site, tell: Callable[..., str]) -> None:
    for workspace in ("blue", "green", "default", "", "blue"):
        tell(msgspec.structs.replace(PAGE, workspace="what the pipeline says", job_workspace=workspace))

    assert len(site.bodies) == 3
    tell(Page(label=PAGE.label, outcome="config-error", exit_code=78, job_workspace="blue"))
    assert "config-error" in site.bodies[0] and len(site.bodies) == 3


def test_a_gitlab_with_an_authority_of_its_own_is_believed_as_the_runner_believes_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    authority, site = Authority(tmp_path), Site("gitlab")

    with replying(site.reply, authority.context("127.0.0.1")) as url:
        site.url = url.replace("http:", "https:")
        environ = environment(site, tmp_path, 1, "a" * 40)
        comment_token.take_token(given := {comment_token.TOKEN: TOKEN})
        for more in ({}, {"CI_SERVER_TLS_CA_FILE": str(tmp_path / "none")}):
            told = comment.listen({**environ, **given, **more}, ())
            assert told is not None
            told.finish(PAGE)
            assert "is not trusted" in capfd.readouterr().err
        told = comment.listen({**environ, "CI_SERVER_TLS_CA_FILE": str(authority.file)}, ())
        assert told is not None
        told.finish(PAGE)

    assert capfd.readouterr().err == "" and len(site.bodies) == 1


def test_who_tells_for_a_killed_step_knows_the_workspace_that_it_named(tmp_path: Path) -> None:
    environ = environment(Site("github"), tmp_path, 1, "a" * 40) | {
        "RUNNER_TEMP": str(tmp_path),
        "TFGUARD_COMMENT": "1",
    }
    page = JobPage.of({**environ, "TF_WORKSPACE": "blue"})
    assert page is not None
    page.begin("prod", "apply").close()

    later = JobPage.of_killed(environ, page.record)

    assert later is not None
    told = later._page(RunEnded(label="prod", outcome=Outcome.FAILED, exit_code=1))
    later.forget()
    assert told.job_workspace == "blue"


def test_a_value_that_looks_like_a_mark_of_ours_ends_no_page(site: Site, tell: Callable[..., str]) -> None:
    text = "  # a.b will be created\n  + r {\n      + x = <<-EOT\n            <!-- tfguard former -->\n        EOT\n"
    changes = PlannedChanges(1, has_changes=True, rows=(("create", "a.b"),))
    tell(msgspec.structs.replace(PAGE, text=text, changes=changes))
    tell(msgspec.structs.replace(PAGE, text="the second"), run=101, commit="b" * 40)

    (body,) = site.bodies
    assert Rendered(body).broken == [] and body.count("</details>") == 4


def test_nothing_in_a_page_is_a_command_to_gitlab(site: Site, tell: Callable[..., str]) -> None:
    text = "Outputs:\n\no = <<EOT\n/close\n  /merge\nEOT\nError: no\n/approve\n"
    tell(msgspec.structs.replace(PAGE, outcome="failed", text=text))

    (body,) = site.bodies
    assert not [line for line in body.split("\n") if line.lstrip().startswith("/")]
    assert Rendered(body).all("pre", within="details") == [text.strip()]


def test_a_comment_that_may_have_been_written_is_not_written_twice(site: Site, tell: Callable[..., str]) -> None:
    site.loses = "POST"

    said = tell()

    assert "whether the comment was written is not known" in said
    assert len(site.bodies) == 1 and [asked for asked in site.asked if asked.startswith("POST")] == site.asked[-1:]


@pytest.mark.parametrize(
    ("command", "outcome", "label", "is_told"),
    [
        ("plan -destroy", "succeeded", "prod", True),
        ("state mv", "succeeded", "prod", True),
        ("exec", "failed", "prod", True),
        ("", "config-error", "prod", True),
        ("init", "failed", "prod", True),
        ("init", "succeeded", "prod", False),
        ("validate", "failed", "prod", False),
        ("fmt", "succeeded", "prod", False),
        ("", "usage-error", "tfguard", False),
    ],
)
def test_only_what_there_is_to_discuss_is_told(
    site: Site, tell: Callable[..., str], command: str, outcome: str, label: str, is_told: bool
) -> None:
    tell(Page(label=label, outcome=outcome, exit_code=1, command=command))

    assert len(site.bodies) == is_told


def test_a_slow_platform_keeps_no_run_waiting(
    site: Site, tell: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comment, "_SECONDS", 0.2)
    site.delay = 1.0

    assert "there was no answer within 0 s" in tell()


def test_without_a_token_it_is_said_what_is_needed(site: Site, tell: Callable[..., str]) -> None:
    said = tell(token="", CI_JOB_TOKEN="glcbt-x")

    assert "no comment was written" in said and not site.asked
    assert ("TFGUARD_COMMENT_TOKEN" if site.kind == "gitlab" else "github-token") in said


def test_a_secret_stays_out_of_the_comment_and_of_what_is_said(site: Site, tell: Callable[..., str]) -> None:
    secret = "s3cr3t-value-of-the-token"

    said = tell(msgspec.structs.replace(PAGE, text=f"echo {secret}", label=f"x {secret}"), token=secret)

    assert secret not in "".join(site.bodies) + said and site.bodies


def test_an_event_that_is_a_pipe_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "event")
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "a/b", "GITHUB_REF": "refs/pull/12/merge"}

    found = find_discussion({**environ, "GITHUB_EVENT_PATH": str(tmp_path / "event")})

    assert found is not None and found.number == 12


@pytest.mark.parametrize(
    ("environ", "number"),
    [
        ({"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "a/b", "GITHUB_REF": "refs/pull/12/merge"}, 12),
        ({"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "a/b", "GITHUB_REF": "refs/heads/main"}, None),
        ({"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "a/b", "EVENT": '{"issue": {"number": 4}}'}, None),
        (
            {
                "GITHUB_ACTIONS": "true",
                "GITHUB_REPOSITORY": "a/b",
                "EVENT": '{"issue": {"number": 4, "pull_request": {"url": ""}}}',
            },
            4,
        ),
        ({"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "a/b", "EVENT": "["}, None),
        ({"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "a/../b", "GITHUB_REF": "refs/pull/12/merge"}, None),
        ({"GITLAB_CI": "true", "CI_API_V4_URL": "x", "CI_PROJECT_ID": "1", "CI_MERGE_REQUEST_IID": "3"}, 3),
        ({"GITLAB_CI": "true", "CI_API_V4_URL": "x", "CI_PROJECT_ID": "1"}, None),
        ({"GITLAB_CI": "true", "CI_API_V4_URL": "x", "CI_OPEN_MERGE_REQUESTS": "a/b!4,c/d!5"}, 4),
        ({}, None),
    ],
)
def test_the_pull_request_is_the_jobs(tmp_path: Path, environ: dict[str, str], number: int | None) -> None:
    (tmp_path / "event").write_text(environ.get("EVENT", "{}"))

    found = find_discussion({**environ, "GITHUB_EVENT_PATH": str(tmp_path / "event")})

    assert (found.number if isinstance(found, Discussion) else None) == number
