"""The page of many locks: what stands on it, that no stranger's word gets out of its place, and how it looks."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Browser, windows
from tfguard import redaction
from tfguard.clock import created
from tfguard.report.fleet_page import render

#: A folder for pictures of the page. Read here: a test finds its environment scrubbed.
SHOTS = os.environ.get("TFGUARD_SCREENSHOTS")
NOW = datetime(2026, 11, 29, 4, 50, 0, tzinfo=timezone.utc)
LINK = "https://github.com/acme/infra/actions/runs/4812"
#: What somebody might call a host, a run or a reason.
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;\x1b[31m\u202e</style></title>"


def ago(**some: float) -> str:
    return created(NOW - timedelta(**some))


def run(hours: float, who: str = "ana@ci-7", waited: float = 0.0, held: float = 240.0, **more: Any) -> dict[str, Any]:
    facts = {"who": who, "command": "apply", "run": "GitHub run 4812", "link": LINK, "outcome": "succeeded"}
    facts |= {"exit_code": 0, "waited_s": waited, "held_s": held, "ended_at": ago(hours=hours)}
    return facts | {"took_over": "", "unlocked_by": "", "reason": "", "token": 7} | more


def held(**more: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"id": "0aaf67c2-1d04-8ce4-bbf7-d284f7c9b100", "place": "DynamoDB table tf-locks"}
    facts |= {"says": "alive", "needs_person": False, "mend": "", "who": "runner@ci-7", "command": "apply"}
    facts |= {"run": "GitHub run 4812", "link": LINK, "since": ago(minutes=14), "heartbeat_age_s": 4.0}
    return facts | more


def lock(label: str, *locks: dict[str, Any], **more: Any) -> dict[str, Any]:
    facts = {"label": label, "is_held": bool(locks), "locks": list(locks), "line": [], "runs": []}
    facts |= {"source": "", "doubt": "", "problem": "", "mend": "", **more}
    runs = facts["runs"]
    return facts | {"last_run": runs[0] if runs else None}


def waiter(place: int, who: str, seconds: float) -> dict[str, Any]:
    return {"place": place, "who": who, "command": "plan", "run": "GitLab job 77", "link": "", "waited_s": seconds}


MEND = "tfguard -p prod/dns unlock --id 5c1f0f3e-9d04-4ce4-bbf7-d284f7c9b100"
BUSY = [run(0.4, waited=900), run(0.9, "bob@ci-2", waited=1500, held=600), run(1.2, "eve@ci-3", waited=660)]
BUSY += [
    run(2 + each * 1.3, f"job-{each}@ci", waited=each * 40, outcome="failed" if each == 3 else "succeeded")
    for each in range(9)
]
DEAD = "expired: left for a person (lock.takeover: plan-only)"
FLEET = [
    lock("prod/network", held(), runs=BUSY, line=[waiter(1, "bob@laptop", 610), waiter(2, "drift@ci-9", 42)]),
    lock("prod/dns", held(says=DEAD, needs_person=True, mend=MEND, heartbeat_age_s=5400.0, since=ago(hours=2))),
    lock("prod/" + "a-very-long-name-without-any-blank-" * 5, runs=[run(20, held=9000), run(30, waited=3)]),
    lock("stage/app", held(says="plain Terraform: no heartbeat", mend=MEND, heartbeat_age_s=None, link="", run="")),
    lock("stage/vpn", problem="the variable VPN_BUCKET is not set", mend="tfguard -p stage/vpn doctor"),
    lock("dev/app", runs=[run(3, unlocked_by="eve@laptop", reason="its runner was terminated")]),
    lock("dev/empty"),
]


class Elements(HTMLParser):
    """Every element with its attributes; the text of `title` and of all the rest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_lock_stands_there_the_most_urgent_first() -> None:
    page = Elements(render(FLEET, made_at=NOW))

    labels = [each["label"] for each in (FLEET[1], FLEET[4], FLEET[0], FLEET[3], FLEET[2], FLEET[5], FLEET[6])]
    places = [page.text.index(f"{label} ", page.text.index("Where runs wait") + 200) for label in labels]
    assert places == sorted(places)
    assert "7 locks: 1 needs a person, 1 unknown, 2 held, 3 free" in page.text
    for said in (DEAD, MEND, "VPN_BUCKET is not set", "unlocked by eve@laptop", "In line: 2", "for 10 min", "3 h ago"):
        assert said in page.text, said


