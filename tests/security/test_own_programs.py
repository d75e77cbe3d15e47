"""
What tfguard starts for itself is found where the operator has put it, and gets neither a secret nor a pipeline's `env`.

A shim of a version manager is a shell: BASH_ENV would make it run a program of the branch's, in `doctor` and `status`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import Stage
from tests.support.eventually import eventually, patience
from tfguard import git
from tfguard.config import values
from tfguard.config.file import inspect
from tfguard.programs import environment, find
from tfguard.terraform.binary import Binary, binary_version

#: What steers the programs of an operator, or hands them a file: never a branch's to say.
STEERING = frozenset(
    [
        "BASH_ENV",
        "ENV",
        "BASH_FUNC_x",
        "SHELLOPTS",
        "BASHOPTS",
        "PS4",
        "IFS",
        "CDPATH",
        "ZDOTDIR",
        "PROMPT_COMMAND",
        "SHELL",
        "NODE_OPTIONS",
        "NODE_PATH",
        "NODE_EXTRA_CA_CERTS",
        "PERL5OPT",
        "PERL5LIB",
        "PERL5DB",
        "RUBYOPT",
        "RUBYLIB",
        "GEM_HOME",
        "JAVA_TOOL_OPTIONS",
        "_JAVA_OPTIONS",
        "LUA_INIT",
        "GCONV_PATH",
        "LOCPATH",
        "GLIBC_TUNABLES",
        "HOSTALIASES",
        "RES_OPTIONS",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "OPENSSL_CONF",
        "OPENSSL_MODULES",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "SSLKEYLOGFILE",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "XDG_RUNTIME_DIR",
        "TMPDIR",
        "EDITOR",
        "PAGER",
        "LESSOPEN",
        "AWS_SHARED_CONFIG_FILE",
        "AWS_CONFIG_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "PYTHONSTARTUP",
        "LD_AUDIT",
        "GIT_SSH_COMMAND",
        "GIT_CONFIG_COUNT",
        "TFENV_CONFIG_DIR",
        "TFENV_ROOT",
        "ASDF_DATA_DIR",
        "MISE_CONFIG_FILE",
        "TENV_ROOT",
        "aws_config_file",
        "Bash_Env",
    ]
)
#: What a branch may well say.
HARMLESS = frozenset(
    [
        "TF_LOG",
        "TF_VAR_x",
        "TF_DATA_DIR",
        "TF_CLI_ARGS_plan",
        "TF_WORKSPACE",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_ROLE_ARN",
        "HTTPS_PROXY",
        "NO_PROXY",
        "GOOGLE_PROJECT",
        "ARM_SUBSCRIPTION_ID",
        "TFENV_TERRAFORM_VERSION",
        "ASDF_TERRAFORM_VERSION",
        "KUBE_CONFIG_PATH",
        "ENVIRONMENT",
    ]
)


def test_what_steers_programs_cannot_be_set_in_a_pipeline() -> None:
    assert [name for name in STEERING if values.environment_name(name) is None] == []
    assert [name for name in HARMLESS if values.environment_name(name) is not None] == []


def test_whatever_a_program_of_ours_gets_is_the_operators(tmp_path: Path) -> None:
    wanted = environment(dict.fromkeys([*STEERING, *HARMLESS, "PATH", "HOME", "LANG"], "x"), for_managers=True)
    path = tmp_path / "tfguard.yml"
    path.write_text(f"version: 1\npipelines: {{p: {{env: {json.dumps(wanted)}}}}}\n")

    refused = {problem.key.rpartition(".")[2] for problem in inspect(path, {})[1]}

    # A language is a name, and a version a number, which choose no program.
    assert set(wanted) - refused <= {"LANG", "TFENV_TERRAFORM_VERSION", "ASDF_TERRAFORM_VERSION"}


def shim(folder: Path, name: str) -> Path:
    """A program that writes down its environment, as a version manager's shim would have it."""
    path = folder / name
    path.write_text(f'#!/bin/bash\nenv > {folder}/{name}.env\necho \'{{"terraform_version": "1.11.4"}}\'\n')
    path.chmod(0o755)
    return path


def names_in(path: Path) -> set[str]:
    return {line.partition("=")[0] for line in path.read_text().splitlines()} - {"PWD", "SHLVL", "_", "OLDPWD"}


