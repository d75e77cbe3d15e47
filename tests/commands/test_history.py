"""What is said of a history of which it is not certain whose it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfguard.commands.history import run_history, run_history_of_all
from tfguard.config.options import Options
from tfguard.report.reporter import Reporter
from tfguard.run.call import Call
from tfguard.run.fleet import find_fleet

BLOCK = 'terraform {\n  backend "local" {\n    path = "there"\n  }\n}\n'


def test_a_history_in_doubt_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.tf", "b.tf"):
        Path(name).write_text(BLOCK)
    Path("tfguard.yml").write_text("version: 1\npipelines: {prod: {dir: .}}\n")
    call = Call(Options(pipeline="prod"), {}, Reporter("console", 0))
    doubt = "prod: it is not certain that this is the lock you mean:\nthere are several backend blocks\n"

    run_history(call, is_json=False)
    run_history_of_all(call, find_fleet(call, "*"), is_json=False)
    told = capfd.readouterr()
    run_history(call, is_json=True)

    assert told.err == doubt * 2
    assert told.out == "prod: no run is known.\nNo run is known.\n"
    assert json.loads(capfd.readouterr().out)["doubt"] == "there are several backend blocks"
