"""
Many locks on one page of HTML, to be put where people look: whose they are, who waits, and where runs wait for others.

The page is a file of its own: no server, no script, nothing to be fetched. It refuses by its own policy whatever a
stranger's word might still try. Every word goes through one gate (`Html.of`), every link is https.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any
from urllib.parse import urlsplit

from tfguard import redaction
from tfguard.clock import parse_created
from tfguard.durations import spoken_duration
from tfguard.report.fleet_style import STYLE
from tfguard.report.run_words import ending
from tfguard.text import printable

Facts = Mapping[str, Any]

_LONGEST = 500
#: What a time line may span: the shortest that holds most of the runs.
_SPANS = tuple(timedelta(hours=hours) for hours in (1, 6, 24, 7 * 24, 30 * 24, 365 * 24))
_MOST = 0.8
#: A time line's inner width; its browser stretches it.
_WIDTH = 1000
#: How a lock is, the most urgent first, and what is said of it.
_STATES = {
    "person": ("▲", "needs a person"),
    "unknown": ("?", "unknown"),
    "held": ("●", "held"),
    "free": ("○", "free"),
}


class Html(str):
    """Text that is HTML already. Only this module makes it."""

    __slots__ = ()

    @classmethod
    def of(cls, text: object) -> Html:
        """Anybody's text, made harmless; what is HTML stays."""
        if isinstance(text, Html):
            return text
        return cls(escape(printable(redaction.redact(str(text)), _LONGEST)))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """Make an element. An attribute that is None is left out; `_` in a name is `-`, and one at its end nothing."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{Html.of(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>{''.join(map(Html.of, children))}</{name}>")


def render(locks: Sequence[Facts], *, made_at: datetime) -> str:
    """
    Return the page. Each of `locks` is what `status --json` says of one, and `runs`: as history does, the newest first.
    """
    ordered = sorted(locks, key=lambda lock: list(_STATES).index(_state(lock)))
    span = _span(locks, made_at)
    style = Html(STYLE)
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = (
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{Html.of(policy)}">'),
        Html('<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">'),
        Html('<meta name="color-scheme" content="light dark">'),
        tag("title", f"Locks: {_count(locks)}"),
        tag("style", style),
    )
    body = tag(
        "main",
        tag("h1", "State locks"),
        tag("p", tag("strong", _count(locks)), f" · as of {made_at:%Y-%m-%d %H:%M:%S} UTC", class_="sum"),
        _contention(locks),
        *(_lock(each, made_at, span) for each in ordered),
        tag(
            "footer",
            "Made by tfguard status --all --html. It shows what was so then: make it again to see what is so now.",
        ),
    )
    page = tag("html", tag("head", *head), tag("body", body), lang="en")
    return f"<!doctype html>\n{page}\n"


def _state(lock: Facts) -> str:
    if any(each["needs_person"] for each in lock["locks"]):
        return "person"
    if lock["problem"]:
        return "unknown"
    return "held" if lock["is_held"] else "free"


def _count(locks: Sequence[Facts]) -> str:
    states = [_state(lock) for lock in locks]
    counts = [(states.count(state), words) for state, (_, words) in _STATES.items() if state in states]
    parts = [f"{count} {words if count == 1 else words.replace('needs', 'need')}" for count, words in counts]
    return f"{len(locks)} {'lock' if len(locks) == 1 else 'locks'}: {', '.join(parts)}" if parts else "no locks"


# --- where runs wait ------------------------------------------------------------------------------------------------


def _contention(locks: Sequence[Facts]) -> Html:
    """Say for which locks runs have waited longest, in all their known runs."""
    waits = [(lock, sum(run["waited_s"] for run in lock["runs"])) for lock in locks]
    longest = sorted((each for each in waits if each[1] >= 1), key=lambda each: -each[1])[:5]
    if not longest:
        return Html()
    most = longest[0][1]
    rows = [
        tag(
            "tr",
            _cell("lock", lock["label"]),
            _cell("waited in all", spoken_duration(waited)),
            _cell("longest wait", spoken_duration(max(run["waited_s"] for run in lock["runs"]))),
            _cell("held in all", spoken_duration(sum(run["held_s"] for run in lock["runs"]))),
            _cell("runs", len(lock["runs"])),
            tag("td", _bar(waited / most), class_="bar"),
        )
        for lock, waited in longest
    ]
    table = _table(("Lock", "Waited in all", "Longest wait", "Held in all", "Runs", ""), rows)
    return tag("section", tag("h2", "Where runs wait"), table, class_="card")


def _table(titles: Sequence[str], rows: Sequence[Html]) -> Html:
    head = tag("thead", tag("tr", *(tag("th", each, scope="col") for each in titles)))
    return tag("table", head, tag("tbody", *rows))


def _bar(share: float) -> Html:
    inner = tag("rect", x=0, y=0, width=round(share * 100, 1), height=8, class_="waited")
    return tag("svg", inner, viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true", class_="share")


def _cell(label: str, value: object) -> Html:
    """A cell that on a phone, where there is no head, says what it is."""
    return tag("td", value, data_label=label)


# --- one lock -------------------------------------------------------------------------------------------------------


def _lock(lock: Facts, now: datetime, span: timedelta | None) -> Html:
    state = _state(lock)
    mark, words = _STATES[state]
    badge = tag("span", tag("span", mark, aria_hidden="true"), f" {words}", class_=f"badge {state}")
    facts = [tag("div", tag("dt", name), tag("dd", value)) for name, value in _facts(lock, now) if value]
    return tag(
        "section",
        tag("h2", lock["label"], " ", badge),
        tag("dl", *facts) if facts else "",
        _line(lock["line"]),
        _time_line(lock, now, span) if span else "",
        _runs(lock["runs"]),
        class_=f"card {state}",
    )


def _facts(lock: Facts, now: datetime) -> Iterator[tuple[str, object]]:
    yield "Unknown because", lock["problem"]
    for held in lock["locks"]:
        beat, since = held["heartbeat_age_s"], parse_created(held["since"])
        yield "Held by", held["who"]
        yield "Running", " ".join(part for part in (held["command"], held["run"]) if part)
        yield "See", _link(held["link"])
        yield "Since", _moment(held["since"], now) if since else ""
        yield "Heartbeat", "" if beat is None else f"{spoken_duration(beat)} ago"
        yield "Verdict", held["says"]
        yield ("To free it" if held["needs_person"] else "If it is dead"), _code(held["mend"])
        yield "Lock", f"{held['id']} in {held['place']}" if held["id"] else held["place"]
    yield "What to do", _code(lock["mend"])
    yield "Uncertain", lock["doubt"]
    if lock["last_run"]:
        yield "Last run", _run_in_words(lock["last_run"], now)


def _code(command: str) -> object:
    """A command is shown whole: what was cut could not be copied."""
    return Html(f"<code>{escape(printable(redaction.redact(command), 10_000))}</code>") if command else ""


def _link(url: str) -> object:
    """A link, where it is one that may be followed; else its text."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme == "https" and bool(parts.hostname) and url.isprintable() and " " not in url
    except ValueError:
        is_good = False
    if not is_good or "@" in parts.netloc or len(url) > _LONGEST or redaction.redact(url) != url:
        return url
    return tag("a", url, href=url, rel="noopener noreferrer nofollow")


