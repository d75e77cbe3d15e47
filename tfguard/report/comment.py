"""
A run told in a comment on the pull or merge request that its job runs for: one for each label, renewed in place.

The comment is found by a mark that nobody sees. A run that is older than the one it tells of leaves it alone. What it
said of another commit is folded below, as long as there is room. Whatever goes wrong is one line in the log: a comment
fails no job, and keeps none waiting for more than ten seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from tfguard import redaction, threads
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.ci.comment_token import token
from tfguard.ci.discussion import Discussion, find_discussion
from tfguard.ci.platforms import find_platform
from tfguard.clock import SystemClock, WaitingClock
from tfguard.errors import TfguardError
from tfguard.outlet import write_to_stderr
from tfguard.report import log, summary
from tfguard.report.comment_site import SITES, CommentSite, SiteRefused
from tfguard.report.listener import Reports
from tfguard.report.messages import commenting
from tfguard.terraform.commands import find
from tfguard.text import harmless

#: For all requests together.
_SECONDS = 10.0
#: GitHub takes 65,536 signs, GitLab 1,000,000; bytes are never fewer than signs.
LIMIT_BYTES = {"github": 65_000, "gitlab": 990_000}
_STAMP = re.compile(r"<!-- tfguard run (\d{1,18})\.(\d{1,18}) ([0-9a-f]{0,64}) -->\n\n")
_FORMER = "<!-- tfguard former -->"
#: In a diff, which may say the same, no line of a value begins at the margin.
_AT_FORMER = re.compile(rf"^{_FORMER}$", re.MULTILINE)


class _Budget:
    """The time that there is for all of it."""

    def __init__(self, clock: WaitingClock) -> None:
        self._clock = clock
        self._until = clock.boottime() + _SECONDS

    def left(self) -> float:
        return self._until - self._clock.boottime()

    def rest(self, seconds: float) -> None:
        self._clock.sleep(seconds)


class PullRequestComment:
    """A listener."""

    def __init__(self, environ: Mapping[str, str], about: Discussion) -> None:
        self._environ = environ
        self._about = about

    def finish(self, page: summary.Page) -> None:
        """Write the comment, or say in a line why there is none, though there should be."""
        if not _is_told(page):
            return
        problem: list[str] = []
        # In a thread: however slowly an answer drips in, the run ends in time.
        writing = threads.start(
            "comment",
            lambda: self._write(page, problem),
            on_defect=lambda error: problem.append(commenting.no_answer(type(error).__name__)),
        )
        writing.join(_SECONDS)
        if writing.is_alive():
            problem = [commenting.too_slow(_SECONDS)]
        for text in problem[:1]:
            self._notice(text)

    def _write(self, page: summary.Page, problem: list[str]) -> None:
        kind = self._about.kind
        given = token(self._environ, kind)
        if not given:
            problem.append(commenting.no_token(kind))
            return
        try:
            site = SITES[kind](self._about, given, self._environ, _Budget(SystemClock()))
            write(site, self._about, page)
        except SiteRefused as error:
            problem.append(commenting.refused(kind, error.status, is_later=error.is_later))
        except (NoAnswer, TfguardError, ValueError) as error:
            problem.append(commenting.no_answer(str(error)))

    def _notice(self, text: str) -> None:
        text = harmless(redaction.redact(text))
        log.get_logger().debug("comment.failed", error=text)
        platform = find_platform(self._environ)
        line = platform.annotation("notice", text, 1) if platform else ""
        write_to_stderr(f"{line or text}\n")


def listen(environ: Mapping[str, str], _: Reports) -> PullRequestComment | None:
    about = find_discussion(environ)
    return PullRequestComment(environ, about) if about else None


def _is_told(page: summary.Page) -> bool:
    """
    Whether there is anything to discuss: what has planned or changed something, or was to.

    Not an `init` or a `validate` of the same job, which would replace that; nor what went wrong before anybody knew
    what it was about: nothing would ever renew it.
    """
    if page.label == summary.NOBODYS:
        return False
    row = find(page.command.split())
    return row is None or row.takes_lock or (row.name == "init" and page.outcome != "succeeded")


def write(site: CommentSite, about: Discussion, page: summary.Page) -> None:
    """
    Renew the comment about this label, or write the first one; what came twice is removed.

    Raises SiteRefused, NoAnswer.
    """
    mark = _mark(page)
    found = site.own(mark)
    if not found:
        site.create(body(mark, about, page, ""))
        return
    first, *others = found
    if _order(first.body) > about.order:  # A newer run was quicker.
        return
    site.renew(first.id, body(mark, about, page, first.body))
    for each in others:  # Two jobs have told of one label at once.
        site.remove(each.id)


def _mark(page: summary.Page) -> str:
    """
    What the comment begins with, also where the run failed before it knew its workspace.

    One pipeline may be run in several that jobs name, each by a job of its own.
    """
    words = [page.label, *([page.job_workspace] if page.job_workspace not in ("", "default") else [])]
    return f"<!-- tfguard {' '.join(quote(redaction.redact(word), safe='/') for word in words)} -->\n"


def body(mark: str, about: Discussion, page: summary.Page, before: str) -> str:
    """Return the comment's text; `before`: as it was, of which another commit's page is kept, folded."""
    stamp = f"<!-- tfguard run {about.order[0]}.{about.order[1]} {about.commit} -->\n\n"
    head = mark + stamp
    limit = LIMIT_BYTES[about.kind] - len(head.encode())
    shown = summary.render(page, limit)
    former = _folded(before, about.commit)
    fits = len((shown + former).encode("utf-8", "replace")) <= limit
    return head + shown + (former if fits else "")


def _order(text: str) -> tuple[int, int]:
    found = _STAMP.search(text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _folded(before: str, commit: str) -> str:
    found = _STAMP.search(before)
    if found is None or not commit or found[3] in ("", commit):
        return ""
    page = _AT_FORMER.split(before[found.end() :], maxsplit=1)[0].strip("\n")
    summed = f"<summary>Superseded: commit <code>{found[3][:9]}</code></summary>"
    return f"{_FORMER}\n<details>{summed}\n\n{page}\n\n</details>\n"
