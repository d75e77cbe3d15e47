"""However the tests were started, what a test starts hears its signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dispositions import DEAF_TO_INTERRUPTS
from tests.support.emulators import ROOT

SENT_TO_ITSELF = ["sh", "-c", 'kill -s "$0" $$']
STARTS_ANOTHER = """
import subprocess, sys
from tests.support.dispositions import restore_dispositions
restore_dispositions()
sys.exit(-subprocess.run(sys.argv[1:]).returncode)
"""


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "PIPE"])
def test_what_a_test_starts_hears_its_signals(tmp_path: Path, name: str) -> None:
    ended = subprocess.run([*SENT_TO_ITSELF, name], cwd=tmp_path, timeout=60)

    assert ended.returncode == -signal.Signals[f"SIG{name}"]


def test_nor_does_it_matter_that_a_script_put_the_session_into_the_background() -> None:
    session = [*DEAF_TO_INTERRUPTS, sys.executable, "-c", STARTS_ANOTHER]

    ended = subprocess.run([*session, *SENT_TO_ITSELF, "INT"], cwd=ROOT, timeout=60)

    assert ended.returncode == signal.SIGINT
