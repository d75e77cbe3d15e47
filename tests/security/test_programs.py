"""
What a branch brings along starts no program of its choice, and is imported by nobody.

This is about tfguard itself: Terraform code from a pull request runs programs anyway.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ROOT, Stage
from tests.support import sources
from tfguard.backends.aws.credentials import Credentials
from tfguard.backends.aws.spec import AwsAccess
from tfguard.config.changed import changed_since
from tfguard.errors import ConfigError, StoreMisconfigured
from tfguard.git import is_tracked

ROLE = "arn:aws:iam::123456789012:role/x"
KEYS = "aws_access_key_id = A\naws_secret_access_key = s\n"
Make = Callable[..., Stage]
STILL = 'resource "terraform_data" "a" {\n  input = "x"\n}\n'
#: What an import of ours, or Python itself at its start, could find in a working directory.
MODULES = (
    "boto3",
    "botocore",
    "click",
    "json",
    "msgspec",
    "psutil",
    "sitecustomize",
    "usercustomize",
    "yaml",
)


# --- no shell -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("tfguard/**/*.py"), *ROOT.glob("action/*.py")]), ids=lambda path: path.stem
)
def test_no_code_of_ours_uses_a_shell_or_runs_text(path: Path) -> None:
    for call in (node for node in ast.walk(sources.tree_of(path)) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)

        assert name not in {"eval", "exec", "os.system", "os.popen", "subprocess.getoutput"}, ast.unparse(call)
        assert not name.startswith(("pickle.", "marshal.", "yaml.load", "yaml.unsafe", "yaml.full")), ast.unparse(call)
        assert all(keyword.arg != "shell" for keyword in call.keywords), ast.unparse(call)


def test_names_that_are_commands_to_a_shell_are_names_to_us(stage: Make) -> None:
    hostile = "$(touch owned);`touch owned`&touch owned"
    made = stage("local", text=STILL, name=hostile)
    (made.path.parent / "tfguard.yml").write_text(
        "version: 1\npipelines:\n" + f"  {json.dumps(hostile)}: {{dir: {json.dumps(hostile)}, approve: auto}}\n"
    )

    result = made.tfguard("-p", hostile, "apply", "-auto-approve", "-input=false")
    made.tfguard("-p", hostile, "status")
    made.tfguard("exec", "--name", hostile, "--store", "../locks", "--", "true")

    assert result.code == 0, str(result)
    assert made.resources() == ["terraform_data.a"]
    assert list(made.path.parent.rglob("owned")) == []


# --- modules in the working directory -------------------------------------------------------------------------------


def as_installed(folder: Path) -> list[str]:
    """tfguard as pip installs it: a script in a folder of its own."""
    script = folder / "bin" / "tfguard"
    script.parent.mkdir()
    script.write_text("import sys\nfrom tfguard.__main__ import main\nsys.exit(main())\n")
    return [sys.executable, str(script)]


@pytest.mark.parametrize("way", ["installed", "-m"])
def test_no_module_that_lies_in_the_working_directory_is_imported(stage: Make, tmp_path: Path, way: str) -> None:
    made = stage("dynamodb", text=STILL)
    owned = tmp_path / "owned"
    for name in MODULES:
        (made.path / f"{name}.py").write_text(f"open({str(owned)!r}, 'a').write({name!r})\n")
    if way == "installed":
        (made.path / "tfguard").mkdir()
        (made.path / "tfguard" / "__init__.py").write_text(f"open({str(owned)!r}, 'a').write('tfguard')\n")
    command = as_installed(tmp_path) if way == "installed" else [sys.executable, "-m", "tfguard"]

    results = [
        made.run([*command, *words])
        for words in (["apply", "-auto-approve"], ["status", "--json"], ["settle"], ["exec", "--", "true"], ["version"])
    ]

    assert [result.code for result in results] == [0] * 5, "\n".join(map(str, results))
    assert not owned.exists(), owned.read_text()


# --- programs named by files of the checkout ------------------------------------------------------------------------


def planted(folder: Path) -> tuple[Path, Path]:
    """A program that leaves a trace when it runs; gives both."""
    program, trace = folder / "evil.sh", folder / "owned"
    program.write_text(f"#!/bin/sh\ntouch {trace}\n")
    program.chmod(0o755)
    return program, trace


@pytest.mark.parametrize(
    "settings",
    [
        "binary: ./evil.sh",
        "binary: evil.sh",
        "env: {PATH: .}",
        "env: {HOME: .}",
        "env: {PYTHONPATH: .}",
        "env: {LD_PRELOAD: ./evil.so}",
        "env: {GIT_EXTERNAL_DIFF: ./evil.sh}",
        "env: {TF_CLI_CONFIG_FILE: ./evil.tfrc}",
        "env: {TFGUARD_TERRAFORM: ./evil.sh}",
        "env: {AWS_CONFIG_FILE: ./aws}",
        "env: {AWS_SHARED_CONFIG_FILE: ./aws}",
        "env: {AWS_SHARED_CREDENTIALS_FILE: ./aws}",
    ],
)
def test_a_configuration_that_chooses_programs_is_refused(stage: Make, settings: str) -> None:
    made = stage("local", text=STILL, is_initialised=False)
    _, trace = planted(made.path)
    (made.path / "tfguard.yml").write_text(f"version: 1\npipelines:\n  prod: {{{settings}}}\n")

    result = made.tfguard("-p", "prod", "plan", PATH=f"{made.environ['PATH']}:")

    assert result.code == 78, str(result)
    assert "tfguard.yml:3" in result.err
    assert not trace.exists()


@pytest.mark.parametrize("command", [["status"], ["plan"], ["doctor"]])
def test_a_program_that_a_backend_gets_its_credentials_from_is_not_run(stage: Make, command: list[str]) -> None:
    made = stage("local", text=STILL, is_initialised=False)
    program, trace = planted(made.path)
    profile = made.path / "aws"
    profile.write_text(f"[profile evil]\nCredential_Process = {program}\n")
    config: dict[str, Any] = {
        "bucket": "b",
        "key": "k",
        "region": "eu-west-1",
        "dynamodb_table": "t",
        "profile": "evil",
    }
    cache = made.path / ".terraform" / "terraform.tfstate"
    cache.parent.mkdir()
    (made.path / "main.tf").write_text('terraform {\n  backend "s3" {}\n}\n')
    config["shared_config_files"] = [str(profile)]
    cache.write_text(json.dumps({"version": 3, "backend": {"type": "s3", "config": config, "hash": 1}}))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del made.environ[name]

    result = made.tfguard(*command)

    assert result.code != 0
    assert "credential_process" in result.out + result.err, str(result)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("config", "credentials"),
    [
        ("[profile evil]\ncredential_process = X\n", ""),
        ("[profile evil]\nCREDENTIAL_PROCESS: X\n", ""),
        ("[profile evil]\n  Credential_Process = X # harmless\n", ""),
        ("[ profile  evil ]\ncredential_process = true\nCredential_process = X\n", ""),
        ("", "[evil]\ncredential_process = X\n"),
        ("[profile evil]\nregion = a\n", "[evil]\ncredential_process = X\n"),
        (f"[profile evil]\nrole_arn = {ROLE}\nsource_profile = b\n[profile b]\ncredential_process = X\n", ""),
        (f"[profile evil]\nrole_arn = {ROLE}\ncredential_process = X\n", ""),
        (f"[profile evil]\nrole_arn = {ROLE}\nsource_profile = b\n", "[b]\ncredential_process = X\n"),
    ],
)
@pytest.mark.parametrize("place", ["checkout", "link", "working directory"])
def test_whatever_way_a_checkout_names_a_program_it_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, credentials: str, place: str
) -> None:
    program, trace = planted(tmp_path)
    folder = tmp_path / "checkout"
    folder.mkdir()
    if place == "working directory":
        monkeypatch.chdir(folder)
    else:
        (folder / ".git").mkdir()
    for name, text in {"c": config, "d": credentials}.items():
        (folder / name).write_text(text.replace("X", str(program)))
    if place == "link":
        (tmp_path / "outside").symlink_to(folder)
    named = tmp_path / ("outside" if place == "link" else "checkout")
    access = AwsAccess(
        region="eu-west-1",
        profile="evil",
        shared_config_files=(str(named / "c"),),
        shared_credentials_files=(str(named / "d"),),
    )

    for _ in range(2):  # The first session of a process once knew other files than the second.
        with closing(Credentials(access)) as found, pytest.raises(StoreMisconfigured, match="credential_process"):
            found.client("dynamodb")

    assert not trace.exists()


def test_a_checkout_may_name_programs_that_nobody_would_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, trace = planted(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "c").write_text(
        f"[profile evil]\ncredential_process = {program}\n[profile good]\n{KEYS}# credential_process\n"
    )
    access = AwsAccess(region="eu-west-1", profile="good", shared_config_files=(str(tmp_path / "c"),))

    with closing(Credentials(access)) as found, closing(found.client("dynamodb")):
        pass

    assert not trace.exists()


def test_the_users_own_file_may_name_a_program_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    said = '{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "s"}'
    (tmp_path / "c").write_text(f"[profile mine]\ncredential_process = printf '%s' '{said}'\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "c"))

    with (
        closing(Credentials(AwsAccess(region="eu-west-1", profile="mine"))) as found,
        closing(found.client("dynamodb")),
    ):
        assert found.get_frozen_credentials().access_key == "A"


# --- git ------------------------------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Two commits, the second of which changes `b`."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    for name in ("a", "b"):
        (folder / name).write_text(name)
        git(folder, "add", name)
        git(folder, "commit", "-q", "-m", name)
    return folder


def test_git_runs_nothing_that_a_checkouts_configuration_names(checkout: Path, tmp_path: Path) -> None:
    program, trace = planted(tmp_path)
    (checkout / ".gitattributes").write_text("* diff=evil filter=evil\n")
    git(checkout, "add", ".gitattributes")
    git(checkout, "commit", "-q", "-m", "attributes")
    hooks = checkout / "hooks"
    hooks.mkdir()
    for hook in ("post-index-change", "reference-transaction", "fsmonitor-watchman"):
        (hooks / hook).symlink_to(program)
    for key in (
        "core.fsmonitor",
        "core.pager",
        "diff.external",
        "diff.evil.textconv",
        "diff.evil.command",
        "filter.evil.clean",
    ):
        git(checkout, "config", key, str(program))
    git(checkout, "config", "core.hooksPath", str(hooks))
    trace.unlink(missing_ok=True)

    found = changed_since(checkout, "HEAD~1")

    assert [os.path.basename(path) for path in found] == [".gitattributes"]
    assert is_tracked(str(checkout), "a")
    assert not is_tracked(str(checkout), "hooks/fsmonitor-watchman")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("url", "key"), [("/nowhere", "remote.origin.uploadpack"), ("ssh://nowhere/x", "core.sshCommand")]
)
def test_what_a_partial_clone_lacks_is_not_fetched(checkout: Path, tmp_path: Path, url: str, key: str) -> None:
    program, trace = planted(tmp_path)
    tree = git(checkout, "rev-parse", "HEAD~1^{tree}").strip()
    (checkout / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    git(checkout, "config", "core.repositoryformatversion", "1")
    git(checkout, "config", "extensions.partialClone", "origin")
    git(checkout, "config", "remote.origin.url", url)
    git(checkout, "config", key, str(program))

    with pytest.raises(ConfigError, match="partial"):
        changed_since(checkout, "HEAD~1")

    assert is_tracked(str(checkout), "a")
    assert not trace.exists()


def test_a_repository_that_a_branch_brings_along_is_no_checkout(checkout: Path, tmp_path: Path) -> None:
    program, trace = planted(tmp_path)
    inner = checkout / "stack"
    subprocess.run(["git", "clone", "-q", "--bare", str(checkout), str(inner)], check=True, capture_output=True)
    with (inner / "config").open("a") as file:
        file.write(f"[core]\n\tbare = false\n\tworktree = {checkout}\n\tfsmonitor = {program}\n")

    with pytest.raises(ConfigError, match="git cannot compare"):
        changed_since(inner, "HEAD~1")

    assert not is_tracked(str(inner), "a")
    assert not trace.exists()
