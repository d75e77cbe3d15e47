"""Help, version, and what becomes of errors; each in a process of its own, as a shell would see it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.e2e import forked
from tfguard import redaction
from tfguard.cli import own_commands
from tfguard.cli.main import OWN

ROOT = Path(__file__).parents[2]


def tfguard(*words: str, directory: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(ROOT), **environ}
    return forked.completed(words, directory, given)


def test_help_shows_options_commands_and_examples(tmp_path):
    result = tfguard("--help", directory=tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    for word in ("tfguard apply", "-p, --pipeline", "--lock-timeout", "run ", "exec ", "doctor ", "status ", "unlock "):
        assert word in result.stdout


def test_every_command_of_ours_is_kept_from_terraform():
    assert set(own_commands.group.commands) == OWN


def commands_of(group: click.Group, *above: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*above, name)
        if isinstance(command, click.Group):
            yield from commands_of(command, *above, name)


@pytest.mark.parametrize("words", [*commands_of(own_commands.group)], ids=" ".join)
def test_each_command_of_ours_explains_itself_with_an_example(words):
    result = CliRunner().invoke(own_commands.group, [*words, "--help"], prog_name="tfguard")

    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: tfguard {' '.join(words)} ")
    assert f"For example: tfguard {' '.join(words)}" in result.output


@pytest.mark.parametrize("flag", ["--help", "-h", "-help"])
def test_help_is_asked_for_as_of_terraform_too(flag, tmp_path):
    result = tfguard("doctor", flag, directory=tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    assert "For example: tfguard doctor" in result.stdout


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_version_is_terraforms_then_ours(tmp_path):
    program(tmp_path / "terraform", """echo '{"terraform_version": "1.2.3"}'""")

    result = tfguard("--version", directory=tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")

    theirs, ours = result.stdout.splitlines()
    assert ours.startswith("tfguard ")
    assert theirs == "Terraform v1.2.3"
    assert result.returncode == 0


def test_the_version_is_told_without_terraform_too(tmp_path):
    result = tfguard("--version", directory=tmp_path, PATH="/nowhere")

    assert result.stdout.splitlines()[1:] == ["terraform not found"]
    assert result.returncode == 0


@pytest.mark.usefixtures("real_terraform")
@pytest.mark.parametrize("words", [["run", "--no"], ["exec"], ["-p"], ["run", "a", "b"], ["plan", "-p", "x"]])
def test_a_usage_error_is_64_and_never_clicks_2(words, tmp_path):
    result = tfguard(*words, directory=tmp_path)

    assert result.returncode == 64
    assert result.stdout == ""


#: The commands that take PIPELINE, each with what it needs besides.
TAKERS = ["run", "status", "history", "doctor", "unlock --id x --yes", "hold --reason x"]


@pytest.mark.usefixtures("real_terraform")
@pytest.mark.parametrize("line", TAKERS)
def test_a_pipeline_is_the_same_as_argument_and_as_option(line, tmp_path):
    (tmp_path / "tfguard.yml").write_text("version: 1\npipelines: {prod: {}}\n")
    command, *more = line.split()

    as_argument = tfguard(command, "porod", *more, directory=tmp_path)
    as_option = tfguard("-p", "porod", command, *more, directory=tmp_path)
    as_both = tfguard("-p", "porod", command, "porod", *more, directory=tmp_path)

    assert as_option.stderr.startswith("porod: tfguard.yml has no pipeline porod.\nPipelines there: prod.\n")
    assert (as_option.returncode, as_option.stdout) == (78, "")
    results = [(each.returncode, each.stdout, each.stderr) for each in (as_argument, as_option, as_both)]
    assert results == [results[0]] * 3


@pytest.mark.usefixtures("real_terraform")
@pytest.mark.parametrize("line", TAKERS)
def test_two_pipelines_at_once_are_refused(line, tmp_path):
    command, *more = line.split()

    result = tfguard("-p", "a", command, "b", *more, directory=tmp_path)

    assert result.stderr == "a: -p says a, the argument says b.\nGive one of them.\n"
    assert (result.returncode, result.stdout) == (64, "")


def test_a_recommended_command_names_the_pipeline_however_it_was_given(tmp_path):
    program(tmp_path / "terraform", "exit 1")
    (tmp_path / "tfguard.yml").write_text("version: 1\npipelines: {prod: {}}\n")
    (tmp_path / "main.tf").write_text('terraform {\n  backend "s3" {}\n}\n')

    result = tfguard("status", "prod", directory=tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert result.returncode == 78
    assert "Run: tfguard -p prod init\n" in result.stderr


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        ("AWS_SECRET_ACCESS_KEY", True),
        ("AWS_SESSION_TOKEN", True),
        ("AWS_SSE_CUSTOMER_KEY", True),
        ("GITHUB_TOKEN", True),
        ("TF_VAR_db_password", True),
        ("TF_TOKEN_app_terraform_io", True),
        ("secret_key", True),
        ("sas_token", True),
        ("conn_str", True),
        ("TF_VAR_region", False),
        ("TF_VAR_environment", False),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", False),
        ("AWS_REGION", False),
        ("key", False),
        ("workspace_key_prefix", False),
        ("TFGUARD_FENCING_TOKEN", False),
    ],
)
def test_a_name_tells_whether_its_value_is_a_secret(name, is_secret):
    assert redaction.is_secret_name(name) == is_secret


def test_secrets_are_found_in_nested_settings():
    settings = {"bucket": "b", "assume_role": {"role_arn": "a"}, "nested": {"deeper": {"password": "hunter2"}}}

    assert redaction.secrets_among(settings) == ["hunter2"]
