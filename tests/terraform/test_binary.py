from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tfguard import files
from tfguard.errors import ConfigError, ProgramNotExecutable, ProgramNotFound
from tfguard.terraform.binary import Binary, binary_version, find_binary

SELF = Path("/opt/tfguard/bin/tfguard")
SHELL_SHIM = '#!/bin/sh\nexec /opt/terraform-1.11.4 "$@"\n'
NODE_WRAPPER = "#!/usr/bin/env node\nrequire('terraform')\n"


def program(path: Path, text: str = SHELL_SHIM, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def found(*directories: Path, flag: str | None = None, kind: str | None = None, **environ: str) -> Binary:
    environ["PATH"] = os.pathsep.join(map(str, directories))
    return find_binary(environ, flag=flag, kind=kind, self_path=SELF)  # type: ignore[arg-type]


def answering(version: str) -> str:
    answer = json.dumps({"terraform_version": version})
    return f'#!/bin/sh\necho asked >> "$0.log"\n[ -z "$TF_CLI_ARGS" ] || exit 1\necho \'{answer}\'\n'


def test_terraform_comes_before_tofu_wherever_they_stand_on_the_path(tmp_path: Path) -> None:
    tofu = program(tmp_path / "a" / "tofu")
    terraform = program(tmp_path / "b" / "terraform")

    assert found(tmp_path / "a", tmp_path / "b") == Binary(terraform, "terraform")
    assert found(tmp_path / "a") == Binary(tofu, "tofu")
    assert found(tmp_path / "a", tmp_path / "b", kind="tofu") == Binary(tofu, "tofu")


def test_what_is_named_wins_and_the_flag_wins_over_the_variable(tmp_path: Path) -> None:
    program(tmp_path / "terraform")
    mine, other = program(tmp_path / "x" / "my-tofu"), program(tmp_path / "x" / "terraform_1.9")

    assert found(tmp_path, TFGUARD_TERRAFORM=str(mine)) == Binary(mine, "tofu")
    assert found(tmp_path, flag=str(other), TFGUARD_TERRAFORM=str(mine)) == Binary(other, "terraform")
    assert found(tmp_path / "x", TFGUARD_TERRAFORM="my-tofu").path == mine


@pytest.mark.parametrize("bad", ["a" * 5000, "locked"], ids=["too long", "locked"])
def test_a_folder_on_the_path_that_cannot_be_searched_is_passed_over(tmp_path: Path, bad: str) -> None:
    """As by a shell. (Root may search any: for root the second is a folder like others.)"""
    terraform = program(tmp_path / "b" / "terraform")
    (tmp_path / "locked").mkdir(mode=0)

    assert found(tmp_path / bad, tmp_path / "b") == Binary(terraform, "terraform")


def test_nothing_found_says_where_we_looked(tmp_path: Path) -> None:
    with pytest.raises(ProgramNotFound, match=f"no terraform or tofu on PATH.\nLooked in {tmp_path}"):
        found(tmp_path)
    with pytest.raises(ProgramNotFound, match="TFGUARD_TERRAFORM names /nowhere/terraform: no such file"):
        found(tmp_path, TFGUARD_TERRAFORM="/nowhere/terraform")
    with pytest.raises(ProgramNotFound, match="--terraform names terraform9: not on PATH"):
        found(tmp_path, flag="terraform9")


def test_a_file_that_cannot_be_run_is_not_the_same_as_none(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        assert not os.access(program(tmp_path / "probe", mode=0o644), os.X_OK)
    blocked = program(tmp_path / "a" / "terraform", mode=0o644)

    with pytest.raises(ProgramNotExecutable, match="chmod"):
        found(tmp_path / "a")
    with pytest.raises(ProgramNotExecutable, match="chmod"):
        found(tmp_path, flag=str(blocked))
    assert found(tmp_path / "a", program(tmp_path / "b" / "tofu").parent).kind == "tofu"


def test_tfguard_under_the_name_of_terraform_is_passed_over(tmp_path: Path) -> None:
    real = program(tmp_path / "z" / "terraform")
    script = program(
        tmp_path / "self" / "tfguard", "#!/usr/bin/python3\nimport sys\nfrom tfguard.cli.main import main\n"
    )
    program(tmp_path / "copy" / "terraform", script.read_text())
    program(tmp_path / "shell" / "terraform", '#!/bin/sh\nexec tfguard "$@"\n')
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "terraform").symlink_to(script)
    path = os.pathsep.join(str(tmp_path / name) for name in ("link", "copy", "shell", "z"))

    taken = find_binary({"PATH": path}, flag=None, kind=None, self_path=script)

    assert taken.path == real
    with pytest.raises(ConfigError, match="is tfguard itself"):
        find_binary({"PATH": path}, flag=str(tmp_path / "link" / "terraform"), kind=None, self_path=script)


def test_a_name_that_is_tfguards_too_is_looked_for_further_along_the_path(tmp_path: Path) -> None:
    script = program(tmp_path / "self" / "tool", "#!/usr/bin/python3\nimport sys\n")
    real = program(tmp_path / "z" / "terraform")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "terraform").symlink_to(script)
    program(tmp_path / "shell" / "terraform", f'#!/bin/sh\n# a comment\nexec "{tmp_path}/link/terraform" "$@"\n')
    path = os.pathsep.join(str(tmp_path / name) for name in ("link", "shell", "z"))

    for named in ({}, {"TFGUARD_TERRAFORM": "terraform"}):
        assert find_binary({"PATH": path, **named}, flag=None, kind=None, self_path=script).path == real
    with pytest.raises(ConfigError, match="is tfguard itself"):
        find_binary({"PATH": str(tmp_path / "link")}, flag="terraform", kind=None, self_path=script)