def test_the_version_is_asked_for_without_secrets_and_without_a_pipelines_variables(tmp_path: Path) -> None:
    (tmp_path / "evil.sh").write_text(f"touch {tmp_path}/owned\n")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "../../evil",
        "BASH_ENV": str(tmp_path / "evil.sh"),
        "AWS_SECRET_ACCESS_KEY": "s",
        "TENV_GITHUB_TOKEN": "s",
        "TFENV_TERRAFORM_VERSION": "1.11.4",
        "COLOUR": "green",
    }

    version = binary_version(Binary(shim(tmp_path, "terraform"), "terraform"), environ, tmp_path / "cache")

    assert version == "1.11.4"
    assert names_in(tmp_path / "terraform.env") <= {"PATH", "HOME", "TFENV_TERRAFORM_VERSION", "CHECKPOINT_DISABLE"}
    assert not (tmp_path / "owned").exists()


def test_git_is_asked_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim(tmp_path, "git")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # As on macOS, always.
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'http.extraheader=Authorization: s'")

    git.ask(str(tmp_path), "status")

    # LC_CTYPE is what Python sets for itself where no language is.
    plain = {"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE"}
    assert names_in(tmp_path / "git.env") <= plain | {"GIT_ALLOW_PROTOCOL"}


@pytest.mark.parametrize("entry", [".", "", "bin", "./bin", "bin/../bin"])
def test_no_program_is_found_by_a_relative_entry_of_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    (tmp_path / "bin").mkdir()
    for folder in (tmp_path, tmp_path / "bin"):
        shim(folder, "git")
        shim(folder, "sh")
    expected = shutil.which("sh")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{entry}:{os.environ['PATH']}")

    done = git.ask(str(tmp_path), "--version")

    assert done.output.startswith(b"git version")
    assert find("sh", dict(os.environ)) == expected
    assert not list(tmp_path.rglob("*.env"))


# --- patterns ------------------------------------------------------------------------------------------------------

SLOW = "(a+)+!"


@pytest.fixture
def failing(stage: object) -> Stage:
    """A pipeline whose `init` says what no slow pattern gets to the end of."""
    made: Stage = stage("local", text='module "a" { source = "./b" }\n', is_initialised=False)  # type: ignore[operator]
    program = made.path / "failing"
    program.write_text(f"#!/bin/sh\n[ $1 = version ] && exit 1\necho {'a' * 60} >&2\ntouch {made.path}/tried\nexit 1\n")
    program.chmod(0o755)
    made.environ["TFGUARD_TERRAFORM"] = str(program)
    return made


def retrying(made: Stage, *patterns: str) -> None:
    (made.path / "tfguard.yml").write_text(
        f"version: 1\npipelines: {{p: {{retry: {{init: {{attempts: 2, patterns: {json.dumps(patterns)}}}}}}}}}\n"
    )


@pytest.mark.e2e
def test_a_pattern_that_takes_too_long_is_left_out(failing: Stage) -> None:
    retrying(failing, SLOW)

    done = failing.tfguard("-p", "p", "plan")

    assert done.code == 1, str(done)
    assert "take too long to be looked for" in done.err
    assert "trying again" not in done.err


@pytest.mark.e2e
@pytest.mark.parametrize("pattern", ["(?i)A{60}", "(?x) a a #comment"])
def test_each_pattern_is_looked_for_by_itself(failing: Stage, pattern: str) -> None:
    retrying(failing, "nothing", pattern)

    done = failing.tfguard("-p", "p", "plan")

    assert done.code == 1, str(done)
    assert "trying again" in done.err


@pytest.mark.e2e
@pytest.mark.parametrize("pattern", [SLOW, "aaa"])
def test_signals_are_heard_while_patterns_are_looked_for_and_before_the_next_try(failing: Stage, pattern: str) -> None:
    retrying(failing, pattern)

    ours = failing.start_tfguard("-p", "p", "plan")
    try:
        eventually((failing.path / "tried").exists)
        ours.send_signal(signal.SIGTERM)
        code = ours.wait(patience(5))
    finally:
        ours.kill()
        ours.communicate()

    assert code == -signal.SIGTERM


@pytest.mark.parametrize("pattern", ["a{99999999999}", "a" * 1001, "(?P<a>x)(?P<a>y)"])
def test_a_pattern_that_cannot_be_used_is_one_clear_line(tmp_path: Path, pattern: str) -> None:
    path = tmp_path / "tfguard.yml"
    path.write_text(f"version: 1\npipelines: {{p: {{retry: {{init: {{patterns: ['{pattern}']}}}}}}}}\n")

    _, problems = inspect(path, {})

    assert [problem.where.rpartition(":")[2] for problem in problems] == ["2"]
