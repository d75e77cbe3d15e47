"""Whose children a program's relatives are looked for among."""

from __future__ import annotations

import os

import pytest

from tfguard.process.page import Page
from tfguard.process.program import Program


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
