"""With which status, and of which signal, we end after a program of ours."""

from __future__ import annotations

import signal

import pytest

from tfguard.run.exit_status import shell_status, signal_to_die_of
from tfguard.run.initialise import InitFailed


@pytest.mark.parametrize(
    ("status", "shown", "number"),
    [
        (0, 0, 0),
        (2, 2, 0),
        (-signal.SIGINT, 130, signal.SIGINT),
        (-signal.SIGTERM, 143, signal.SIGTERM),
        (-signal.SIGKILL, 137, 0),  # Nobody asked it to stop: an outer shell goes on.
        (130, 130, 0),  # Its own status, and no signal.
    ],
)
def test_a_programs_end_is_a_status_and_perhaps_a_signal(status: int, shown: int, number: int) -> None:
    failed = InitFailed(status, about="prod")

    assert (shell_status(status), signal_to_die_of(status)) == (shown, number)
    assert (failed.exit_code, failed.signal_number) == (shown, number)
