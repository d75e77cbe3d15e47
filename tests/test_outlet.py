"""What is said arrives whole and in order; a reader who does not read holds nobody up."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from tests.support.eventually import eventually, patience
from tfguard import outlet
from tfguard.outlet import Outlet


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    for end in (read, write):
        try:
            os.close(end)
        except OSError:
            pass


def fill(write):
    """Fill a pipe to the brim, as a reader does who has stopped reading."""
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(write, True)


def empty(read):
    os.set_blocking(read, False)
    data = b""
    while not data.endswith(b"last"):
        try:
            data += os.read(read, 1 << 20)
        except BlockingIOError:
            time.sleep(0.005)
    return data.lstrip(b"x")


def test_what_is_said_is_written_by_the_time_it_returns(pipe):
    read, write = pipe

    Outlet(write).say(b"hello")

    assert os.read(read, 100) == b"hello"


def test_a_reader_who_does_not_read_holds_nobody_up_twice(pipe, monkeypatch):
    read, write = pipe
    fill(write)
    made = Outlet(write)
    monkeypatch.setattr(outlet, "PATIENCE_SECONDS", 0.01)
    made.say(b"first ")
    monkeypatch.setattr(outlet, "PATIENCE_SECONDS", 3600.0)

    for word in (b"second ", b"last"):
        made.say(word)

    assert empty(read) == b"first second last"


def test_who_reads_again_is_waited_for_again(pipe, monkeypatch):
    read, write = pipe
    fill(write)
    made = Outlet(write)
    monkeypatch.setattr(outlet, "PATIENCE_SECONDS", 0.01)
    made.say(b"last")
    monkeypatch.setattr(outlet, "PATIENCE_SECONDS", patience(10))
    empty(read)
    eventually(lambda: not made._is_stalled)
    os.set_blocking(read, True)

    made.say(b"more")

    assert os.read(read, 100) == b"more"


def test_what_nobody_reads_for_long_is_lost_and_the_loss_is_told(pipe, monkeypatch):
    read, write = pipe
    fill(write)
    made = Outlet(write)
    monkeypatch.setattr(outlet, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(outlet, "_KEPT_BYTES", 10)

    for word in (b"12345", b"67890", b"beyond", b"and more"):
        made.say(word)
    os.set_blocking(read, False)
    eventually(lambda: os.read(read, 1 << 20).endswith(b"67890"))
    made.say(b"last")

    assert empty(read) == b"tfguard: 14 bytes were not read in time, and are lost\nlast"


def test_who_passes_on_waits_as_long_as_the_reader_takes(pipe):
    read, write = pipe
    fill(write)
    made = Outlet(write)
    passing = threading.Thread(target=made.write, args=(b"last",), daemon=True)
    passing.start()

    passing.join(0.2)
    assert passing.is_alive()
    empty(read)

    passing.join(patience(10))
    assert not passing.is_alive()


def test_who_passes_on_hears_that_nobody_reads_any_more(pipe):
    read, write = pipe
    os.close(read)

    with pytest.raises(BrokenPipeError):
        Outlet(write).write(b"x")


def test_who_only_says_something_never_hears_of_it(pipe):
    read, write = pipe
    os.close(read)

    Outlet(write).say(b"x")


def test_before_we_leave_a_slow_reader_has_its_time_and_one_who_does_not_read_has_little():
    code = (
        "import os, sys; from tfguard import outlet; outlet.PATIENCE_SECONDS = outlet.FAREWELL_SECONDS = 0.05\n"
        "for _ in range(40): outlet.write_to_stderr('x' * 4096)\n"
        "outlet.flush(); os._exit(3)"
    )

    stuck = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)

    assert stuck.wait(patience(10)) == 3
    stuck.stderr.close()


def test_all_that_is_said_arrives_where_it_is_read():
    code = (
        "import os; from tfguard import outlet; outlet.PATIENCE_SECONDS = 0.0\n"
        "for n in range(200): outlet.write_to_stderr(f'{n:04}' * 1000)\n"
        "outlet.outlet(2).flush(600); os._exit(0)"
    )

    result = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, timeout=patience(30), check=True)

    assert result.stderr == b"".join(b"%04d" % n * 1000 for n in range(200))


def test_a_defect_of_who_writes_is_told_to_who_waits_and_the_next_is_written(pipe, monkeypatch):
    read, write = pipe
    made = Outlet(write)
    with monkeypatch.context() as patched:
        patched.setattr(outlet.files, "write_all", lambda *_: 1 / 0)
        with pytest.raises(OSError, match="ZeroDivisionError"):
            made.write(b"lost")

    made.write(b"said")

    assert os.read(read, 10) == b"said"
