"""A child that was inherited: it is known by what it is, not by a number that may be another's by now."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.eventually import eventually, patience
from tfguard.process import family
from tfguard.process.child import AdoptedChild


@pytest.fixture
def process():
    made = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield made
    made.stdin.close()
    made.wait(patience(30))


@pytest.mark.parametrize("has_proc", [True, False], ids=["with /proc", "without /proc"])
def test_an_inherited_child_is_gone_once_it_is_a_zombie(process, has_proc, monkeypatch):
    if not has_proc:
        monkeypatch.setattr(family, "stat", lambda pid: None)
        monkeypatch.setattr(family, "has_proc", lambda: False)
    adopted = AdoptedChild(process.pid)
    assert adopted.poll() is None

    process.stdin.close()

    eventually(lambda: adopted.poll() == 0)


def test_an_inherited_child_that_the_front_has_reaped_is_gone(process):
    adopted = AdoptedChild(process.pid)

    adopted.is_reaped = True

    assert adopted.poll() == 0


def test_one_that_was_gone_before_is_gone():
    made = subprocess.Popen([sys.executable, "-c", ""])
    made.wait(patience(30))

    assert AdoptedChild(made.pid).poll() == 0
