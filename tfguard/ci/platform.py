"""What one can say to a CI platform from inside one of its jobs, besides printing to its log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from tfguard.ci import comment_token

#: Our action and our template set it. Whoever pipes our stdout elsewhere gets it untouched.
SWITCH = "TFGUARD_CI_LOG"


def without_page(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program of ours: the job's page is ours, not a tfguard's that runs inside our run."""
    return {name: value for name, value in environ.items() if name not in (SWITCH, comment_token.SWITCH)}


def is_asked(environ: Mapping[str, str]) -> bool:
    """Whether a job wants to be shown more than a log's lines."""
    return environ.get(SWITCH) == "1"


class Place(NamedTuple):
    """What an annotation is called, and where it stands: `file` from the repository's root, empty for nowhere."""

    title: str = "tfguard"
    file: str = ""
    line: int = 0


NOWHERE = Place()


class Diagnosed(NamedTuple):
    """An error or a warning of Terraform's (`level`), without secrets, and where it stands."""

    level: str
    text: str
    place: Place


class Platform(Protocol):
    """
    One platform, for a job with this environment. What it has no form for is left unsaid: so do the defaults.

    Marks and annotations are returned as text, lines of the job's log; the rest is written. What cannot be written is
    left out: nothing here raises but `make_plan_folder`.
    """

    environ: Mapping[str, str]
    #: The variable that names a folder which all steps of a job share, and where in it runs leave their records.
    job_folder: ClassVar[str] = ""
    records: ClassVar[str] = ""
    #: Variables that every step of a job has and nobody else knows, where `job_folder` is the checkout. The first is
    #: the secret, the others tell one job from another.
    job_secrets: ClassVar[tuple[str, ...]] = ()
    #: Whether a step fails with every status but 0, so that outputs have to tell that a plan has changes.
    fails_on_every_status: ClassVar[bool] = False

    def __init__(self, environ: Mapping[str, str]) -> None: ...

    def open_group(self, title: str, token: str) -> str:
        """Return what begins a part of the log that people can fold, in which no line is obeyed."""
        return ""

    def close_group(self, token: str) -> str:
        """Return what ends it."""
        return ""

    #: So many annotations of a step are shown.
    max_annotations: ClassVar[int] = 0

    def annotation(self, level: str, text: str, number: int, place: Place = NOWHERE) -> str:
        """Return what shows `text` beside the log, and at its place in the code; the `number`th of this step."""
        return ""

    def show_diagnostics(self, found: Sequence[Diagnosed]) -> None:
        """Show Terraform's errors and warnings in the code, where the platform reads them from a file."""
        return

    def checkout(self) -> str:
        """Return the folder in which the job's checkouts are; empty where places in the code cannot be shown."""
        return ""

    def write_outputs(self, outputs: Mapping[str, str]) -> None:
        """Hand values to later steps of the job."""
        return

    def append_summary(self, render: Callable[[int], str], smallest_bytes: int) -> None:
        """Show a page beside the log. `render` makes one of at most so many bytes, and of `smallest_bytes` at least."""
        return

    def show_changes(self, add: int, change: int, destroy: int, folder: Path) -> None:
        """Show what a plan will do, where the platform reads that from a file in the plan's folder."""
        return

    def way_to_install(self, extra: str) -> str:
        """Say how our action, or our template, is told to install an extra; no full stop ends it."""
        return ""

    def make_plan_folder(self) -> str:
        """Make a folder for a saved plan, that later steps find, and nobody else enters. Raises OSError."""
        raise NotImplementedError
