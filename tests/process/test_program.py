"""Whose children a program's relatives are looked for among, and which signals it has had that were not ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tfguard.process import child
from tfguard.process.page import Page
from tfguard.process.program import Program
from tfguard.process.sentinel import Heard


class Noted:
    """A post of sentinels, and a record, that do nothing."""

    def ensure(self):
        pass

    def note_child(self, pid, family):
        pass


@pytest.mark.parametrize("is_front_alive", [True, False])
def test_a_successor_never_looks_among_the_children_of_the_machines_first_process(monkeypatch, is_front_alive):
    """Its front has died meanwhile, and its parent is that one, whose children are anybody's."""
    page = Page.create()
    parent = page.front if is_front_alive else 1
    monkeypatch.setattr(os, "getppid", lambda: parent)
    program = Program(
        None,
        None,
        Noted(),
        page,
        None,
        record=Noted,
        watchdog=None,
        on_interrupt_heard=None,
    )

    program.adopt(os.getpid())

    assert program._relatives._parents == ((os.getpid(), page.front) if is_front_alive else (os.getpid(),))
    os.close(page.descriptor)


class TestASignalOfTheWholeJob:
    """On a terminal the sentinel joins the program's group after it: what it hears there, that has had as well."""

    @pytest.fixture
    def page(self):
        made = Page.create()
        yield made
        os.close(made.descriptor)

    @staticmethod
    def is_spared(page, *, beside=None, is_deaf=False, is_in_group=True):
        """Whether a program counts as signalled once a sentinel, beside it or another, has had a SIGTERM."""
        spared = []
        deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if is_deaf else ""
        code = f"{deaf}import time; print(flush=True); time.sleep(600)"
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
        process.stdout.readline()
        page.group = process.pid if is_in_group else os.getpgrp()

        class Post:
            def hear(self, _source):
                return [Heard(signal.SIGTERM, process.pid if beside is None else beside)]

        program = Program(
            None,
            None,
            Post(),
            page,
            None,
            record=Noted,
            watchdog=None,
            on_interrupt_heard=lambda: spared.append(True),
        )
        program.begin(child.AdoptedChild(process.pid), None, frozenset())
        assert not program.on_sentinel(None)
        process.kill()
        process.communicate()
        return bool(spared)

    def test_is_the_programs_one(self, page):
        assert self.is_spared(page)

    @pytest.mark.parametrize("pid", [0, 1])
    def test_from_before_this_program_is_not(self, page, pid):
        assert not self.is_spared(page, beside=pid)

    def test_that_it_ignores_is_not(self, page):
        assert not self.is_spared(page, is_deaf=True)

    def test_that_has_left_the_group_is_not(self, page):
        assert not self.is_spared(page, is_in_group=False)


def test_a_program_that_does_not_go_is_left_to_the_sentinel_with_all_that_it_holds():
    page, held = Page.create(), []

    class Post:
        hold = staticmethod(held.append)

    process = subprocess.Popen(["sleep", "600"])
    program = Program(None, None, Post(), page, None, record=Noted, watchdog=None, on_interrupt_heard=None)
    program.begin(child.AdoptedChild(process.pid), None, frozenset())
    page.enter(process.pid)

    left = program.give_up()

    assert [each.pid for each in left] == [process.pid]
    assert (program.is_given_up, program.poll(), held, page.program().pid) == (True, None, [], process.pid)
    process.kill()
    process.wait()
    os.close(page.descriptor)
