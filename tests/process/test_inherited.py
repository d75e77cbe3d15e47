"""What whoever started us has left us with, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.eventually import patience
from tfguard.process import inherited

#: Tells in a file what its first pipe is, and whether a program that it starts has its standard streams.
LOOK = """
import os, subprocess, sys
from tfguard.process import inherited
inherited.look()
first = min(os.pipe())
started = subprocess.run([sys.executable, "-c", "import os; [os.fstat(number) for number in (0, 1, 2)]"])
print("said", file=sys.stderr); print("said"); sys.stdin.read(0)
with open(sys.argv[1], "w") as file:
    file.write(f"{first > 2} {started.returncode}")
"""


@pytest.mark.parametrize("closed", ["", "<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_was_closed_is_dev_null_for_us_and_for_what_we_start(closed, tmp_path):
    argv = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", LOOK, str(tmp_path / "told")]

    subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=patience(30), check=True)

    assert (tmp_path / "told").read_text() == "True 0"


def test_what_was_ignored_and_blocked_is_known():
    code = "from tfguard.process import inherited; found = inherited.found(); print(1 in found.ignored, found.parent)"
    argv = ["sh", "-c", "trap '' HUP; echo $$; \"$@\"; true", "sh", sys.executable, "-c", code]

    ended = subprocess.run(argv, capture_output=True, text=True, timeout=patience(30), check=True)

    shell, is_ignored, parent = ended.stdout.split()
    assert (is_ignored, parent) == ("True", shell)


#: Opens one file of its own as a library in C would not: Python's do not outlive an exec.
TELL = "from tfguard.process import inherited; own = open('/dev/null'); print(*inherited.found().descriptors)"


@pytest.mark.parametrize(("opened", "expected"), [("", []), ("5</dev/null 63>/dev/null", ["5", "63"])])
def test_what_was_opened_for_the_program_is_found_and_nothing_of_ours(opened, expected):
    argv = ["bash", "-c", f'exec "$@" {opened}', "bash", sys.executable, "-c", TELL]

    ended = subprocess.run(argv, capture_output=True, text=True, timeout=patience(30), check=True)

    assert ended.stdout.split() == expected


def test_without_a_list_of_the_kernels_it_is_found_by_trying(monkeypatch):
    monkeypatch.setattr(inherited, "_LISTS", ())
    read, write = os.pipe()
    os.set_inheritable(write, True)

    found = inherited._handed_down()

    assert write in found
    assert read not in found
    for end in (read, write):
        os.close(end)


@pytest.mark.parametrize(("given", "left"), [({}, "None"), ({"LC_CTYPE": "C.UTF-8"}, "C.UTF-8")])
def test_a_locale_that_python_sets_for_itself_is_not_handed_on(given, left):
    code = "from tfguard.process import inherited; import os; inherited.look(); print(os.environ.get('LC_CTYPE'))"

    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env=given,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=True,
    )

    assert result.stdout.strip() == left
