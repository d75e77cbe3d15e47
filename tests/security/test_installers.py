"""What installs tfguard in a job takes nothing that a branch has written: no settings, program or installed tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.ci.conftest import install
from tests.ci.gitlab import TEMPLATE, lines_of, lock_file, run_part, wheel
from tests.e2e.conftest import Stage
from tests.support.serving import serving

pytestmark = pytest.mark.e2e

# --- the action -----------------------------------------------------------------------------------------------------

#: How a checkout tells installers where packages come from, each on a line of its own in the file of this name.
SETTINGS = {
    "uv.toml": '[[index]]\nname = "corp"\nurl = "{0}"\n',
    "pyproject.toml": '[[tool.uv.index]]\nname = "corp"\nurl = "{0}"\n',
    "pip.conf": "[global]\nindex-url = {0}\n",
    "setup.cfg": "[easy_install]\nindex_url = {0}\n",
    ".python-version": "3.8\n",
    ".netrc": "machine 127.0.0.1 login x password y\n",
    ".env": "UV_DEFAULT_INDEX={0}\nPIP_INDEX_URL={0}\n",
}


@pytest.mark.parametrize("is_above", [False, True], ids=["in the working directory", "above it"])
def test_no_settings_of_the_checkout_reach_an_installer(
    tmp_path: Path, small: Path, index: Mapping[str, str], private_index, uv: Callable[..., str], is_above: bool
) -> None:
    address, asked = private_index
    checkout = tmp_path / "project"
    place = checkout / "live" / "app"
    place.mkdir(parents=True)
    for name, text in SETTINGS.items():
        ((checkout if is_above else place) / name).write_text(text.format(address))
    secret = {"UV_INDEX_CORP_USERNAME": "ci", "UV_INDEX_CORP_PASSWORD": "hunter22"}
    wheels = index["PIP_FIND_LINKS"]

    with serving(lambda _: (404, b"")) as own:  # The user's own index; uv takes the wheels from beside it.
        by_pip = {**index, "PATH": "/usr/bin:/bin"}
        by_uv = {"UV_FIND_LINKS": wheels, "UV_DEFAULT_INDEX": f"{own}/simple", "PATH": uv(), "PIP_NO_INDEX": "1"}
        done = [
            install(small, tmp_path / name, sys.executable, **secret, **environ, cwd=str(place))
            for name, environ in (("pip", by_pip), ("uv", by_uv))
        ]

    assert [each.returncode for each in done] == [0, 0], done
    assert asked == []


def test_a_uv_of_the_checkouts_is_not_run(tmp_path: Path, small: Path, index: Mapping[str, str]) -> None:
    (tmp_path / "uv").write_text(f"#!/bin/sh\ntouch {tmp_path}/planted\n")
    (tmp_path / "uv").chmod(0o755)

    for path in (".:/usr/bin:/bin", "/usr/bin:/bin:", "./:/usr/bin:/bin"):
        assert install(small, tmp_path, sys.executable, **index, PATH=path).returncode == 0
        shutil.rmtree(tmp_path / "tfguard")

    assert not (tmp_path / "planted").exists()


# --- the GitLab template --------------------------------------------------------------------------------------------

OIDC = {"TFGUARD_AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x"}


@pytest.fixture
def project(stage: Callable[..., Stage]) -> Stage:
    """A checkout in whose `.tfguard` a branch has put programs, modules, and what looks like a job's mark."""
    made = stage("local", is_initialised=False)
    evil = f"#!/bin/sh\ntouch {made.path.parent}/owned\n"
    for name in ("bin", "lib/tfguard", "runs", "wheels"):
        (made.path / ".tfguard" / name).mkdir(parents=True)
    for name in ("bin/tfguard", "bin/sha256sum", "bin/cat", "bin/rm"):
        (made.path / ".tfguard" / name).write_text(evil)
        (made.path / ".tfguard" / name).chmod(0o755)
    owns = f"open({str(made.path.parent / 'owned')!r}, 'w')\n"
    (made.path / ".tfguard/lib/tfguard/__init__.py").write_text(owns)
    (made.path / ".tfguard/lib/tfguard/__main__.py").write_text("def main(): pass\n")
    mark = subprocess.run(["sha256sum"], input=b"7 ", capture_output=True, check=True).stdout.decode()
    (made.path / ".tfguard/job").write_text(mark)
    (made.path / ".tfguard/tfplan").write_text("an artifact of the plan job")
    return made


