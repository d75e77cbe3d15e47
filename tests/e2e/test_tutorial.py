"""The tutorial is what a stranger sees: its page is run, in two terminals, with a real Terraform and a local state."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from tests.e2e.conftest import ROOT, TFGUARD, base_environ
from tests.e2e.terminals import close_all
from tests.e2e.test_shown import is_as_shown
from tests.support import parts
from tests.support.eventually import patience
from tests.support.pages import blocks, page

pytestmark = pytest.mark.e2e

#: What a terminal is told that is no text: colours, the cursor, a line that is written anew.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
Start = Callable[[str], pexpect.spawn]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Run a command of the page in a terminal of its own, in a copy of the example."""
    directory = tmp_path / "quickstart"
    directory.mkdir()
    shutil.copy(ROOT / "examples/quickstart/main.tf", directory)
    environ = {
        **base_environ(tmp_path),
        "TFGUARD_WHO": "ana@laptop",
        "TFGUARD_TERRAFORM": parts.terraform(),
        "TERM": "xterm",
    }
    opened: list[pexpect.spawn] = []

    def begin(command: str) -> pexpect.spawn:
        name, *words = shlex.split(command)
        argv = [*TFGUARD, *words] if name == "tfguard" else [parts.terraform(), *words]
        made = pexpect.spawn(
            argv[0],
            argv[1:],
            cwd=str(directory),
            env=environ,  # type: ignore[arg-type]
            encoding="utf-8",
            timeout=patience(30),
            dimensions=(40, 160),
        )
        opened.append(made)
        return made

    yield begin
    close_all(opened)


def lines(printed: str) -> list[str]:
    """What stands on the terminal afterwards: of a line that was written anew, what it is now."""
    whole = CONTROL.sub("", printed).replace("\r\n", "\n").replace("^C", "").rstrip("\n")
    return [line.split("\r")[-1] for line in whole.split("\n")]


def rest(terminal: pexpect.spawn) -> list[str]:
    terminal.expect(pexpect.EOF)
    return lines(str(terminal.before))


def assert_shown(block: str, printed: list[str]) -> None:
    shown = [line for line in block.rstrip("\n").split("\n") if not line.startswith("$ ")]

    assert is_as_shown(shown, printed), "\n".join([block, "but:", *printed])


def test_the_first_minutes_go_as_the_tutorial_shows(start: Start) -> None:
    doctor, plan, apply, waiting, stopping, going_on, looking = blocks(page("tutorial"), "console")
    rest(start("terraform init"))
    for block in (doctor, plan):
        assert_shown(block, rest(start(block[2 : block.index("\n")])))

    first = start(apply[2 : apply.index("\n")])
    first.expect("plain terraform is refused.")
    assert_shown(apply, lines(f"{first.before}{first.after}"))
    second = start(waiting[2 : waiting.index("\n")])
    second.expect(r"gives up in \d+m\d+s")
    assert_shown(waiting, lines(f"{second.before}{second.after}")[-1:])
    first.sendintr()
    assert_shown(f"…\n{stopping}", rest(first))
    assert_shown(f"…\n{going_on}", rest(second))

    for part in looking.split("$ ")[1:]:
        assert_shown(f"$ {part}", rest(start(part[: part.index("\n")])))
