"""
The comments of a pull request on GitHub and of a merge request on GitLab, by the platform's own API.

Everybody may write a comment that looks like ours. So only those count that were written as whoever our token is: on
GitLab, and with a person's token on GitHub, the platform says who that is; with a job's token, only a bot is believed.

Requests go to the host that the platform itself has named, and to no other: no answer is followed elsewhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, TypeVar
from urllib.parse import quote

import msgspec

from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.times import Times
from tfguard.backends.net.transport import Request, Response, Transport
from tfguard.backends.net.trust import Trust
from tfguard.ci.discussion import Discussion
from tfguard.wire import parse, publish

_TIMES = Times(3.0, 5.0)
_MAX_BYTES = 64 * 1024 * 1024
_PAGE = 100
_MAX_PAGES = 50
#: A job's and an app's token, which is nobody's of whom GitHub would tell it.
_INSTALLATION = "ghs_"
#: Not now: worth another try. GitHub also says 403 where it means 429.
_LATER = frozenset({429, 500, 502, 503, 504})


class SiteRefused(Exception):
    """The platform's answer is no; `status` says which. `is_later`: not now, for there were too many requests."""

    def __init__(self, status: int, *, is_later: bool = False) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.is_later = is_later


class Comment(msgspec.Struct, frozen=True):
    """One comment of ours."""

    id: int
    body: str


class Clock(Protocol):
    """`left` seconds for everything; `rest` waits some of them."""

    def left(self) -> float: ...

    def rest(self, seconds: float) -> None: ...


class CommentSite(Protocol):
    """Where comments are. Each method raises SiteRefused, NoAnswer."""

    def own(self, start: str) -> list[Comment]:
        """Return our own comments that start so, the oldest first."""
        ...

    def create(self, body: str) -> None: ...

    def renew(self, number: int, body: str) -> None: ...

    def remove(self, number: int) -> None: ...


class _Author(msgspec.Struct):
    id: int = 0
    login: str = ""
    type: str = ""


class _Found(msgspec.Struct):
    """A comment as either platform shows it; GitHub calls the author `user`."""

    id: int
    body: str | None = None
    user: _Author | None = None
    author: _Author | None = None


def _among(found: Iterable[_Found], start: str, is_own: Callable[[_Author], bool]) -> list[Comment]:
    """Those that start so, and whose author is us."""
    texts = [(each.id, each.body or "", each.user or each.author or _Author()) for each in found]
    return [Comment(number, body) for number, body, who in texts if body.startswith(start) and is_own(who)]


_T = TypeVar("_T")


class _Api:
    """Requests to one place, within the time that is left for all of them."""

    def __init__(
        self, base: str, headers: Mapping[str, str], environ: Mapping[str, str], clock: Clock, authority: str = ""
    ) -> None:
        self._base = base.rstrip("/")
        self._headers = {"User-Agent": "tfguard", "Content-Type": "application/json", **headers}
        self._transport = Transport(Proxies(environ), Trust(environ, besides=authority), _TIMES)
        self._clock = clock

    def ask(self, method: str, path: str, body: str | None = None) -> bytes:
        """Make a request; what did not come through, or came at a bad time, is tried once more where that is safe."""
        content = publish({"body": body}) if body is not None else b""
        request = Request(method, f"{self._base}{path}", self._headers, content)
        try:
            answer = self._transport.send(request, _MAX_BYTES)
        except NoAnswer:
            if method == "POST" or self._clock.left() <= 0:  # It may have been written.
                raise
            answer = self._transport.send(request, _MAX_BYTES)
        pause = _pause(answer)
        if pause is not None and pause < self._clock.left():
            self._clock.rest(pause)
            answer = self._transport.send(request, _MAX_BYTES)
        if not 200 <= answer.status < 300 or not answer.is_whole:
            raise SiteRefused(answer.status, is_later=_is_later(answer))
        return answer.body

    def read(self, path: str, kind: type[_T]) -> _T:
        """Read something. Raises SiteRefused where it is none."""
        try:
            return parse(self.ask("GET", path), kind)
        except msgspec.DecodeError as error:
            raise SiteRefused(200) from error

    def read_all(self, path: str) -> Iterator[_Found]:
        """Read what comes in pages."""
        for number in range(1, _MAX_PAGES + 1):
            found = self.read(f"{path}per_page={_PAGE}&page={number}", list[_Found])
            yield from found
            if len(found) < _PAGE:
                return


def _pause(answer: Response) -> float | None:
    """How long to wait before another try; None where that would not help."""
    after = answer.headers.get("retry-after", "")
    if answer.status not in _LATER and not (_is_later(answer) and after):
        return None
    return float(after) if after.isdigit() and len(after) < 6 else 1.0


def _is_later(answer: Response) -> bool:
    """Whether it is not the token that may not, but nobody at this time."""
    is_spent = answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers
    return answer.status == 429 or (answer.status == 403 and is_spent)


class GitHubComments:
    """A pull request's conversation."""

    def __init__(self, about: Discussion, token: str, environ: Mapping[str, str], clock: Clock) -> None:
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        self._api = _Api(about.api, headers, environ, clock)
        self._issues = f"/repos/{about.project}/issues"
        self._number = about.number
        self._is_installation = token.startswith(_INSTALLATION)

    def own(self, start: str) -> list[Comment]:
        is_own = self._whose()
        return _among(self._api.read_all(f"{self._issues}/{self._number}/comments?"), start, is_own)

    def create(self, body: str) -> None:
        self._api.ask("POST", f"{self._issues}/{self._number}/comments", body)

    def renew(self, number: int, body: str) -> None:
        self._api.ask("PATCH", f"{self._issues}/comments/{number}", body)

    def remove(self, number: int) -> None:
        self._api.ask("DELETE", f"{self._issues}/comments/{number}")

    def _whose(self) -> Callable[[_Author], bool]:
        if not self._is_installation:
            with contextlib.suppress(SiteRefused):
                me = self._api.read("/user", _Author)
                return lambda user: user.id == me.id != 0
        return lambda user: user.type == "Bot"


class GitLabNotes:
    """A merge request's notes."""

    def __init__(self, about: Discussion, token: str, environ: Mapping[str, str], clock: Clock) -> None:
        # What the runner believes its own GitLab by.
        authority = environ.get("CI_SERVER_TLS_CA_FILE", "")
        self._api = _Api(about.api, {"PRIVATE-TOKEN": token}, environ, clock, authority)
        self._notes = f"/projects/{quote(about.project, safe='')}/merge_requests/{about.number}/notes"

    def own(self, start: str) -> list[Comment]:
        me = self._api.read("/user", _Author)
        found = self._api.read_all(f"{self._notes}?sort=asc&order_by=created_at&")
        return _among(found, start, lambda author: author.id == me.id != 0)

    def create(self, body: str) -> None:
        self._api.ask("POST", self._notes, body)

    def renew(self, number: int, body: str) -> None:
        self._api.ask("PUT", f"{self._notes}/{number}", body)

    def remove(self, number: int) -> None:
        self._api.ask("DELETE", f"{self._notes}/{number}")


SITES: Mapping[str, Callable[[Discussion, str, Mapping[str, str], Clock], CommentSite]] = {
    "github": GitHubComments,
    "gitlab": GitLabNotes,
}
