"""Whether a directory is initialised for a pipeline, by all the ways in which a pipeline says its backend's values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tfguard.config.options import Options
from tfguard.errors import ConfigError
from tfguard.report.reporter import Reporter
from tfguard.run.call import Call
from tfguard.run.context import make_context
from tfguard.run.initialise import TRANSIENT, why_init

#: What init has left behind.
CACHED = {"bucket": "b", "key": "dev/x.tfstate", "endpoints": {"s3": "http://a", "sts": None}, "max_retries": 5}


def why(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    pipeline: str,
    variables: Mapping[str, str] | None = None,
    **files: str,
) -> str:
    """Ask of a directory that was initialised with `CACHED`, with more environment `variables`."""
    (folder / ".terraform").mkdir()
    cache = {"version": 3, "backend": {"type": "s3", "config": CACHED, "hash": 1}}
    (folder / ".terraform" / "terraform.tfstate").write_text(json.dumps(cache))
    (folder / "main.tf").write_text('terraform {\n  backend "s3" {}\n}\n')
    (folder / "tfguard.yml").write_text(f"version: 1\npipelines:\n  prod: {pipeline}\n")
    (folder / "terraform").touch(0o755)
    for name, text in files.items():
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    environ = {"TFGUARD_TERRAFORM": str(folder / "terraform"), **(variables or {})}
    return why_init(make_context(Call(Options(pipeline="prod"), environ, Reporter("console", -1))))


@pytest.mark.parametrize(
    "text",
    [
        'key = "dev/x.tfstate" # plain',
        'key = "dev\\u002fx.tfstate"\nmax_retries = "5"',
        'endpoints = { s3 = "http://a" }',
        'endpoints {\n  s3 = "http://a"\n}\n',
    ],
)
def test_a_backend_file_that_says_the_same_needs_no_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    assert why(tmp_path, monkeypatch, "{backend_config: [values]}", values=text) == ""


@pytest.mark.parametrize(
    ("text", "difference"),
    [
        ('key = "prod/x.tfstate"', "key is dev/x.tfstate, wanted prod/x.tfstate"),
        ('endpoints = {\n  s3 = "http://b"\n}', "endpoints.s3 is http://a, wanted http://b"),
        ("key = var.key", "key is dev/x.tfstate, wanted an expression"),
        ('endpoints {\n  s3 = "http://${var.host}"\n}', "endpoints.s3 is http://a, wanted an expression"),
    ],
)
def test_a_backend_file_that_says_otherwise_needs_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, difference: str
) -> None:
    why_not = why(tmp_path, monkeypatch, "{backend_config: [values]}", values=text)

    assert why_not == f"initialised for another backend ({difference})"


@pytest.mark.parametrize(
    "pipeline",
    [
        "{backend_config: [values.json]}",
        "{args: {init: [-backend-config=key=prod/x.tfstate]}}",
        "{args: {init: [-backend-config=values.json]}}",
        "{backend_config: {key: dev/x.tfstate}, args: {init: [-backend-config=values.json]}}",
    ],
)
def test_every_way_to_name_another_key_needs_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str
) -> None:
    why_not = why(tmp_path, monkeypatch, pipeline, **{"values.json": '{"key": "prod/x.tfstate"}'})

    assert "key is dev/x.tfstate, wanted prod/x.tfstate" in why_not


@pytest.mark.parametrize(
    ("variables", "why_not"),
    [
        ({"TF_CLI_ARGS_init": "-backend-config=key=prod/x.tfstate"}, "prod/x.tfstate"),
        ({"TF_CLI_ARGS_init": "-upgrade -backend-config key=prod/x.tfstate"}, "prod/x.tfstate"),
        ({"TF_CLI_ARGS": "--backend-config='key=prod/x.tfstate'"}, "prod/x.tfstate"),
        ({"TF_CLI_ARGS_init": "-backend-config=values"}, "file/x.tfstate"),
        ({"TF_CLI_ARGS_init": "-backend-config=key=a", "TF_CLI_ARGS": "-backend-config=key=b"}, "b"),
    ],
)
def test_backend_values_of_the_environment_are_the_pipelines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], why_not: str
) -> None:
    found = why(tmp_path, monkeypatch, "{}", variables, values='key = "file/x.tfstate"')

    assert found == f"initialised for another backend (key is dev/x.tfstate, wanted {why_not})"


def test_what_the_environment_says_comes_before_what_the_pipeline_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"TF_CLI_ARGS_init": "-backend-config=key=prod/x.tfstate"}

    assert why(tmp_path, monkeypatch, "{backend_config: {key: dev/x.tfstate}}", variables) == ""


def test_backend_values_that_only_terraform_can_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="TF_CLI_ARGS_init gives a -backend-config in shell syntax"):
        why(tmp_path, monkeypatch, "{}", {"TF_CLI_ARGS_init": r"-backend-config=key=a\tb"})


@pytest.mark.parametrize(
    "said",
    [
        'Error: pq: duplicate key value violates unique constraint "pg_type_typname_nsp_index"',
        '{"@message":"Error: pq: duplicate key value violates unique constraint \\"pg_class_relname_nsp_index\\""}',
        "Error: pq: tuple concurrently updated",
    ],
)
def test_two_who_make_the_same_schema_at_once_may_try_again(said: str) -> None:
    assert re.search("|".join(TRANSIENT), said, re.IGNORECASE)
