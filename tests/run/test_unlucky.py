"""A Terraform that locks by itself, and came at the same moment as another."""

from __future__ import annotations

from typing import Any

import pytest

from tfguard.run import unlucky
from tfguard.run.unlucky import run_until_not_unlucky

EMPTY = (
    "\x1b[31mError: \x1b[0m\x1b[1mError acquiring the state lock\x1b[0m\n"
    'Error message: state blob is already locked\nblob metadata "terraformlockid" was empty\n'
)
AS_JSON = '{"@message":"Error: Error acquiring the state lock","d":"metadata \\"terraformlockid\\" was empty"}'
GONE = "Error acquiring the state lock\nError message: 2 errors occurred: storage: object doesn't exist"
MODIFIED = "Error acquiring the state lock\nthe object has been modified; please apply your changes"
MADE = "error loading state: failed to lock azure state: state blob is already locked\nLock Info:\n  Operation: init"
MAKING = "Error acquiring the state lock\nstate blob is already locked\nLock Info:\n\x1b[0m  Operation: init\n"
HELD = "Error acquiring the state lock\nLock Info:\n  ID: 1f4c"


class Front:
    """Of which each run ends as it is told; `waits` counts the pauses between."""

    def __init__(self, *ends: tuple[int, str]) -> None:
        self.ends = list(ends)
        self.last_words = ""
        self.waits = 0

    def run(self) -> int:
        status, self.last_words = self.ends.pop(0)
        return status

    def wait(self, is_over: Any) -> None:
        self.waits += 1


@pytest.mark.parametrize("words", [EMPTY, AS_JSON, GONE, MODIFIED, MADE, MAKING])
def test_who_came_at_the_same_moment_as_another_is_run_again(words: str) -> None:
    front, told = Front((1, words), (0, "Apply complete!")), []

    status = run_until_not_unlucky(front, front.run, lambda: told.append("again"))  # type: ignore[arg-type]

    assert (status, told, front.waits) == (0, ["again"], 1)


@pytest.mark.parametrize(
    "end", [(0, EMPTY), (2, EMPTY), (-2, EMPTY), (-9, MADE), (1, HELD), (1, "the object has been modified"), (1, "")]
)
def test_any_other_end_is_the_end(end: tuple[int, str]) -> None:
    front = Front(end)

    assert run_until_not_unlucky(front, front.run, lambda: None) == end[0]  # type: ignore[arg-type]
    assert front.ends == []


def test_who_is_always_unlucky_ends_as_terraform_does() -> None:
    front = Front(*[(1, EMPTY)] * 9)

    assert run_until_not_unlucky(front, front.run, lambda: None) == 1  # type: ignore[arg-type]
    assert len(front.ends) == 4


def test_who_has_waited_long_for_who_makes_a_state_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its `-lock-timeout` would be waited for as often as that."""
    front = Front((1, MAKING))
    monkeypatch.setattr(unlucky, "_SOON_SECONDS", 0.0)

    assert run_until_not_unlucky(front, front.run, lambda: None) == 1  # type: ignore[arg-type]
    assert front.waits == 0