def test_an_interpreter_in_a_directory_called_tfguard_makes_no_tfguard(tmp_path: Path) -> None:
    shim = program(tmp_path / "terraform", "#!/home/ana/tfguard/.venv/bin/python\nimport tenv\n# not tfguard\n")

    assert found(tmp_path).path == shim


@pytest.mark.parametrize("kind", ["terraform", "tofu"])
def test_the_wrapper_of_a_setup_action_is_seen_through(tmp_path: Path, kind: str) -> None:
    program(tmp_path / "cli" / kind, NODE_WRAPPER)
    real = program(tmp_path / "cli" / f"{kind}-bin", "\x7fELF")
    moved = program(tmp_path / "moved" / kind, NODE_WRAPPER).parent

    assert found(tmp_path / "cli") == Binary(real, kind)  # type: ignore[arg-type]
    assert found(moved, **{f"{kind.upper()}_CLI_PATH": str(tmp_path / "cli")}).path == real


def test_a_wrapper_without_its_binary_is_no_terraform(tmp_path: Path) -> None:
    program(tmp_path / "terraform", NODE_WRAPPER)

    with pytest.raises(ProgramNotFound, match="terraform_wrapper: false"):
        found(tmp_path)


def test_relative_entries_of_the_path_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "terraform")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ProgramNotFound):
        find_binary({"PATH": ".:"}, flag=None, kind=None, self_path=SELF)


def test_a_binary_is_asked_once_for_its_version_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfguard.terraform.binary._is_script", lambda path: False)
    binary = Binary(program(tmp_path / "terraform", answering("1.11.4")), "terraform")
    environ = {"PATH": os.environ["PATH"], "TF_CLI_ARGS": "-no-color"}
    cache = tmp_path / "cache" / "deep"

    first = [binary_version(binary, environ, cache) for _ in range(3)]
    asked = (tmp_path / "terraform.log").read_text().count("asked")
    program(binary.path, answering("1.12.0-rc1") + "\n")

    assert (first, asked) == (["1.11.4"] * 3, 1)
    assert binary_version(binary, environ, cache) == "1.12.0"


def test_a_shim_is_asked_every_time_in_the_working_directory(tmp_path: Path) -> None:
    script = '#!/bin/sh\necho "{\\"terraform_version\\": \\"$(cat .terraform-version)\\"}"\n'
    binary = Binary(program(tmp_path / "terraform", script), "terraform")
    for version in ("1.9.8", "1.11.4"):
        (tmp_path / version).mkdir()
        (tmp_path / version / ".terraform-version").write_text(version)

    versions = [
        binary_version(binary, os.environ, tmp_path / "cache", directory=tmp_path / version)
        for version in ("1.9.8", "1.11.4")
    ]

    assert versions == ["1.9.8", "1.11.4"]


@pytest.mark.parametrize(
    "text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho hello\n", "#!/bin/sh\necho '[]'\n", "garbage"]
)
def test_a_version_that_cannot_be_told_is_empty(tmp_path: Path, text: str) -> None:
    binary = Binary(program(tmp_path / "terraform", text), "terraform")

    assert binary_version(binary, os.environ, tmp_path / "cache") == ""
    assert binary_version(Binary(tmp_path / "missing", "tofu"), os.environ, tmp_path / "cache") == ""


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"[]", b'{"a": [1]}', b"[" * 5000])
def test_a_damaged_cache_is_written_anew(tmp_path: Path, damage: bytes) -> None:
    real = Path(os.path.realpath(_terraform()))
    cache = tmp_path / "cache"
    cache.mkdir()
    files.write(cache / "versions.json", damage)

    version = binary_version(Binary(real, "terraform"), os.environ, cache)

    assert version.count(".") == 2
    assert json.loads((cache / "versions.json").read_text())[str(real)][2] == version


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")

    assert binary_version(Binary(_terraform(), "terraform"), os.environ, tmp_path / "cache")


def test_a_known_version_takes_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = Binary(_terraform(), "terraform")
    known = binary_version(binary, os.environ, tmp_path)

    monkeypatch.delattr(subprocess, "Popen")

    assert binary_version(binary, os.environ, tmp_path) == known != ""


def _terraform() -> Path:
    try:
        return find_binary(os.environ, flag=None, kind="terraform", self_path=SELF).path
    except ProgramNotFound:
        pytest.skip("terraform is not installed")
