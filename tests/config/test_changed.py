"""`config list`: the pipelines that a change concerns."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e import forked
from tests.e2e.conftest import base_environ
from tfguard.config.changed import changed_since

CONFIG = "version: 1\npipelines:\n  a: {dir: a}\n  b: {dir: b, paths: ['modules/*/x.tf', 'shared/**']}\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    for folder in ("a", "b"):
        (root / folder).mkdir(parents=True)
    (root / "tfguard.yml").write_text(CONFIG)
    git(root, "init", "-q", "-b", "main")
    commit(root)
    git(root, "tag", "before")
    return root


def git(root: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)


def commit(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("changed")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "x")


def listed(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return forked.completed(["config", "list", "--json", *words], root, base_environ(root.parent))


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["README.md"], []),
        (["a/main.tf"], ["a"]),
        (["modules/m/x.tf"], ["b"]),
        (["modules/m/deep/x.tf"], []),
        (["shared/deep/y.tf", "a/z.tf"], ["a", "b"]),
        (["ab/main.tf"], []),
    ],
)
def test_only_the_pipelines_that_a_change_concerns_are_listed(repository: Path, files, names) -> None:
    commit(repository, *files)

    done = listed(repository, "--changed-since", "before")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == names


def test_without_a_commit_all_are_listed(repository: Path) -> None:
    assert json.loads(listed(repository).stdout) == ["a", "b"]


@pytest.mark.parametrize(("commit", "code"), [("nowhere", 78), ("--output=x", 64)])
def test_a_commit_that_is_not_here_is_one_clear_error(repository: Path, commit: str, code: int) -> None:
    done = listed(repository, f"--changed-since={commit}")

    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) <= 3


READS = """
version: 1
pipelines:
  prod:
    dir: stacks/prod
    var_files: [env/prod.tfvars]
    backend_config: [env/prod.tfbackend]
    args: {plan: ["-var-file=../../env/more.tfvars"], init: ["-backend-config=../../env/init.tfbackend"]}
  other: {dir: stacks/other, backend_config: {key: x}}
"""


@pytest.fixture
def reading(tmp_path: Path) -> Path:
    """Two pipelines: `prod` reads what lies elsewhere, `other` does not."""
    root = tmp_path / "reading"
    for folder in ("stacks/prod", "stacks/other", "env", "modules/net/deep", "modules/far", "real"):
        (root / folder).mkdir(parents=True)
    (root / "tfguard.yml").write_text(READS)
    for name in ("prod.tfvars", "more.tfvars", "prod.tfbackend", "init.tfbackend"):
        (root / "env" / name).write_text("")
    (root / "stacks/prod/main.tf").write_text('module "net" {\n  source = "../../modules/net" # ours\n}\n')
    (root / "modules/net/main.tf").write_text('module "deep" {\n  count = 1\n  source = "./deep"\n}\n')
    (root / "modules/net/deep/main.tf.json").write_text('{"module": {"far": [{"source": "../../far"}]}}')
    (root / "modules/far/main.tf").write_text("")
    (root / "real/x.tf").write_text("")
    (root / "stacks/prod/x.tf").symlink_to("../../real/x.tf")
    git(root, "init", "-q", "-b", "main")
    commit(root)
    git(root, "tag", "before")
    return root


@pytest.mark.parametrize(
    "file",
    [
        *("env/prod.tfvars", "env/more.tfvars", "env/prod.tfbackend", "env/init.tfbackend"),
        *("modules/net/y.tf", "modules/net/deep/y.tf", "modules/far/y.tf"),
        *("stacks/prod/.terraform.lock.hcl", "stacks/prod/templates/a.txt"),
    ],
)
def test_whatever_a_pipeline_reads_concerns_it_and_no_other(reading: Path, file: str) -> None:
    commit(reading, file)

    assert json.loads(listed(reading, "--changed-since", "before").stdout) == ["prod"]


def test_tfguard_yml_concerns_all(reading: Path) -> None:
    (reading / "tfguard.yml").write_text(READS + "# more\n")
    commit(reading)

    assert json.loads(listed(reading, "--changed-since", "before").stdout) == ["prod", "other"]


def test_a_directory_that_is_a_link_is_read_through_it(reading: Path) -> None:
    (reading / "current").symlink_to("stacks/prod")
    (reading / "tfguard.yml").write_text("version: 1\npipelines: {prod: {dir: current}}\n")
    commit(reading)
    git(reading, "tag", "linked")
    commit(reading, "stacks/prod/z.tf")
    beyond = listed(reading, "--changed-since", "linked")
    git(reading, "tag", "beyond")
    (reading / "current").unlink()
    (reading / "current").symlink_to("stacks/other")
    commit(reading)

    assert json.loads(beyond.stdout or "0") == ["prod"], beyond.stderr
    assert json.loads(listed(reading, "--changed-since", "beyond").stdout) == ["prod"]


@pytest.mark.parametrize("ignore", ["none", "all"])
def test_a_submodule_that_was_bumped_concerns_who_reads_in_it(reading: Path, tmp_path: Path, ignore: str) -> None:
    """Whatever the branch's .gitmodules would have git ignore."""
    upstream = tmp_path / "upstream"
    (upstream / "net").mkdir(parents=True)
    git(upstream, "init", "-q", "-b", "main")
    commit(upstream, "net/main.tf")
    git(reading, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(upstream), "vendored")
    git(reading, "config", "-f", ".gitmodules", "submodule.vendored.ignore", ignore)
    (reading / "tfguard.yml").write_text("version: 1\npipelines: {a: {dir: vendored/net}, b: {dir: stacks/other}}\n")
    commit(reading)
    git(reading, "tag", "bumping")
    commit(upstream, "net/more.tf")
    git(reading / "vendored", "-c", "protocol.file.allow=always", "pull", "-q", "origin", "main")
    git(reading, "add", "-A", "-f", "vendored")
    git(reading, "commit", "-q", "-m", "bump")

    assert json.loads(listed(reading, "--changed-since", "bumping").stdout) == ["a"]


