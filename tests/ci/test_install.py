"""How the action brings tfguard: pinned, once a machine, and never half."""

from __future__ import annotations

import hashlib
import io
import os
import re
import resource
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from tests.ci.actions import Job
from tests.ci.conftest import check_out, install
from tests.e2e.conftest import ROOT, base_environ
from tests.support.dispositions import DEAF_TO_INTERRUPTS
from tests.support.eventually import eventually

pytestmark = pytest.mark.e2e

LOCK = (ROOT / "requirements.lock").read_text()


def only_place(base: Path) -> Path:
    """The one directory that an install has left."""
    (place,) = (base / "tfguard").iterdir()
    return place


def installer_of(place: Path) -> str:
    return next(place.glob("click-*.dist-info/INSTALLER")).read_text().strip()


def version_by(python: Path | str, place: Path) -> str:
    """What the installed tfguard says, run by a Python that has nothing else."""
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tfguard.__main__ import main; main()"
    return subprocess.run([python, "-I", "-c", start, place, "--version"], capture_output=True, text=True).stdout


# --- the three ways -------------------------------------------------------------------------------------------------


def test_pip_installs_where_there_is_no_uv(tools: Path, python: Path) -> None:
    place = only_place(tools)

    assert installer_of(place) == "pip"
    assert "tfguard " in version_by(python, place)


def test_a_python_without_pip_borrows_one_from_a_venv(
    tmp_path: Path, small: Path, python: Path, index: Mapping[str, str]
) -> None:
    done = install(small, tmp_path, python, **index, PATH="/usr/bin:/bin")

    assert done.returncode == 0, done.stderr
    assert installer_of(only_place(tmp_path)) == "pip"
    assert list(tmp_path.glob("tfguard-venv-*")) == []


def test_uv_installs_where_there_is_one(
    tmp_path: Path, checkout: Path, python: Path, index: Mapping[str, str], uv: Callable[..., str]
) -> None:
    done = install(checkout, tmp_path, python, **index, PATH=uv())

    assert done.returncode == 0, done.stderr
    assert installer_of(only_place(tmp_path)) == "uv"
    assert "tfguard " in version_by(python, only_place(tmp_path))


def test_a_python_without_either_is_told_of_setup_python(
    entry: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "_succeeds", lambda *argv: False)
    monkeypatch.setattr(entry.shutil, "which", lambda name: None)

    with pytest.raises(entry.Refused, match="actions/setup-python"):
        entry.installed(tmp_path, {})

    assert list(tmp_path.iterdir()) == []


# --- once a machine -------------------------------------------------------------------------------------------------


def test_the_second_install_on_a_machine_takes_half_a_second_at_most(tools: Path, checkout: Path) -> None:
    before = only_place(tools)

    def seconds() -> float:
        """Of a processor's time, of which a busy machine takes no more than an idle one."""
        began = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        done = install(checkout, tools, sys.executable, PATH="/nowhere")
        assert done.stdout.strip() == str(before), done.stderr
        return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - began

    assert min(seconds() for _ in range(3)) <= 0.5
    assert only_place(tools) == before


