"""
A lock that is a connection's, PostgreSQL's, when that connection ends: rows C1 to C3.

The runs work on a state, since a lock under a name of one's own is a row there, and no connection's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.running import Running, running
from tests.faults.scene import SHORT_LEASE, WORK, Line
from tests.support.eventually import eventually
from tests.support.proxy import Proxy, proxy

pytestmark = [pytest.mark.e2e, pytest.mark.emulator]

#: The sessions that carry a lock.
CARRIER = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tfguard %' AND datname = current_database()"


@dataclass
class Pair:
    """Two directories of one state: `ours` reaches the server through a proxy, a `rival` does not."""

    ours: Stage
    rival: Stage
    server: Proxy
    opened: ExitStack

    def run(self, made: Stage, name: str, lease: float) -> Running:
        """Start a run whose work writes to the log until `let_end(name)`."""
        work = [sys.executable, "-S", "-I", str(WORK), name, str(self.log), str(self._gate(name)), "stubborn"]
        process = made.start_tfguard("exec", "--", *work, TFGUARD_LOCK_LEASE=f"{lease:g}s")
        return self.opened.enter_context(running(process))

    @property
    def log(self) -> str:
        return str(self.ours.path.parent / "log")

    def _gate(self, name: str) -> str:
        return f"{self.log}-{name}"

    def let_end(self, name: str) -> None:
        """Let the work of this run come to its end."""
        open(self._gate(name), "w").close()

    def lines(self, name: str, word: str = "") -> list[Line]:
        """What the work of that run has written."""
        try:
            with open(self.log) as file:
                words = [line.split() for line in file]
        except FileNotFoundError:
            return []
        found = [Line(line[0], line[1], float(line[2])) for line in words if len(line) == 3]
        return [line for line in found if line.name == name and word in ("", line.word)]

    def wait_for(self, name: str, word: str) -> Line:
        return eventually(lambda: self.lines(name, word), 40, f"{name} {word}")[0]

    def carriers(self) -> list[tuple[int]]:
        return self.ours.rows(CARRIER)


@pytest.fixture
def pair(stage: Callable[..., Stage]) -> Iterator[Pair]:
    with ExitStack() as opened:
        rival = stage("pg", name="rival")
        ours = stage("pg", name="ours", is_initialised=False)
        ours.bucket, server = rival.bucket, ours.postgres
        between = opened.enter_context(proxy(server.endpoint))
        ours.postgres = replace(server, endpoint=between.endpoint)
        ours.write()
        ours.init().postgres = server
        yield Pair(ours, rival, between, opened)


def test_c1_c2_a_connection_that_ends_is_replaced_before_anybody_else_is_in(pair: Pair) -> None:
    """The lock's row keeps our own away; the work is frozen for a moment, and never asked to stop."""
    ours = pair.run(pair.ours, "a", lease=60)
    pair.wait_for("a", "begin")
    rival = pair.run(pair.rival, "b", lease=60)
    rival.wait_for("is held by")
    before = pair.carriers()

    pair.server.turn("refuse")
    pair.server.turn("pass")
    eventually(lambda: pair.carriers() not in ([], before), 40, "another carrier")
    at = pair.lines("a")[-1].at
    eventually(lambda: pair.lines("a")[-1].at > at + 0.5, 40, "work that goes on")
    nobody_else = pair.lines("b")
    pair.let_end("a")
    pair.let_end("b")
    results = ours.end(), rival.end()

    assert nobody_else == []
    assert pair.lines("a", "asked") == []
    assert [result.code for result in results] == [0, 0], "\n".join(map(str, results))
    assert pair.lines("a")[-1].at < pair.lines("b")[0].at
    assert pair.rival.leftovers() == []


def test_c3_who_cannot_have_it_back_writes_nothing_more_and_spares_the_next(pair: Pair) -> None:
    """The server is there for the rival alone, who is in after a lease; ours is frozen from the connection's end on."""
    ours = pair.run(pair.ours, "a", SHORT_LEASE)
    pair.wait_for("a", "begin")
    rival = pair.run(pair.rival, "b", SHORT_LEASE)
    rival.wait_for("is held by")

    pair.server.turn("refuse")
    ours.wait_for("the program is frozen")
    last = pair.lines("a")[-1]
    pair.wait_for("b", "begin")
    pair.server.turn("pass")
    result = ours.end()
    pair.let_end("b")
    second = rival.end()

    assert pair.lines("a")[-1] == last
    assert result.code == 76, str(result)
    assert second.code == 0, str(second)
    assert "took the lock over" in second.err
    assert pair.rival.leftovers() == []