@pytest.mark.parametrize("length", [40, 64])
def test_before_a_first_push_there_is_no_commit_and_all_are_concerned(repository: Path, length: int) -> None:
    done = listed(repository, "--changed-since", "0" * length)

    assert json.loads(done.stdout) == ["a", "b"]
    assert "first push" in done.stderr


@pytest.mark.parametrize(
    ("key", "value"), [("diff.relative", "true"), ("diff.ignoreSubmodules", "all"), ("diff.noprefix", "true")]
)
def test_what_the_checkout_configures_hides_nothing(repository: Path, key: str, value: str) -> None:
    """Asked in a folder below, where `diff.relative` would leave out all that lies beside it."""
    git(repository, "config", key, value)
    commit(repository, "a/main.tf")

    assert changed_since(repository / "b", "before") == [str(repository / "a" / "main.tf")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_checkout_of_another_user_is_asked_all_the_same(repository: Path) -> None:
    """As in a container that mounts it."""
    for folder, _, names in os.walk(repository):
        for name in (".", *names):
            os.chown(os.path.join(folder, name), 4711, 4711)
    commit_as_another = ["git", "-c", "safe.directory=*", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    (repository / "a" / "x.tf").write_text("")
    subprocess.run([*commit_as_another, "add", "-A"], cwd=repository, check=True)
    subprocess.run([*commit_as_another, "commit", "-q", "-m", "x"], cwd=repository, check=True)

    done = listed(repository, "--changed-since", "before")

    assert json.loads(done.stdout) == ["a"], done.stderr


def test_each_reason_for_which_git_cannot_compare_is_told_apart(repository: Path, tmp_path: Path) -> None:
    commit(repository, "a/1.tf")
    shallow, outside = tmp_path / "shallow", tmp_path / "outside"
    subprocess.run(
        ["git", "clone", "-q", "--depth", "1", f"file://{repository}", str(shallow)], check=True, capture_output=True
    )
    outside.mkdir()
    (outside / "tfguard.yml").write_text(CONFIG)
    git(repository, "checkout", "-q", "--orphan", "unrelated")
    git(repository, "commit", "-q", "-m", "unrelated")

    assert "because it is shallow" in listed(shallow, "--changed-since", "HEAD~1").stderr
    assert "is in no git checkout" in listed(outside, "--changed-since", "HEAD").stderr
    assert "no history in common" in listed(repository, "--changed-since", "before").stderr
    nowhere = listed(repository, "--changed-since", "nowhere").stderr
    assert "does not have it." in nowhere
    assert "shallow" not in nowhere