def test_of_two_installs_at_once_one_stays_whole_and_both_use_it(
    tmp_path: Path, small: Path, python: Path, index: Mapping[str, str], uv: Callable[..., str]
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    until_both = f'touch {here}/$$; until [ "$(ls {here} | wc -l)" = 2 ]; do sleep 0.02; done'
    words = [str(python), "-I", str(small / "action/entry.py"), "install", str(tmp_path / "tfguard")]
    environ = {**base_environ(tmp_path), **index, "PATH": uv(f'{until_both}; exec "$UV" "$@"')}

    jobs = [subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {each.communicate(timeout=120)[0].strip() for each in jobs}

    assert [each.returncode for each in jobs] == [0, 0]
    assert printed == {str(only_place(tmp_path))}
    assert (only_place(tmp_path) / "click").is_dir()


@pytest.mark.parametrize("launcher", [(), DEAF_TO_INTERRUPTS], ids=["as the runner does", "in the background"])
@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM,)], ids=["cancel", "shutdown"])
def test_a_cancel_during_the_install_leaves_nothing_half_made_and_nothing_to_settle(
    job: Callable[..., Job], tmp_path: Path, uv: Callable[..., str], signals: Sequence[int], launcher: Sequence[str]
) -> None:
    began, tools = tmp_path / "began", tmp_path / "empty-tools"
    # Packages come from where uv is told, or else a machine's own pip.conf would have pip alone asked.
    made = job({"command": "apply"}, PATH=uv(f"touch {began}; exec sleep 60"), UV_FIND_LINKS=str(tmp_path))
    made.tools, made.launcher = tools, launcher
    step = made.start("run")
    eventually(began.exists, what="the install to begin")

    for number in signals:  # The second may come while we tidy up.
        step.process.send_signal(number)
    code = step.end()
    settled = made.start("settle").end()

    assert (code, settled) == (128 + signals[0], 0), step.out
    assert list((tools / "tfguard").iterdir()) == []
    assert "Traceback" not in step.out
    assert made.annotations == []


# --- what may be installed, and from where --------------------------------------------------------------------------


def test_a_wrong_hash_is_refused_with_one_annotation(
    job: Callable[..., Job], tmp_path: Path, index: Mapping[str, str]
) -> None:
    made = job({"command": "plan", "python-path": sys.executable}, **index, PATH="/usr/bin:/bin")
    made.tools, made.checkout = tmp_path / "empty-tools", check_out(tmp_path / "forged")
    (made.checkout / "requirements.lock").write_text(re.sub(r"(?<=sha256:)[0-9a-f]{64}", "0" * 64, LOCK))

    code = made.run()

    assert code == 64
    assert "HASH" in made.steps["run"].out.upper()
    assert len(made.annotations) == 1
    assert "what pip said is in the log" in made.annotations[0]
    assert list((made.tools / "tfguard").iterdir()) == []


def test_what_would_have_to_be_built_is_refused_though_its_hash_is_right(
    tmp_path: Path, small: Path, uv: Callable[..., str]
) -> None:
    source = tmp_path / "sources/planted-1.0.tar.gz"
    source.parent.mkdir()
    with tarfile.open(source, "w:gz") as archive:
        setup = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()
        member = tarfile.TarInfo("planted-1.0/setup.py")
        member.size = len(setup)
        archive.addfile(member, io.BytesIO(setup))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    (small / "requirements.lock").write_text(f"planted==1.0 --hash=sha256:{digest}\n")
    links = {"NO_INDEX": "1", "FIND_LINKS": str(source.parent), "NO_BUILD_ISOLATION": "1"}
    index = {f"{tool}_{name}": value for tool in ("PIP", "UV") for name, value in links.items()}

    done = install(small, tmp_path, sys.executable, **index, PIP_CONFIG_FILE="/dev/null", PATH=uv())

    assert done.returncode == 64
    assert "could not be installed" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("variable", "asker", "more"),
    [("PIP_INDEX_URL", "pip", {}), ("UV_DEFAULT_INDEX", "uv", {"PIP_NO_INDEX": "1"})],
    ids=["pip", "uv"],
)
def test_the_users_own_index_is_asked_by_the_program_it_is_for(
    tmp_path: Path, checkout: Path, uv: Callable[..., str], private_index, variable: str, asker: str, more: dict
) -> None:
    address, asked = private_index

    done = install(
        checkout, tmp_path, sys.executable, **{variable: address, **more}, PATH=uv(), PIP_CONFIG_FILE="/dev/null"
    )

    assert done.returncode == 64
    assert "what pip said is in the log" in done.stderr  # Also where uv had its turn first, in vain.
    assert {line.split()[0] for line in asked} == {asker}
    assert any(line.endswith("/simple/boto3/") for line in asked)