def tracked_by_git(made: Stage) -> None:
    for words in (("init", "-q"), ("add", "-A", "-f")):
        subprocess.run(["git", "-C", str(made.path), *words], check=True)


@pytest.mark.parametrize("shell", ["script", "after_script"])
def test_a_job_runs_nothing_that_a_branch_has_put_into_its_folder(project: Stage, shell: str) -> None:
    tracked_by_git(project)
    script, after = lines_of(".tfguard:plan")

    run_part(project, *(script[:2] if shell == "script" else after), PATH="/usr/bin:/bin")

    assert not (project.path.parent / "owned").exists()
    left = {path.name for path in (project.path / ".tfguard").iterdir()}
    assert left <= {"job", "bin", ".gitignore", "wheels", "tfplan"}
    assert (project.path / ".tfguard").stat().st_mode & 0o777 == 0o700
    assert (project.path / ".tfguard/tfplan").read_text() == "an artifact of the plan job"


@pytest.mark.parametrize("link", [".tfguard", ".tfguard/oidc-token", ".tfguard/job", ".tfguard/tfplan", ".tfguard/bin"])
def test_no_link_of_a_branch_leads_a_token_or_a_plan_elsewhere(project: Stage, link: str) -> None:
    public = project.path / "public"
    public.mkdir()
    path = project.path / link
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(public if link in (".tfguard", ".tfguard/bin") else public / "x")
    script, after = lines_of(".tfguard:plan")

    for lines in (script[:1], after[:1]):
        shown = run_part(project, *lines, 'cat "$AWS_WEB_IDENTITY_TOKEN_FILE"', **OIDC)
        assert shown.out == "t0ken"

    assert list(public.iterdir()) == []
    assert not path.is_symlink()


def test_what_a_job_has_installed_stays_for_its_after_script_and_for_no_other_job(project: Stage) -> None:
    (enter, *_), _ = lines_of(".tfguard:plan")
    ours = project.path / ".tfguard/lib"

    run_part(project, enter)
    ours.mkdir()
    run_part(project, enter)
    assert ours.exists()
    run_part(project, enter, CI_JOB_TOKEN="glcbt-of-another")
    assert not ours.exists()


@pytest.mark.parametrize("installer", ["uv", "python3"])
def test_installers_run_where_no_branch_has_written(project: Stage, tmp_path: Path, installer: str) -> None:
    image = tmp_path / "image"
    image.mkdir()
    real = sys.executable
    (image / installer).write_text(
        f'#!/bin/sh\ncase "$*" in *"pip "*) pwd >> {tmp_path}/where; exit 1;; *) exec {real} "$@";; esac\n'
    )
    (image / "python3").exists() or (image / "python3").symlink_to(real)
    for path in image.iterdir():
        path.chmod(0o755) if not path.is_symlink() else None
    (project.path / "tfguard.lock").write_text("tfguard==1.0 --hash=sha256:0\n")

    result = run_part(project, *lines_of(".tfguard:plan")[0][:2], PATH=f"{image}:/usr/bin:/bin")

    assert result.code == 78, str(result)
    assert set((tmp_path / "where").read_text().split()) == {"/"}


def test_the_cache_keeps_downloads_and_nothing_that_is_run() -> None:
    assert TEMPLATE[".tfguard"]["cache"]["paths"] == [".tfguard/wheels/"]


def test_a_download_that_the_cache_brings_is_believed_by_its_hash_alone(
    project: Stage, tmp_path: Path, index: Mapping[str, str]
) -> None:
    own = wheel(tmp_path)
    (project.path / "tfguard.lock").write_text(lock_file(own))
    forged = project.path / ".tfguard/wheels" / own.name
    shutil.copy(own, forged)
    with zipfile.ZipFile(forged, "a") as archive:
        archive.writestr("tfguard/owned.py", "")
    enter = lines_of(".tfguard:plan")[0][:2]
    image = tmp_path / "image"
    image.mkdir()
    (image / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (image / "python3").chmod(0o755)
    environ = {**index, "PATH": f"{image}:/usr/bin:/bin"}

    refused = run_part(project, *enter, **{**environ, "PIP_FIND_LINKS": ""})
    mended = run_part(project, *enter, **{**environ, "PIP_FIND_LINKS": str(tmp_path)})

    assert refused.code == 78, str(refused)
    assert mended.code == 0, str(mended)
    assert list(project.path.glob(".tfguard/lib/**/owned.py")) == []