def _moment(created: str, now: datetime) -> Html | str:
    at = parse_created(created)
    if at is None:
        return ""
    ago = spoken_duration(max(0.0, (now - at).total_seconds()))
    return tag("time", f"{at:%Y-%m-%d %H:%M:%S} UTC ({ago} ago)", datetime=f"{at:%Y-%m-%dT%H:%M:%SZ}")


def _line(line: Sequence[Facts]) -> Html:
    if not line:
        return Html()
    waiters = [
        tag(
            "li",
            ", ".join(part for part in (each["who"], each["command"], each["run"], _for(each["waited_s"])) if part),
        )
        for each in line
    ]
    return tag("div", tag("h3", f"In line: {len(line)}"), tag("ol", *waiters))


def _for(seconds: float | None) -> str:
    return "" if seconds is None else f"for {spoken_duration(seconds)}"


def _run_in_words(run: Facts, now: datetime) -> Html | str:
    ended = _moment(run["ended_at"], now)
    words = ", ".join(part for part in (f"{run['command']} by {run['who']}", run["run"], ending(run, _LONGEST)) if part)
    return Html(f"{Html.of(words)}, {ended}") if ended else words


def _runs(runs: Sequence[Facts]) -> Html:
    if not runs:
        return Html()
    rows = [
        tag(
            "tr",
            _cell("ended", f"{at:%Y-%m-%d %H:%M:%S}" if (at := parse_created(run["ended_at"])) else ""),
            _cell("who", run["who"]),
            _cell("command", run["command"]),
            _cell("waited", "" if run["unlocked_by"] else spoken_duration(run["waited_s"])),
            _cell("held", "" if run["unlocked_by"] else spoken_duration(run["held_s"])),
            _cell("outcome", ending(run, _LONGEST) + (f", took over {run['took_over']}" if run["took_over"] else "")),
            tag("td", _link(run["link"]) if run["link"] else run["run"], data_label="run"),
        )
        for run in runs
    ]
    table = _table(("Ended (UTC)", "Who", "Command", "Waited", "Held", "Outcome", "Run"), rows)
    count = "The last run" if len(runs) == 1 else f"The last {len(runs)} runs"
    return tag("details", tag("summary", count), table)