def test_a_folder_of_wheels_may_be_named_from_where_the_job_is(
    tmp_path: Path, small: Path, index: Mapping[str, str]
) -> None:
    (tmp_path / "wheels").symlink_to(index["PIP_FIND_LINKS"])

    done = install(small, tmp_path, sys.executable, **{**index, "PIP_FIND_LINKS": "wheels"}, PATH="/usr/bin:/bin")

    assert done.returncode == 0, done.stderr


def test_a_pip_that_lies_in_the_checkout_is_never_run(tmp_path: Path, checkout: Path) -> None:
    (tmp_path / "pip.py").write_text(f"open({str(tmp_path / 'planted')!r}, 'w')")

    done = install(checkout, tmp_path, sys.executable, PIP_NO_INDEX="1", PATH="/usr/bin:/bin")

    assert done.returncode == 64
    assert not (tmp_path / "planted").exists()


def test_a_tool_cache_that_cannot_be_written_is_one_annotation(job: Callable[..., Job], tmp_path: Path) -> None:
    made = job({"command": "plan"})
    made.tools = tmp_path / "file"
    made.tools.touch()

    code = made.run()

    assert code == 64
    assert len(made.annotations) == 1
    assert "RUNNER_TOOL_CACHE" in made.annotations[0]


# --- requirements.lock ----------------------------------------------------------------------------------------------


def test_the_lock_file_pins_what_pyproject_asks_for() -> None:
    tomllib = pytest.importorskip("tomllib")
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", LOCK, re.MULTILINE))

    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(pinned[requirement.name]), f"{requirement}: make requirements.lock anew"


def test_the_lock_file_pins_every_wheel_with_hashes() -> None:
    blocks = re.findall(r"^([a-z0-9-]+)==\S+.*\\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n?)+)", LOCK, re.MULTILINE)

    assert len(blocks) == len(re.findall(r"^[a-z0-9-]+==", LOCK, re.MULTILINE))
    assert "://" not in LOCK


@pytest.mark.parametrize("place", [".", "", "bin"])
def test_a_tfguard_that_a_checkout_has_on_path_is_none(
    entry: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    for folder in (tmp_path, tmp_path / "bin"):
        folder.mkdir(exist_ok=True)
        (folder / "tfguard").touch(0o755)
    monkeypatch.chdir(tmp_path)
    never = {"TFGUARD_INPUT_INSTALL": "never"}

    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    relative = entry.program_there(never)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    absolute = entry.program_there(never)

    assert (relative, absolute) == (None, [f"{tmp_path}/bin/tfguard"])


@pytest.mark.parametrize("fault", ["anybody may write", "group may write", "a link", "a file"])
def test_what_others_may_have_written_into_the_tool_cache_is_not_run(
    entry: ModuleType, tmp_path: Path, fault: str
) -> None:
    environ = {"RUNNER_TOOL_CACHE": str(tmp_path)}
    place = tmp_path / "tfguard" / entry._name()
    place.mkdir(parents=True, mode=0o755)
    assert entry.program_there(environ) is not None
    if fault in ("a link", "a file"):
        place.rmdir()
        place.symlink_to(tmp_path) if fault == "a link" else place.touch()
    else:
        place.chmod(0o777 if fault == "anybody may write" else 0o775)

    for ask in (lambda: entry.program_there(environ), lambda: entry.installed(tmp_path / "tfguard", environ)):
        with pytest.raises(entry.Refused, match="not ours alone"):
            ask()


def test_another_users_tool_cache_is_not_run(
    entry: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"RUNNER_TOOL_CACHE": str(tmp_path)}
    (tmp_path / "tfguard" / entry._name()).mkdir(parents=True)
    (tmp_path / "tfguard" / entry._name().replace(f"-{os.geteuid()}", "-4711")).mkdir()

    monkeypatch.setattr(os, "geteuid", lambda: 4711)

    with pytest.raises(entry.Refused, match="not ours alone"):
        entry.program_there(environ)
