"""
A headless Chromium that looks at a page as people do: at a width, by day or by night. Spoken to over its own pipe.

What is asked of a page (`evaluate`) is asked by the browser, so the page's own policy does not forbid it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import parts
from tests.support.eventually import patience

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)
#: How people look: at a desk and on a phone, by day and by night; two of the four in `make test`.
windows = pytest.mark.parametrize(
    ("width", "is_dark"),
    [
        pytest.param(1280, False, id="1280-light"),
        pytest.param(390, True, id="390-dark"),
        pytest.param(1280, True, id="1280-dark", marks=pytest.mark.long),
        pytest.param(390, False, id="390-light", marks=pytest.mark.long),
    ],
)
_PLACED = 'exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null'


class Page:
    """One page that has been loaded. `said` is what the browser complained of: what it refused to fetch or to run."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.ask(method, self._session, **parameters)

    def evaluate(self, expression: str) -> Any:
        """What a JavaScript expression gives in the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    @property
    def said(self) -> list[str]:
        return [
            message["params"]["entry"]["text"]
            for message in self._browser.events
            if message["method"] == "Log.entryAdded" and message.get("sessionId") == self._session
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        wide = self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return int(wide)

    def save(self, path: Path) -> None:
        """Take a picture of the whole page."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 8000), "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))


class Browser:
    """A Chromium that runs. It is asked, and answers in order; what it tells beside that is in `events`."""

    def __init__(self, to: int, back: int) -> None:
        self._to = to
        self._back = os.fdopen(back, "rb", buffering=0)
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters}
        os.write(self._to, json.dumps({**asked, "sessionId": session} if session else asked).encode() + b"\0")
        while (message := self._read()).get("id") != self._number:
            self.events.append(message)
        assert "error" not in message, (method, message["error"])
        result: dict[str, Any] = message["result"]
        return result

    def open(self, file: Path, *, width: int, is_dark: bool = False) -> Page:
        """Load a file in a window of that width, as somebody sees it who likes it dark, or does not."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        page = Page(self, self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Log", "Runtime"):
            page.ask(f"{domain}.enable")
        page.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        page.ask("Emulation.setEmulatedMedia", features=scheme)
        page.ask("Page.navigate", url=file.as_uri())
        while not page.evaluate("document.readyState === 'complete' && location.protocol === 'file:'"):
            pass  # Each question waits for the browser.
        return page

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._back], [], [], patience(30))[0], "the browser is silent"
            more = self._back.read(1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        first, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        return message


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start a Chromium with a profile of its own in `folder`. Raises PartMissing."""
    program = parts.chromium()
    # Chromium reads from 3 and writes to 4; a shell puts there what it was given itself.
    process = subprocess.Popen(
        ["sh", "-c", _PLACED, program, *_FLAGS, f"--user-data-dir={folder}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    to, back = os.dup(process.stdin.fileno()), os.dup(process.stdout.fileno())
    process.stdin.close()
    process.stdout.close()
    found = Browser(to, back)
    try:
        yield found
        found.ask("Browser.close")
    finally:
        os.close(to)
        found._back.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience(10))
        process.kill()
        process.wait()
