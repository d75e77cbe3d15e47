"""
A stand-in for GitHub's runner, as far as our action needs one: it takes the steps out of action.yml itself.

Inputs and step outputs are put into expressions, each step gets files of its own, and a cancel is the runner's.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.conftest import ROOT, Stage
from tests.support.eventually import patience

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())


@dataclass
class Step:
    """A step that was started. `out` is both of its streams."""

    process: subprocess.Popen[str]
    output_path: Path
    summary_path: Path
    out: str = ""

    def end(self, timeout: float = patience(60)) -> int:
        self.out, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode

    @property
    def outputs(self) -> dict[str, str]:
        text = self.output_path.read_text()
        long = re.findall(r"^([\w-]+)<<(\S+)\n(.*?)\n\2$", text, re.DOTALL | re.MULTILINE)
        return {name: value for name, _, value in long} | dict(re.findall(r"^([\w-]+)=(.*)$", text, re.MULTILINE))

    @property
    def summary(self) -> str:
        return self.summary_path.read_text()


@dataclass
class Job:
    """
    One use of the action. `checkout` is where GitHub put it, `tools` the machine's tool cache.

    `launcher`: words before those that start a step, for a runner that starts it in an unusual way.
    """

    stage: Stage
    tools: Path
    inputs: Mapping[str, str]
    checkout: Path = ROOT
    environ: Mapping[str, str] = field(default_factory=dict)
    launcher: Sequence[str] = ()
    steps: dict[str, Step] = field(default_factory=dict)

    def start(self, name: str) -> Step:
        """Start a step of the action as GitHub does: its script a file, no terminal, no input."""
        step = next(each for each in ACTION["runs"]["steps"] if each["id"] == name)
        temp = self.stage.path.parent / "runner-temp"
        temp.mkdir(exist_ok=True)
        script, output, summary = (temp / f"{name}.{kind}" for kind in ("sh", "output", "summary"))
        script.write_text(step["run"])
        output.touch()
        summary.touch()
        process = subprocess.Popen(
            [*self.launcher, "bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=self.stage.path,
            env={
                **{key: value for key, value in self.stage.environ.items() if key != "PYTHONPATH"},
                **self._github(temp, output, summary),
                **{key: self._filled(value) for key, value in step["env"].items()},
                **self.environ,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.steps[name] = Step(process, output, summary)
        return self.steps[name]

    def run(self) -> int:
        """Run both steps; gives the status of the first that failed."""
        codes = [self.start(name).end() for name in ("run", "settle")]
        return next((code for code in codes if code), 0)

    @property
    def annotations(self) -> list[str]:
        """What the job's page shows of its steps, in order."""
        lines = [line for step in self.steps.values() for line in step.out.splitlines()]
        return [line for line in lines if re.match(r"::(error|warning|notice) title=tfguard::", line)]

    @property
    def outputs(self) -> dict[str, str]:
        """What the caller of the action sees."""
        merged: dict[str, str] = {}
        for name, output in ACTION["outputs"].items():
            for step, key in re.findall(r"steps\.(\w+)\.outputs\.([\w-]+)", output["value"]):
                merged[name] = merged.get(name) or self.steps[step].outputs.get(key, "")
        return merged

    def _github(self, temp: Path, output: Path, summary: Path) -> dict[str, str]:
        return {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(self.checkout),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            "GITHUB_RUN_ID": "4812",
            "GITHUB_RUN_NUMBER": "12",
            "GITHUB_TRIGGERING_ACTOR": "ana",
            "RUNNER_TEMP": str(temp),
            "RUNNER_TOOL_CACHE": str(self.tools),
            "RUNNER_TRACKING_ID": "github_1",
        }

    def _filled(self, value: str) -> str:
        match = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value)
        assert match, f"only inputs are handed on: {value}"
        return self.inputs.get(match[1], str(ACTION["inputs"][match[1]].get("default", "")))
