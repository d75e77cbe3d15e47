"""tfguard.yml, looked at through the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Stage
from tests.support.pages import blocks, pages
from tfguard import SCHEMA
from tfguard.config.file import inspect
from tfguard.config.named_files import missing_files

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
FILE = """\
version: 1
defaults:
  lock: {timeout: 20m}
pipelines:
  prod/network:
    dir: .
    vars: {password: hunter2-hunter2}
    backend_config: {secret_key: hunter3-hunter3}
    run_timeout: ${LIMIT}
"""
IS_A_FILE = re.compile(r"(#.*\n)*version: 1\n")
EXAMPLES = [
    *[block for text in pages().values() for block in blocks(text, "yaml") if IS_A_FILE.match(block)],
    *[path.read_text(encoding="utf-8") for path in (ROOT / "examples").rglob("tfguard.yml")],
]


@pytest.fixture
def made(stage: Make) -> Stage:
    made = stage("local", is_initialised=False)
    (made.path / "tfguard.yml").write_text(FILE)
    return made


def test_show_tells_each_value_and_where_it_comes_from(made: Stage) -> None:
    environ = {"LIMIT": "45m", "TFGUARD_LOCK_TAKEOVER": "never"}

    result = made.tfguard("config", "show", "prod/network", "--origin", **environ)

    assert result.code == 0, str(result)
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in result.out.splitlines()}
    assert lines["run_timeout"] == ["45m", "tfguard.yml:9 pipelines.prod/network.run_timeout"]
    assert lines["lock.timeout"] == ["20m", "tfguard.yml:3 defaults.lock.timeout"]
    assert lines["lock.takeover"] == ["never", "TFGUARD_LOCK_TAKEOVER"]
    assert lines["lock.lease"] == ["180s", "built in"]


def test_show_as_json_tells_the_same(made: Stage) -> None:
    result = made.tfguard("config", "show", "prod/network", "--json", LIMIT="45m")

    facts = json.loads(result.out)

    assert facts["lock.timeout"] == {"value": "20m", "origin": "tfguard.yml:3 defaults.lock.timeout"}


def test_show_never_shows_a_secret(made: Stage) -> None:
    for words in ((), ("--origin",), ("--json",)):
        result = made.tfguard("config", "show", "prod/network", *words, LIMIT="45m")

        assert result.code == 0, str(result)
        assert "hunter" not in result.out + result.err


def test_validate_takes_a_file_without_its_variables_but_a_pipeline_needs_them(made: Stage) -> None:
    whole, one = made.tfguard("config", "validate"), made.tfguard("config", "validate", "prod/network")

    assert (whole.code, whole.out) == (0, "tfguard.yml is valid: 1 pipeline.\n")
    assert one.code == 78
    assert "the variable LIMIT is not set" in one.err


def test_validate_tells_of_everything_that_is_wrong(made: Stage) -> None:
    (made.path / "tfguard.yml").write_text("version: 1\npipelines:\n  a: {dri: x}\n  b: {init: maybe}\n")

    result = made.tfguard("config", "validate")

    assert result.code == 78
    assert "tfguard.yml:3" in result.err
    assert "tfguard.yml:4" in result.err
    assert "2 problems." in result.err


def test_validate_says_when_there_is_no_file(stage: Make) -> None:
    made = stage("local", is_initialised=False)

    result = made.tfguard("config", "validate")

    assert result.code == 78
    assert "no tfguard.yml" in result.err


def test_the_shipped_schema_is_the_printed_one(made: Stage) -> None:
    printed = made.tfguard("config", "schema").out

    assert (ROOT / "tfguard" / "tfguard.schema.json").read_text(encoding="utf-8") == printed


def test_a_first_file_is_written_and_is_right(stage: Make) -> None:
    made = stage("local", is_initialised=False)
    (made.path / "backend.tf").write_text('terraform {\n  backend "s3" {}\n}\n')

    written = made.tfguard("config", "init")
    checked = made.tfguard("config", "validate")
    again = made.tfguard("config", "init")

    assert written.out == "Wrote tfguard.yml: 1 directory with a backend.\n", str(written)
    assert (checked.code, checked.out) == (0, "tfguard.yml is valid: 1 pipeline.\n"), str(checked)
    assert again.code == 78
    assert "tfguard.yml is there already" in again.err
    assert "tfguard config validate" in again.err


def make_what_it_names(file: Path) -> None:
    for missing in missing_files(inspect(file, {})[0], {}):
        path = file.parent / missing.problem.advice.removeprefix("Looked for ").partition(";")[0]
        if missing.problem.what == "no such directory":
            path.mkdir(parents=True, exist_ok=True)
        elif missing.is_certain:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def test_validate_tells_of_a_file_that_is_not_there(made: Stage) -> None:
    text = "version: 1\npipelines:\n  a: {dir: lost}\n  b: {var_files: ['${X:-later}.tfvars']}\n"
    (made.path / "tfguard.yml").write_text(text)

    wrong = made.tfguard("config", "validate")
    (made.path / "lost").mkdir()
    right = made.tfguard("config", "validate")

    assert (wrong.code, right.code) == (78, 0), f"{wrong}{right}"
    assert "tfguard.yml:3: pipelines.a.dir: no such directory" in wrong.err
    assert "1 problem." in wrong.err
    assert "pipelines.b.var_files[0]: no such file" in right.err
    assert right.out == "tfguard.yml is valid: 2 pipelines.\n"


def test_every_whole_example_of_the_docs_says_where_its_schema_is() -> None:
    for text in EXAMPLES:
        assert f"# yaml-language-server: $schema={SCHEMA}\n" in text


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_right_by_the_schema_and_by_validate(made: Stage, text: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    yaml = pytest.importorskip("yaml")
    (made.path / "tfguard.yml").write_text(text)
    make_what_it_names(made.path / "tfguard.yml")

    result = made.tfguard("config", "validate")

    assert result.code == 0, str(result)
    jsonschema.validate(yaml.safe_load(text), json.loads(made.tfguard("config", "schema").out))
