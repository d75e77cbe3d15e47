"""The GitLab template's own lines, each part in a shell of its own; and its jobs under gitlab-ci-local."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import yaml

import tfguard
from tests.ci.gitlab import JOB, TEMPLATE, TEMPLATE_FILE, lines_of, lock_file, put_image, run_part, start_part, wheel
from tests.e2e.conftest import GATED, ROOT, SHORT_LEASE, Result, Stage
from tests.e2e.operated import kill_all_of
from tests.support import emulators
from tests.support.serving import serving
from tfguard.jobfiles import own_file, run_record

EXAMPLE = ROOT / "examples/gitlab/.gitlab-ci.yml"
PROD = "version: 1\npipelines:\n  prod: {}\n"


@pytest.fixture
def project(stage: Callable[..., Stage]) -> Stage:
    """A project in a container whose image carries tfguard."""
    made = stage("local")
    (made.path / "tfguard.yml").write_text(PROD)
    put_image(made)
    return made


@pytest.mark.e2e
def test_a_plan_of_one_job_is_applied_by_the_next(project: Stage) -> None:
    (plan, after_plan), (apply, _) = lines_of(".tfguard:plan"), lines_of(".tfguard:apply")

    planned = run_part(project, *plan)
    settled = run_part(project, *after_plan)
    report = json.loads((project.path / ".tfguard/report.json").read_text())
    found = json.loads((project.path / ".tfguard/gl-code-quality-report.json").read_text())
    applied = run_part(project, *apply)

    assert found == []
    assert (planned.code, settled.code, applied.code) == (0, 0, 0), f"{planned}{settled}{applied}"
    assert report == {"create": 1, "update": 0, "delete": 0}
    assert "section_start:" in planned.out
    assert project.resources() == ["terraform_data.work"]


@pytest.mark.e2e
def test_a_plan_whose_state_has_moved_is_refused(project: Stage) -> None:
    (plan, _), (apply, _) = lines_of(".tfguard:plan"), lines_of(".tfguard:apply")
    assert run_part(project, *plan).code == 0
    assert project.terraform("apply", "-auto-approve").code == 0

    result = run_part(project, *apply)

    assert result.code == 1, str(result)
    assert "plan-stale" in result.err


@pytest.mark.e2e
def test_the_token_is_in_a_private_file_in_both_shells(project: Stage) -> None:
    script, after = lines_of(".tfguard:plan")
    role = {"TFGUARD_AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x"}
    token = project.path / ".tfguard/oidc-token"

    for lines in (script[:1], after[:1]):
        result = run_part(project, *lines, 'cat "$AWS_WEB_IDENTITY_TOKEN_FILE"', **role)
        assert result.out == "t0ken"
        assert token.stat().st_mode & 0o777 == 0o600
        token.unlink()

    assert ".tfguard/oidc-token" in TEMPLATE[".tfguard:plan"]["artifacts"]["exclude"]


@pytest.mark.e2e
def test_settle_that_gives_up_leaves_the_token_to_the_run_that_goes_on(project: Stage) -> None:
    _, after = lines_of(".tfguard:plan")
    (project.path.parent / "image/tfguard").write_text("#!/bin/sh\nexit 75\n")

    result = run_part(project, *after, TFGUARD_AWS_ROLE_ARN="arn:aws:iam::123456789012:role/x")

    assert result.code == 75
    assert (project.path / ".tfguard/oidc-token").exists()


# --- an image without tfguard ---------------------------------------------------------------------------------------

NEEDED = ("bash", "sh", "mkdir", "sha256sum", "cat", "rm", "chmod", "grep", "sleep", "terraform", "dirname")


@pytest.fixture
def bare(stage: Callable[..., Stage]) -> Callable[..., Stage]:
    """A project in a container that has Terraform and a Python, and no tfguard: `bare("dynamodb")`."""

    def make(backend: str = "local", **settings: str) -> Stage:
        made = stage(backend, **settings)
        (made.path / "tfguard.yml").write_text(PROD)
        image = made.path.parent / "image"
        image.mkdir()
        for name in NEEDED:
            (image / name).symlink_to(shutil.which(name) or name)
        (image / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (image / "python3").chmod(0o755)
        made.environ["PATH"] = str(image)
        del made.environ["PYTHONPATH"]
        return made

    return make


@pytest.fixture(scope="session")
def own_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(tmp_path_factory.mktemp("own-wheel"))


@pytest.mark.e2e
@pytest.mark.parametrize("version", ["", "9.9"])
def test_without_a_fitting_lock_file_it_says_how_to_make_one(
    bare: Callable[..., Stage], own_wheel: Path, version: str
) -> None:
    made = bare()
    if version:
        (made.path / "tfguard.lock").write_text(lock_file(own_wheel))
    script, after = lines_of(".tfguard:plan")

    result = run_part(made, *script, TFGUARD_VERSION=version)
    settled = run_part(made, *after)

    assert result.code == 78, str(result)
    wanted = f"tfguard=={version}" if version else "tfguard"
    assert f"Make one: echo {wanted} | uv pip compile --generate-hashes" in result.err
    assert settled.code == 0, str(settled)


@pytest.mark.e2e
def test_a_lock_file_whose_hash_is_wrong_installs_nothing(
    bare: Callable[..., Stage], own_wheel: Path, index: Mapping[str, str]
) -> None:
    made = bare()
    forged = re.sub("sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, lock_file(own_wheel))
    (made.path / "tfguard.lock").write_text(forged)
    script, after = lines_of(".tfguard:plan")

    result = run_part(made, *script, **{**index, "PIP_FIND_LINKS": str(own_wheel.parent)})
    settled = run_part(made, *after)

    assert result.code == 78, str(result)
    assert "could not be installed" in result.err
    assert not (made.path / ".tfguard/bin/tfguard").exists()
    assert settled.code == 0, str(settled)


@pytest.mark.e2e
def test_the_lock_file_that_it_recommends_is_one_that_uv_installs(
    bare: Callable[..., Stage], own_wheel: Path, index: Mapping[str, str]
) -> None:
    made = bare()
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or pytest.skip("no uv")
    (made.path.parent / "image/uv").symlink_to(uv)
    enter = lines_of(".tfguard:plan")[0][:2]
    links = {**index, "UV_FIND_LINKS": str(own_wheel.parent), "TFGUARD_VERSION": tfguard.__version__}

    refused = run_part(made, *enter, **links)
    recommended = refused.err.partition("Make one: ")[2].strip()
    locked = run_part(made, recommended, **links)
    first = run_part(made, *enter, **links)
    second = run_part(made, *enter, UV_NO_CACHE="1", UV_OFFLINE="1", UV_FIND_LINKS=str(made.path))

    assert refused.code == 78, str(refused)
    assert [each.code for each in (locked, first, second)] == [0, 0, 0], f"{locked}{first}{second}"
    (info,) = made.path.glob(".tfguard/lib/tfguard-*.dist-info/INSTALLER")
    assert info.read_text().strip() == "uv"


@pytest.mark.e2e
def test_another_job_installs_from_the_downloads_that_the_cache_has_kept(
    bare: Callable[..., Stage], own_wheel: Path, tmp_path: Path
) -> None:
    made = bare()
    with_extra = lock_file(own_wheel).replace("tfguard==", "tfguard[gcs]==")
    (made.path / "tfguard.lock").write_text(with_extra)
    page = tmp_path / "simple/tfguard/index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="{own_wheel.as_uri()}">{own_wheel.name}</a>')
    pip = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_COMPILE": "0", "PIP_INDEX_URL": (tmp_path / "simple").as_uri()}
    enter = lines_of(".tfguard:plan")[0][:2]
    (kept,) = TEMPLATE[".tfguard"]["cache"]["paths"]

    first = run_part(made, *enter, **pip)
    downloads = [path.name for path in (made.path / kept).iterdir()]
    shutil.rmtree(tmp_path / "simple")
    second = run_part(made, *enter, **pip, CI_JOB_ID="8")

    assert [first.code, second.code] == [0, 0], f"{first}{second}"
    assert downloads == [own_wheel.name]
    assert list(made.path.glob(".tfguard/lib/tfguard-*.dist-info"))


@pytest.mark.e2e
@pytest.mark.slow
def test_after_script_in_a_new_container_settles_what_the_killed_one_left(
    bare: Callable[..., Stage], own_wheel: Path, index: Mapping[str, str], tmp_path: Path
) -> None:
    made = bare("dynamodb", text=GATED)
    pinned = (ROOT / "requirements.lock").read_text()
    (made.path / "tfguard.lock").write_text(lock_file(own_wheel, pinned))
    links = {**index, "PIP_FIND_LINKS": f"{index['PIP_FIND_LINKS']} {own_wheel.parent}"}
    enter, after = lines_of(".tfguard:apply")[0][:2], lines_of(".tfguard:apply")[1]
    version = {"TFGUARD_VERSION": tfguard.__version__}
    settings = {**version, "TFGUARD_LOCK_LEASE": SHORT_LEASE}
    script = start_part(made, *enter, "tfguard -p prod apply -auto-approve", **links, **settings)
    made.wait_for_log("begin", timeout=60)

    kill_container(script, made.path)
    left = made.locks()
    settled = run_part(made, *after, HOME=str(tmp_path / "another-home"), **settings)

    assert len(left) == 1
    assert settled.code == 0, str(settled)
    assert "the lock that it left behind has been released" in settled.err
    assert made.locks() == []


def kill_container(entry: subprocess.Popen[str], project: Path) -> None:
    """Kill every process of the job at once, as the end of its container does."""
    kill_all_of(entry)
    own_file.remember_job({**JOB, "CI_PROJECT_DIR": str(project)})
    for path in project.glob(".tfguard/runs/*.json"):  # The next container has another PID namespace.
        record = run_record.read(path)
        assert record is not None
        run_record.write(path, msgspec.structs.replace(record, namespace="pid:[1]"))
    own_file.remember_job({})


# --- gitlab-ci-local ------------------------------------------------------------------------------------------------


@dataclass
class Repository:
    """A clone of a project, on a machine with gitlab-ci-local."""

    stage: Stage
    program: str

    def gitlab(self, *words: str) -> Result:
        """Run it, with this machine for a shell executor."""
        # It calls itself no GitLab, and our report is written for GitLab alone.
        given = ("--force-shell-executor", "--variable", "GITLAB_CI=true")
        return self.stage.run([self.program, *given, *words])


@pytest.fixture
def repository(stage: Callable[..., Stage]) -> Repository:
    """Such a clone, with examples/gitlab in it."""
    program, copier = emulators.gitlab_ci_local(), emulators.rsync()
    made = stage("s3", is_initialised=False)
    put_image(made)
    made.environ["PATH"] += f":{Path(copier).parent}"
    (made.path / "tfguard.yml").write_text(PROD.replace("prod:", "prod/network:"))
    shutil.copy(EXAMPLE, made.path)
    # A shell executor has no images, and gitlab-ci-local would look for the project where a container has it.
    bare = {name: value for name, value in TEMPLATE[".tfguard"].items() if name != "image"}
    (made.path / TEMPLATE_FILE.name).write_text(yaml.safe_dump({**TEMPLATE, ".tfguard": bare}))
    for words in (
        ("init", "--quiet", "--initial-branch=main"),
        ("remote", "add", "origin", "git@gitlab.example.com:acme/infra.git"),
        ("add", "--all"),
        ("-c", "user.name=ana", "-c", "user.email=ana@example.com", "commit", "--quiet", "--message=all"),
    ):
        assert made.run(["git", *words]).code == 0
    return Repository(made, program)


@pytest.mark.e2e
@pytest.mark.emulator
def test_the_examples_jobs_plan_and_apply_with_nothing_handed_over_but_artifacts(repository: Repository) -> None:
    made = repository.stage

    planned = repository.gitlab("plan")
    report = json.loads((made.path / ".tfguard/report.json").read_text())
    shutil.rmtree(made.path / ".tfguard")
    shutil.rmtree(made.path / ".terraform", ignore_errors=True)
    artifacts = made.path / ".gitlab-ci-local/artifacts/plan"
    handed_over = [str(path.relative_to(artifacts)) for path in artifacts.rglob("*") if path.is_file()]
    shutil.copytree(artifacts, made.path, dirs_exist_ok=True)
    applied = repository.gitlab("apply")

    assert planned.code == 0, str(planned)
    assert report == {"create": 1, "update": 0, "delete": 0}
    assert handed_over == [".tfguard/tfplan"]
    assert applied.code == 0, str(applied)
    assert "Apply complete! Resources: 1 added" in applied.out
    assert made.resources() == ["terraform_data.work"]
    assert made.leftovers() == []


@pytest.mark.e2e
@pytest.mark.emulator
def test_the_template_can_be_included_from_another_server(repository: Repository) -> None:
    made = repository.stage
    (made.path / TEMPLATE_FILE.name).unlink()
    with serving(lambda request: (200, (ROOT / request.path[1:]).read_bytes())) as address:
        remote = f"remote: {address}/{TEMPLATE_FILE.name}"
        example = EXAMPLE.read_text().replace(f"local: {TEMPLATE_FILE.name}", remote)
        (made.path / EXAMPLE.name).write_text(example)
        listed = repository.gitlab("--list-csv")

    assert listed.code == 0, str(listed)
    assert {"plan", "apply"} <= {line.partition(";")[0] for line in listed.out.splitlines()}


def test_after_script_enters_as_script_does() -> None:
    hidden = TEMPLATE[".tfguard"]

    assert hidden["after_script"][0] == hidden["before_script"][0]
    assert hidden["interruptible"] is False
