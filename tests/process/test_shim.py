"""What the child's process is like once Terraform runs in it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import pytest

from tests.support.eventually import eventually
from tfguard.process import bare, shim
from tfguard.process.page import Page

#: Prints what it was started with: group, signals ignored, signals blocked.
SHOW = (
    "import os, signal; print(os.getpgrp() == os.getpid(), signal.getsignal(signal.SIGHUP) == signal.SIG_IGN,"
    "signal.pthread_sigmask(signal.SIG_BLOCK, []), os.environ['GREETING'])"
)


@pytest.fixture
def page():
    made = Page.create()
    yield made
    os.close(made.descriptor)


def run(page, *argv, group=0, parent=None, handed=None, **options):
    """Run a program through the shim, as the keeper does."""
    moves = handed or {}
    return subprocess.run(
        bare.command("shim", group, parent or os.getpid(), page.descriptor, words=[shim.written(moves), *argv]),
        pass_fds=[page.descriptor, *moves.values()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_the_child_has_its_own_group_no_hangup_an_empty_mask_and_our_environment(page):
    result = run(page, sys.executable, "-c", SHOW, env={**os.environ, "GREETING": "hello"})

    assert result.stdout == "True True set() hello\n"


def test_the_child_enters_itself_in_the_page_before_it_can_do_anything(page):
    place = f"/proc/{os.getpid()}/fd/{page.descriptor}"

    result = run(page, "/bin/sh", "-c", f"echo $$; od -An -t d8 -j 32 -N 8 {place}")

    pid, entered = result.stdout.split()
    assert pid == entered


def test_the_child_does_not_keep_the_pages_descriptor(page):
    look = f"import os\ntry: os.fstat({page.descriptor})\nexcept OSError: print('closed')"

    assert run(page, sys.executable, "-c", look).stdout == "closed\n"


@pytest.mark.parametrize("status", [0, 1, 2, 255])
def test_the_childs_status_is_the_programs(page, status):
    """X1"""
    assert run(page, sys.executable, "-c", f"raise SystemExit({status})").returncode == status


def test_a_child_that_a_signal_ends_ends_of_that_signal(page):
    """X1"""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"

    assert run(page, sys.executable, "-c", code).returncode == -signal.SIGKILL


def test_a_program_that_is_not_there_is_127(page, tmp_path):
    """X1"""
    result = run(page, str(tmp_path / "absent"))

    assert (result.returncode, result.stderr.count("\n")) == (127, 1)


def test_a_program_that_cannot_be_run_is_126(page, tmp_path):
    """X1"""
    (tmp_path / "text").write_text("not a program")

    result = run(page, str(tmp_path / "text"))

    assert (result.returncode, result.stderr.count("\n")) == (126, 1)


def test_nothing_is_started_for_a_keeper_that_has_died(page, tmp_path):
    result = run(page, "touch", str(tmp_path / "started"), parent=1 if os.getpid() != 1 else 2)

    assert result.returncode == 130
    assert not (tmp_path / "started").exists()


def test_a_group_that_is_given_is_joined(page):
    leader = subprocess.Popen([sys.executable, "-c", "import os; os.setpgrp(); input()"], stdin=subprocess.PIPE)
    eventually(lambda: os.getpgid(leader.pid) == leader.pid)

    result = run(page, sys.executable, "-c", "import os; print(os.getpgrp())", group=leader.pid)

    leader.communicate()
    assert result.stdout == f"{leader.pid}\n"


def test_a_child_with_a_group_of_its_own_has_a_session_of_its_own(page):
    """The kernel lets a stopped group go on that loses its last parent in the same session: there is none."""
    ended = run(page, sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())")

    assert ended.stdout.split() in (["True"], [b"True"])


# --- what was opened for the program -------------------------------------------------------------------------------

#: Prints what it has open, and what each leads to: the name of a file.
SHOW_OPEN = """
import os
for name in sorted(map(int, os.listdir("/proc/self/fd"))):
    try:
        print(name, os.path.basename(os.readlink(f"/proc/self/fd/{name}"))) if name > 2 else None
    except OSError:
        pass
"""


def permutations(page):
    """Each wanted number by where it is now, as 0, 1, 2: among these the page's own number, and circles."""
    return {
        "as they are": [0, 1, 2],
        "in a circle": [1, 2, 0],
        "two changed": [1, 0, 2],
        "in a row": [60, 0, 1],
        "the page's number": [page.descriptor, 0, 61],
        "high ones": [63, 62, 61],
    }


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks into /proc")
@pytest.mark.parametrize("name", permutations(Page(0)))
@pytest.mark.parametrize("limit", [None, 64], ids=["no limit", "ulimit -n 64"])
def test_what_was_opened_for_the_program_has_its_numbers_and_nothing_else_is_open(page, tmp_path, name, limit):
    opened = [os.open(tmp_path / f"file{index}", os.O_CREAT | os.O_RDWR) for index in range(3)]
    numbers = [opened[each] if each < 3 else each for each in permutations(page)[name]]
    lower = None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    result = run(page, sys.executable, "-c", SHOW_OPEN, handed=dict(zip(numbers, opened)), preexec_fn=lower)

    expected = sorted((number, f"file{index}") for index, number in enumerate(numbers))
    assert result.stdout.splitlines() == [f"{number} {file}" for number, file in expected], result.stderr
    for descriptor in opened:
        os.close(descriptor)