# --- the time line --------------------------------------------------------------------------------------------------


def _span(locks: Sequence[Facts], now: datetime) -> timedelta | None:
    """Return how much time all time lines show: so much that most of the runs are in it; None where nobody has run."""
    ages = [now - at for lock in locks for run in lock["runs"] if (at := parse_created(run["ended_at"]))]
    if not ages and not any(lock["locks"] for lock in locks):
        return None
    enough = (span for span in _SPANS if sum(age <= span for age in ages) >= _MOST * len(ages))
    return next(enough, _SPANS[-1])


def _time_line(lock: Facts, now: datetime, span: timedelta) -> Html:
    """Draw who waited, above, and who held, below: where waits lie over each other, it is darker."""
    start = now - span
    shapes: list[Html] = []

    def add(begin: datetime, end: datetime, y: int, kind: str, title: str) -> None:
        if end <= start or begin >= now:
            return
        x = max(0.0, (begin - start) / span * _WIDTH)
        width = max(3.0, (min(end, now) - start) / span * _WIDTH - x)
        shapes.append(
            tag(
                "rect",
                tag("title", title),
                x=round(min(x, _WIDTH - 3), 1),
                y=y,
                width=round(width, 1),
                height=12,
                class_=kind,
            )
        )

    for run in lock["runs"]:
        ended = parse_created(run["ended_at"])
        if ended is None or run["unlocked_by"]:
            continue
        held, waited = (timedelta(seconds=min(run[name], 10**8)) for name in ("held_s", "waited_s"))
        said = f"{run['who']}: {run['command']}, waited {spoken_duration(run['waited_s'])}"
        said += f", held it for {spoken_duration(run['held_s'])}, {ending(run, _LONGEST)}"
        if run["waited_s"] >= 1:
            add(ended - held - waited, ended - held, 2, "waited", said)
        add(ended - held, ended, 18, "held" if run["outcome"] == "succeeded" else "failed", said)
    for each in lock["locks"]:
        since = parse_created(each["since"])
        add(since or now, now, 18, "now", f"{each['who']}: {each['command']}, holds it now")
    for each in lock["line"]:
        if each["waited_s"] is not None:
            waits = timedelta(seconds=min(each["waited_s"], 10**8))
            add(now - waits, now, 2, "waited", f"{each['who']}: {each['command']}, waits now")
    if not shapes:
        return Html()
    drawing = tag(
        "svg",
        *shapes,
        viewBox=f"0 0 {_WIDTH} 32",
        preserveAspectRatio="none",
        role="img",
        aria_label="Who waited for it, above, and who held it, below; the runs are listed beneath.",
    )
    ends = tag("figcaption", tag("span", f"{spoken_duration(span.total_seconds())} ago"), _LEGEND, tag("span", "now"))
    return tag("figure", drawing, ends)


_KINDS = {"waited": "waited", "held": "held", "failed": "held, did not succeed", "now": "holds it now"}
_LEGEND = tag(
    "span", *(tag("span", tag("i", class_=kind), f" {words} ") for kind, words in _KINDS.items()), class_="legend"
)
