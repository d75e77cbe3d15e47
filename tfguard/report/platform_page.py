"""
A run told on the page that a CI platform has for it: values for later steps, and a summary.

Only where the job asked for it (`platform.SWITCH`), as our action and template do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from tfguard.ci.platform import Platform
from tfguard.ci.platforms import find_platform
from tfguard.report import summary
from tfguard.report.listener import Reports

#: Only then it is of interest whom we saw holding the lock last.
_HELD_BY_ANOTHER = frozenset({"lock-timeout", "lock-lost"})


class PlatformPage:
    """A listener."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def finish(self, page: summary.Page) -> None:
        """Write outputs and summary."""
        self._platform.write_outputs(outputs(page))
        self._platform.append_summary(lambda room: summary.render(page, room), summary.SMALLEST_LIMIT_BYTES)


def listen(environ: Mapping[str, str], _: Reports) -> PlatformPage | None:
    platform = find_platform(environ)
    return PlatformPage(platform) if platform else None


#: Output → what of a run it tells; what is None or empty is left out. The others depend on more than the run's end.
OUTPUTS: Mapping[str, Callable[[summary.Page], object]] = {
    "exit-code": lambda page: page.exit_code,
    "outcome": lambda page: page.outcome,
    "lock-id": lambda page: page.lock_id,
    "force-unlock-id": lambda page: page.force_unlock_id or page.lock_id,
    "fencing-token": lambda page: page.token,
    "waited-seconds": lambda page: page.waited_seconds,
    "held-seconds": lambda page: page.held_seconds,
    "fingerprint": lambda page: page.fingerprint and page.fingerprint.text,
}


def outputs(page: summary.Page) -> dict[str, str]:
    """Return what later steps of the job may want to know of a run."""
    found = {name: str(value) for name, of in OUTPUTS.items() if (value := of(page)) is not None and value != ""}
    if page.holder and page.outcome in _HELD_BY_ANOTHER:
        found["lock-holder"] = page.holder
    if page.changes is not None:
        found |= {name: str(getattr(page.changes, name)) for name in ("add", "change", "destroy")}
        if not page.changes.is_done:  # The closing line of an apply does not count what changed in outputs.
            found["has-changes"] = str(page.changes.has_changes).lower()
    if page.files is not None:
        paths = {"plan-path": page.files.plan, "plan-json-path": page.files.shown}
        found |= {name: path for name, path in paths.items() if os.path.exists(path)}
    return found
