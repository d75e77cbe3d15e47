"""
Who hears how a run ended: the platform's page, files of the user's, and whoever comes next (a webhook, metrics).

A new listener is a file here with a `listen`, and a row in `LISTENERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from tfguard.ci.comment_token import wants_comment
from tfguard.ci.platform import is_asked

if TYPE_CHECKING:
    from tfguard.jobfiles.story import ReportFile
    from tfguard.report.summary import Page

Reports = Sequence["ReportFile"]


class Listener(Protocol):
    """Hears of one run, from the process that ran it; or from `settle`, if that was killed."""

    def finish(self, page: Page) -> None:
        """Hear how it ended, once. Whatever this raises is logged, and changes nothing for the run."""


#: The module whose `listen(environ, reports)` makes it, or None; and whether anybody wants it. The modules are imported
#: only then: most runs have no listener, and should not pay for one.
LISTENERS: tuple[tuple[str, Callable[[Mapping[str, str], Reports], bool]], ...] = (
    ("tfguard.report.platform_page", lambda environ, _: is_asked(environ)),
    ("tfguard.report.comment", lambda environ, _: wants_comment(environ)),
    ("tfguard.report.report_file", lambda _, reports: bool(reports)),
)


def find_listeners(environ: Mapping[str, str], reports: Reports) -> tuple[Listener, ...]:
    """Return everybody who wants to hear of a run in this environment, whose `--report` options are `reports`."""
    modules = [import_module(name) for name, is_wanted in LISTENERS if is_wanted(environ, reports)]
    found = (module.listen(environ, reports) for module in modules)
    return tuple(listener for listener in found if listener is not None)
