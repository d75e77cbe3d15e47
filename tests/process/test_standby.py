"""What is forked from a keeper: the shim that stands by, and that nothing of the keeper's stays with a copy of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.eventually import patience

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are Linux's")

#: A keeper with one thread. `start` starts a program that prints what `show` says of it.
KEEPER = """
import os, signal, socket, sys, time
from tfguard.process import fork
from tfguard.process.child import Child
from tfguard.process.page import Page
from tfguard.process.standby import Standby, Start

def start(standby, code, *, group=0, directory="/", **environ):
    how = Start([sys.executable, "-I", "-S", "-c", code], directory, environ, group, (0, 1, 2))
    return Child(how, page, standby=standby)

def wait(child):
    while (status := child.poll()) is None:
        time.sleep(0.01)
    return status

page = Page.create()
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda *_: None)
standby = Standby(page)
forked = standby._process.pid
"""


def run(code: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", KEEPER + code],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_it_becomes_the_program_with_a_session_no_hangup_an_empty_mask_and_its_environment():
    show = (
        "import os, signal; print(os.getsid(0) == os.getpid(), signal.getsignal(signal.SIGHUP) == signal.SIG_IGN,"
        "signal.pthread_sigmask(signal.SIG_BLOCK, []), os.getcwd(), sorted(os.environb.items()),"
        "sorted(os.listdir('/proc/self/fd'))[:-1])"
    )

    shown, known = run(f"""
child = start(standby, {show!r}, directory="/usr", A="b=c", LC_CTYPE="C.UTF-8", **{{"odd-name": "\\udcff\\n"}})
os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # Not reaped yet, so that the page still knows it.
entered = page.program().pid
print(wait(child), child.pid == forked == entered, flush=True)
""")

    assert (
        shown
        == r"True True set() /usr [(b'A', b'b=c'), (b'LC_CTYPE', b'C.UTF-8'), (b'odd-name', b'\xff\n')] ['0', '1', '2']"
    )
    assert known == "0 True"


def test_it_joins_the_group_that_it_is_given():
    shown, known = run("""
other = os.fork()
if not other:
    os.setpgid(0, 0)
    time.sleep(600)
while os.getpgid(other) != other:
    time.sleep(0.01)
print(wait(start(standby, "import os; print(os.getpgrp())", group=other)), other)
os.kill(other, signal.SIGKILL)
""")

    assert known == f"0 {shown}"


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_where_it_has_died_the_program_has_a_start_of_its_own(number):
    shown, known = run(f"""
os.kill(forked, signal.{number})
os.waitid(os.P_PID, forked, os.WEXITED | os.WNOWAIT)
child = start(standby, "print('started')")
print(wait(child), child.pid != forked)
""")

    assert (shown, known) == ("started", "0 True")


def test_it_hears_no_hangup_while_it_stands_by():
    shown, known = run("""
os.kill(forked, signal.SIGHUP)
child = start(standby, "print('started')")
print(wait(child), child.pid == forked)
""")

    assert (shown, known) == ("started", "0 True")


def test_an_environment_that_fits_into_no_socket_arrives():
    [shown, _] = run("""
print(wait(start(standby, "import os; print(sum(len(value) for name, value in os.environ.items() if name[0] == 'V'))",
    **{f"V{n}": "x" * 100_000 for n in range(10)})))
""")

    assert shown == "1000000"


def test_a_directory_or_a_program_that_is_not_there_is_told_as_by_any_other_start():
    told, status = run("""
try:
    start(standby, "", directory="/nowhere")
except FileNotFoundError as error:
    print(error.filename, flush=True)
child = Child(Start(["/nowhere/x"], "/", {}, 0, (0, 1, 1)), page, standby=Standby(page))
print(wait(child))
""")[::2]

    assert (told, status) == ("/nowhere", "127")


def test_it_goes_when_its_keeper_goes_and_keeps_nothing_of_it_open():
    """Its keeper's end of whatever else has closed then: the front sees at once that it has no keeper."""
    [seen] = run("""
ours, theirs = socket.socketpair()
keeper = os.fork()
if not keeper:
    ours.close()
    Standby(page)
    os.kill(os.getpid(), signal.SIGKILL)
theirs.close()
print(ours.recv(1))
""")

    assert seen == "b''"


def test_a_copy_has_its_own_name_no_handlers_no_descriptors_and_no_variables():
    name, handlers, descriptors, variables = run("""
read, write = os.pipe()
def look():
    words = open("/proc/self/cmdline").read().split("\\0")
    handlers = {signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    listed = sorted(map(int, os.listdir("/proc/self/fd")))
    open_now = [each for each in listed if os.path.exists(f"/proc/self/fd/{each}")]
    os.write(write, f"{words[1]}\\n{handlers == {signal.SIG_DFL}}\\n{open_now == [0, 1, 2, write]}".encode())
    shown = open("/proc/self/environ", "rb").read().strip(b"\\0")
    os.write(write, f"\\n{shown}".encode())
    return 7
copy = fork.fork("tfguard-copy", look, [write])
while copy.poll() is None:
    time.sleep(0.01)
assert copy.poll() == 7
print(os.read(read, 4096).decode())
""")

    assert (name, handlers, descriptors, variables) == ("tfguard-copy", "True", "True", "b''")


def test_nothing_is_forked_beside_another_thread():
    [alone, not_alone] = run("""
import threading
print(fork.is_possible())
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print(fork.is_possible(), flush=True)
os._exit(0)
""")

    assert (alone, not_alone) == ("True", "False")


def test_it_has_what_was_opened_for_the_program_under_its_numbers_and_nothing_else():
    said = run(
        """
show = (
    "import os; said = [f'{n}:{os.read(n, 9).decode()}' for n in (5, 63)];"
    "print(*said, [n for n in range(3, 99) if os.path.exists(f'/proc/self/fd/{n}')])"
)
opened = {}
for number in (63, 5):
    opened[number], write = os.pipe()
    os.write(write, str(number).encode())
how = Start([sys.executable, "-I", "-S", "-c", show], "/", {}, 0, (0, 1, 2), opened)
assert wait(Child(how, page, standby=standby)) == 0
"""
    )

    assert said == ["5:5 63:63 [5, 63]"]


def test_with_more_descriptors_than_it_can_be_told_of_the_program_is_started_all_the_same():
    said = run(
        """
opened = {number: os.open("/dev/null", os.O_RDONLY) for number in range(400, 700)}
how = Start(["/bin/sh", "-c", "ls /proc/self/fd | wc -l"], "/", {"PATH": os.environ["PATH"]}, 0, (0, 1, 2), opened)
assert wait(Child(how, page, standby=standby)) == 0
"""
    )

    assert said == ["304"]