def test_no_stranger_gets_out_of_his_place() -> None:
    odd = dict.fromkeys(("who", "command", "run", "outcome", "took_over", "reason"), EVIL)
    evil = lock(
        EVIL,
        held(**dict.fromkeys(("id", "place", "says", "mend", "who", "command", "run"), EVIL), link="javascript:x"),
        runs=[run(1, **{**odd, "link": f"https://x/{EVIL}"}), run(2, unlocked_by=EVIL, reason=EVIL)],
        line=[waiter(1, EVIL, 3)],
        **dict.fromkeys(("source", "doubt", "mend"), EVIL),
    )

    page = render([evil, lock(EVIL, problem=EVIL)], made_at=NOW)

    found = Elements(page)
    assert {tag for tag, _ in found.found} & {"script", "img", "iframe", "object", "link", "base", "form"} == set()
    assert not any(name.startswith("on") or name == "style" for _, attributes in found.found for name in attributes)
    assert [tag for tag, _ in found.found].count("style") == 1
    assert "\x1b" not in page and "\u202e" not in page
    assert "<script>alert(1)</script>" in found.text


@pytest.mark.parametrize(
    ("url", "is_followed"),
    [
        (LINK, True),
        ("http://github.com/acme", False),
        ("javascript:alert(1)", False),
        ("https://user:secret@host/x", False),
        ("https://host/a b", False),
        ("https:///x", False),
        ("data:text/html,x", False),
        ("https://[::1", False),
    ],
)
def test_only_what_is_https_is_a_link(url: str, is_followed: bool) -> None:
    page = Elements(render([lock("a", held(link=url))], made_at=NOW))

    links = [attributes["href"] for tag, attributes in page.found if tag == "a"]
    assert links == ([url] if is_followed else [])
    assert "user:secret" not in page.text


def test_a_secret_is_masked() -> None:
    redaction.register_secrets(["hunter2-hunter2"])

    assert "hunter2" not in render([lock("a", held(who="hunter2-hunter2", mend="x hunter2-hunter2"))], made_at=NOW)


def test_a_page_without_locks_says_so() -> None:
    assert "no locks" in render([], made_at=NOW)


# --- looked at ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@windows
def test_it_is_readable_at_a_desk_and_on_a_phone(tmp_path: Path, chromium: Browser, width: int, is_dark: bool) -> None:
    file = tmp_path / "locks.html"
    file.write_text(render(FLEET, made_at=NOW))

    page = chromium.open(file, width=width, is_dark=is_dark)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")

    if SHOTS:
        page.save(Path(SHOTS) / f"locks-{width}-{'dark' if is_dark else 'light'}.png")
    assert page.overflow() == 0
    assert page.said == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(13, 17, 23)" if is_dark else "rgb(246, 247, 249)")
    assert page.evaluate("document.querySelectorAll('svg rect.waited').length") > 3


def test_the_browser_runs_nothing_of_a_stranger(tmp_path: Path, chromium: Browser) -> None:
    text = render([lock("a", held())], made_at=NOW)
    file = tmp_path / "locks.html"
    file.write_text(text.replace("<main>", '<main><img src="https://x.invalid/"><script>document.title = "x"</script>'))

    page = chromium.open(file, width=800)

    assert page.evaluate("document.title") != "x"
    assert len(page.said) == 2
    assert all("Content Security Policy" in each for each in page.said)
