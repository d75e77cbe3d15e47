"""
What a person reads for each mistake, word for word.

The snapshots are in tests/messages/config; `UPDATE_MESSAGES=1` writes them anew, to be read before they are
committed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tfguard.config.file import find_config
from tfguard.config.settings import var_file_arguments
from tfguard.errors import ConfigError, UsageError

SNAPSHOTS = Path(__file__).parent / "messages"
SECRET = "hunter2-planted"


class Case(NamedTuple):
    text: str | bytes
    pipeline: str | None = "prod"
    environ: dict[str, str] = {}
    flags: dict[tuple[str | int, ...], tuple[str, str]] = {}


def prod(body: str) -> str:
    return "version: 1\npipelines:\n  prod:\n" + "".join(f"    {line}\n" for line in body.split("\n"))


CASES = {
    # The file
    "empty-file": Case(""),
    "no-version": Case("pipelines: {}\n"),
    "version-of-the-future": Case("version: 2\n"),
    "version-as-text": Case("version: '1'\n"),
    "not-a-map": Case("- a\n- b\n"),
    "tab": Case("version: 1\npipelines:\n\tprod:\n"),
    "syntax": Case("version: 1\npipelines: {prod: [\n"),
    "unquoted-braces": Case("version: 1\npipelines: {{ all }}\n"),
    "two-documents": Case("version: 1\n---\nversion: 1\n"),
    "not-utf-8": Case(b"version: 1\npipelines: {caf\xe9: {}}\n"),
    "control-character": Case(b"version: 1\n# \x01\n"),
    "tag": Case("version: 1\npipelines: !!python/object:os.system {}\n"),
    "duplicate-key": Case("version: 1\npipelines:\n  prod: {}\n  dev: {}\n  prod: {dir: x}\n"),
    "unknown-anchor": Case("version: 1\npipelines: *all\n"),
    # Keys and types
    "unknown-top-key": Case("version: 1\npipeline: {}\n"),
    "unknown-key": Case(prod("lock:\n  leese: 60s")),
    "unknown-key-like-no-other": Case(prod("lock:\n  qqqq: 60s")),
    "several-problems": Case(prod("lock:\n  leese: 60s\n  mode: nmaed\nsteps: plan")),
    "wrong-type-text": Case(prod("dir: 5")),
    "wrong-type-list": Case(prod("steps: plan")),
    "wrong-type-map": Case(prod("lock: 60s")),
    "wrong-type-backend-config": Case(prod("backend_config: 5")),
    "env-number": Case(prod(f"env: {{TOKEN: {'9' * 12}}}")),
    "unknown-word": Case(prod("lock: {mode: nmaed}")),
    "path-as-binary": Case(prod("binary: /usr/bin/terraform")),
    "unknown-command-in-args": Case(prod("args: {pln: [-refresh=false]}")),
    "unknown-step": Case(prod("steps: [init, plna]")),
    "retry-attempts": Case(prod("retry: {init: {attempts: 0}}")),
    # Values
    "duration-without-unit": Case(prod("lock: {timeout: 90}")),
    "duration-unknown-unit": Case(prod("run_timeout: 1 hour")),
    "lease-too-short": Case(prod("lock: {lease: 29s}")),
    "lease-too-long": Case(prod("lock: {lease: 87600h}")),
    "timeout-negative": Case(prod("lock: {timeout: -1s}")),
    "run-timeout-zero": Case(prod("run_timeout: 0")),
    "steps-out-of-order": Case(prod("steps: [plan, init]")),
    "steps-empty": Case(prod("steps: []")),
    "workspace-with-slash": Case(prod("workspace: a/b")),
    "empty-dir": Case(prod("dir: ''")),
    "empty-var-file": Case(prod("var_files: ['']")),
    "retry-pattern": Case(prod("retry: {init: {patterns: ['(']}}")),
    "variable-name": Case(prod("vars: {a b: 1}")),
    "env-name": Case(prod("env: {A=B: c}")),
    "env-path": Case(prod("env: {PATH: /evil}")),
    "env-tfguard": Case(prod("env: {TFGUARD_LOCK_ID: x}")),
    "nul": Case(prod('env: {A: "a\\0b"}')),
    "name-that-climbs": Case("version: 1\npipelines:\n  ../prod: {}\n"),
    "name-like-an-option": Case("version: 1\npipelines:\n  -prod: {}\n"),
    "name-with-escape": Case('version: 1\npipelines:\n  "prod\\e[31m": {}\n'),
    "names-alike": Case("version: 1\npipelines:\n  prod: {}\n  Prod: {}\n"),
    # Combinations
    "named-without-name": Case(prod("lock: {mode: named, store: 'file:///locks'}")),
    "named-without-store": Case(prod("lock: {mode: named, name: prod}")),
    "name-without-named": Case(prod("lock: {name: prod}")),
    "workspace-twice": Case(prod("workspace: prod\nenv: {TF_WORKSPACE: dev}")),
    "variable-twice": Case(prod("vars: {region: a}\nenv: {TF_VAR_region: b}")),
    # Variables
    "unset-variable": Case(prod("vars:\n  region: ${REGION}")),
    "unset-variable-in-defaults": Case("version: 1\ndefaults:\n  env: {A: '${REGION}'}\npipelines: {prod: {}}\n"),
    "malformed-variable": Case(prod("vars:\n  policy: arn:${aws:username}")),
    "variable-that-is-no-duration": Case(prod("lock: {lease: '${LEASE}'}"), environ={"LEASE": SECRET}),
    "variable-that-is-no-word": Case(prod("approve: ${APPROVE}"), environ={"APPROVE": SECRET}),
    "variable-that-is-no-number": Case(prod("retry: {init: {attempts: '${N}'}}"), environ={"N": SECRET}),
    # A run
    "unknown-pipeline": Case("version: 1\npipelines: {prod/network: {}, dev/network: {}}\n", "prod/netwrok"),
    "unknown-pipeline-of-none": Case("version: 1\n"),
    "no-such-directory": Case(prod("dir: nowhere")),
    "no-such-directory-from-a-variable": Case(prod("dir: a/${STACK}"), environ={"STACK": SECRET}),
    "environment-no-duration": Case(prod("{}"), environ={"TFGUARD_LOCK_TIMEOUT": "5"}),
    "environment-lease-too-short": Case(prod("{}"), environ={"TFGUARD_LOCK_LEASE": "5s"}),
    "environment-unknown-word": Case(prod("{}"), environ={"TFGUARD_LOCK_TAKEOVER": "allways"}),
    "flag-no-duration": Case(prod("{}"), flags={("lock", "timeout"): ("soon", "--lock-timeout")}),
}


def assert_snapshot(name: str, message: str) -> None:
    file = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("UPDATE_MESSAGES") == "1":
        file.write_text(message + "\n", encoding="utf-8")
    lines = message.split("\n")

    assert file.read_text(encoding="utf-8") == message + "\n"
    assert len(lines) <= 3
    assert all(len(line) <= 120 and line.isprintable() for line in lines)
    assert SECRET not in message


@pytest.mark.parametrize("name", CASES)
def test_each_mistake_has_one_clear_message(name: str, settle: Callable[..., Any], tmp_path: Path) -> None:
    case = CASES[name]
    expected = UsageError if case.flags else ConfigError

    with pytest.raises(expected) as caught:
        settle(case.text, case.pipeline, case.environ, case.flags)

    assert_snapshot(name, str(caught.value).replace(str(tmp_path), "/project"))


def test_a_missing_var_file_is_named_before_terraform_starts(settle: Callable[..., Any], tmp_path: Path) -> None:
    settings = settle(prod("var_files: ['${STACK}.tfvars']"), environ={"STACK": SECRET})

    with pytest.raises(ConfigError) as caught:
        var_file_arguments(settings, ["plan"])

    assert_snapshot("no-such-var-file", str(caught.value).replace(str(tmp_path), "/project"))


@pytest.mark.parametrize(
    ("name", "explicit", "environ"),
    [
        ("config-flag-missing-file", "nowhere.yml", {}),
        ("config-variable-missing-file", None, {"TFGUARD_CONFIG": "nowhere.yml"}),
        ("config-flag-of-nobody", "~nobody-of-this-name/tfguard.yml", {}),
        ("config-flag-empty", "", {}),
    ],
)
def test_a_named_file_that_is_missing_is_an_error(
    name: str, explicit: str | None, environ: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        find_config(tmp_path, explicit, environ)

    assert_snapshot(name, str(caught.value))


def test_a_file_with_the_wrong_ending_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tfguard.yaml").write_text("version: 1\n")

    with pytest.raises(ConfigError) as caught:
        find_config(tmp_path, None, {})

    assert_snapshot("wrong-ending", str(caught.value))


def test_a_pipeline_without_any_file_is_an_error(tmp_path: Path) -> None:
    from tfguard.config.settings import resolve

    with pytest.raises(ConfigError) as caught:
        resolve(None, "prod", directory=tmp_path, environ={})

    assert_snapshot("pipeline-without-file", str(caught.value))


def test_no_snapshot_is_left_over_from_a_case_that_is_gone() -> None:
    of_other_tests = {
        "no-such-var-file",
        "config-flag-missing-file",
        "config-variable-missing-file",
        "config-flag-of-nobody",
        "config-flag-empty",
        "wrong-ending",
        "pipeline-without-file",
    }

    assert {file.stem for file in SNAPSHOTS.glob("*.txt")} == set(CASES) | of_other_tests
