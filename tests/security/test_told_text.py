"""
Strangers' text, wherever we print it: no terminal and no CI's runner does what it says.

One gate where records are read, one where errors are made, one where anything is said; each is tried by itself.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.conftest import ROOT
from tests.security.obeyed import obeyed
from tests.security.test_parsers import UNCLEAN
from tests.support import sources
from tfguard import outlet, text, wire
from tfguard.config.rules import pipeline_name_finding
from tfguard.errors import StoreDenied, TfguardError
from tfguard.lock import lockinfo, queue_record
from tfguard.lock.queue_record import QueueState, Run, Ticket
from tfguard.lock.refusals import UnsavedState
from tfguard.lock.store import Holder, Lease
from tfguard.report.reporter import Reporter
from tfguard.report.table import print_table

COMMANDS = [
    "::set-output name=x::owned",
    " \t\N{NO-BREAK SPACE}::set-env name=LD_PRELOAD::/tmp/x",
    "\r::add-mask::e",
    "harmless\r::add-path::/tmp",
    "harmless\n  ::stop-commands::mine",
    "x ##[set-output name=x]owned",
    "###[error]owned",
    "x ##[stop-commands]mine",
    "a##vso[task.setvariable variable=x]owned",
    "##VSO[task.complete]",
    "##teamcity[setParameter name='x' value='owned']",
]
#: What a runner with ICU takes for the same, comparing as people read.
HIDDEN = [
    ":::error::x",
    "\u200b::error::x",
    ":\u00ad:error::x",
    "#\u200b#[error]x",
    "##\ufeffvso[x]y",
    "\x00::error::x",
    "#\x01#[x]y",
]


@pytest.mark.parametrize("command", [*COMMANDS, *HIDDEN])
def test_no_runner_obeys_what_was_made_harmless(command: str) -> None:
    told = text.harmless(command)

    assert obeyed(told) == []
    assert obeyed("".join(sign for sign in told if sign not in "\u200b\u00ad\ufeff\N{REPLACEMENT CHARACTER}")) == []
    assert not UNCLEAN.search(told)
    assert text.harmless(told) == told


def test_all_commands_here_are_obeyed_as_they_are() -> None:
    assert [command for command in COMMANDS if not obeyed(command)] == []


def test_what_is_no_command_stays_as_it_is() -> None:
    for ordinary in ("a::b", "fe80::1", "# heading", "## heading", "x: y", "#[x]", "s3://a/b#c", "größe 👩‍💻"):
        assert text.harmless(ordinary) == ordinary


# --- where it is read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_a_record_is_harmless_as_soon_as_it_is_read(command: str) -> None:
    holder = {"who": command, "command": command, "run": command, "link": command}
    run = {"holder": holder, "ended_at": command, "outcome": command, "reason": command, "unlocked_by": command}
    line = {"runs": [run], "tickets": [{"id": command, "holder": holder, "since": command}], "errored": command}
    info = {"ID": command, "Operation": command, "Info": command, "Who": command, "Version": command, "Path": command}

    state = queue_record.decode(json.dumps(line))
    salvaged = queue_record.decode(json.dumps({**line, "token": "garbage"}))
    read = [state.runs, state.tickets, salvaged.runs, salvaged.tickets, lockinfo.decode(json.dumps(info))]

    assert len(state.runs) == len(state.tickets) == len(salvaged.runs) == 1
    for each in _texts(read):
        assert obeyed(each) == [] and not UNCLEAN.search(each) and "\n" not in each, each
    assert obeyed(UnsavedState(place=state.errored).place) == []


def test_every_struct_that_is_read_from_a_store_is_harmless() -> None:
    for kind in (Holder, Lease, Run, Ticket, QueueState):
        assert issubclass(kind, wire.Stranger), kind


@given(words=st.text(max_size=40) | st.sampled_from(COMMANDS))
def test_what_was_read_and_written_is_read_as_the_same(words: str) -> None:
    holder = Holder(who=words, link=words)

    state = QueueState().joined(Ticket(id=words, holder=holder))

    assert queue_record.decode(queue_record.encode(state)) == state


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, (list, tuple)):
        return [each for item in value for each in _texts(item)]
    fields = getattr(value, "__struct_fields__", ())
    return [each for name in fields for each in _texts(getattr(value, name))]


# --- where it is said -----------------------------------------------------------------------------------------------


def said(capfd: pytest.CaptureFixture[str]) -> str:
    outlet.flush()
    out, err = capfd.readouterr()
    return out + "\n" + err


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("command", COMMANDS)
def test_whatever_a_message_quotes_is_not_obeyed(
    capfd: pytest.CaptureFixture[str], command: str, log_format: str
) -> None:
    report = Reporter("json" if log_format == "json" else "console", 1)

    report.say("warning", "x.y", f"{command}: first\n{command}\n  {command}", label=command, **{command: command})

    assert "first" in (told := said(capfd))
    assert obeyed(told) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_whatever_a_service_says_is_not_obeyed(command: str) -> None:
    errors = [
        TfguardError(f"{command}\n{command}", command),
        StoreDenied(f"AWS says: x\n{command}", action="a", resource=command),
    ]

    for error in errors:
        assert obeyed(str(error)) == []
        assert not UNCLEAN.search(str(error))


@pytest.mark.parametrize("command", COMMANDS)
def test_what_was_asked_for_is_not_obeyed_either(capfd: pytest.CaptureFixture[str], command: str) -> None:
    outlet.write_answer(f"{command}\n{command}")
    outlet.write_answer(wire.printable_json({"x": [command], command: 1}))
    outlet.write_to_stderr(f"{command}\n{command}\n")
    print_table(["LOCK", "HOLDER"], [[command, command], ["x", command]])

    assert obeyed(said(capfd)) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_json_says_the_very_words(command: str) -> None:
    assert json.loads(wire.printable_json({command: command})) == {command: command}
    assert json.loads(wire.printable_json([command], is_compact=True)) == [command]


@pytest.mark.parametrize("name", ["::set-output name=x::y", ":x", "#x", "a##[error]b", "a##vso[x]"])
def test_a_pipeline_is_not_called_like_a_command(name: str) -> None:
    assert pipeline_name_finding(name) is not None


#: Who may write to a stream by another way than `outlet`'s two gates: annotations and marks, Terraform's bytes, events.
_WRITERS = {"main.py", "outlet.py", "job_page.py", "relay.py", "log.py", "__main__.py", "shim.py"}


def test_nothing_is_said_but_through_the_gate() -> None:
    for path in sorted((ROOT / "tfguard").rglob("*.py")):
        written = [ast.unparse(node) for node in ast.walk(sources.tree_of(path)) if _is_write(node)]
        assert path.name in _WRITERS or not written, f"{path}: {written}"


def _is_write(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    return name in {"print", "outlet", "sys.stdout.write", "sys.stderr.write"} or (
        name == "os.write" and ast.unparse(node.args[0]) in {"1", "2"}
    )


def test_this_page_names_files_that_are_there() -> None:
    assert {Path(path).name for path in (ROOT / "tfguard").rglob("*.py")} >= _WRITERS
