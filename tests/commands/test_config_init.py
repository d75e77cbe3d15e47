"""A first tfguard.yml: always one that is right, and never in place of another."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfguard
from tfguard.commands.config_init import MAX_STACKS, first_file, init
from tfguard.config.file import Config, inspect
from tfguard.config.named_files import missing_files
from tfguard.config.options import Options
from tfguard.errors import ConfigError
from tfguard.report.reporter import Reporter
from tfguard.run.call import Call
from tfguard.terraform.stacks import Stack

ROOT = Path(__file__).parents[2]
BACKEND = 'terraform {\n  backend "s3" {}\n}\n'


def lay(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(BACKEND if name.endswith(".tf") else "")


def write(root: Path, config: str | None = None) -> int:
    return init(Call(Options(chdir=str(root), config=config), {}, Reporter("console", 0)))


def right(path: Path) -> Config:
    config, problems = inspect(path, {})
    assert problems == []
    assert missing_files(config, {}) == []
    return config


def test_each_directory_with_a_backend_becomes_a_pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(tmp_path, "live/app/main.tf", "live/net/main.tf", "live/net/env/dev.tfvars")

    assert write(tmp_path) == 0

    config = right(tmp_path / "tfguard.yml")
    assert config.data["pipelines"] == {"live/app": {"dir": "live/app"}, "live/net": {"dir": "live/net"}}
    assert "    # var_files: [live/net/env/dev.tfvars]\n" in (tmp_path / "tfguard.yml").read_text()
    assert capsys.readouterr().out.endswith("tfguard.yml: 2 directories with a backend.\n")


def test_files_of_backend_values_are_a_pipeline_each_with_the_variables_of_that_name(tmp_path: Path) -> None:
    lay(tmp_path, "main.tf", "env/dev.tfbackend", "env/prod.tfbackend", "env/dev.tfvars")

    write(tmp_path)

    assert right(tmp_path / "tfguard.yml").data["pipelines"] == {
        "dev": {"dir": ".", "backend_config": ["env/dev.tfbackend"], "var_files": ["env/dev.tfvars"]},
        "prod": {"dir": ".", "backend_config": ["env/prod.tfbackend"]},
    }


def test_workspaces_of_a_local_backend_are_a_pipeline_each(tmp_path: Path) -> None:
    lay(tmp_path, "net/dev.tfvars")
    (tmp_path / "net/main.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    (tmp_path / "net/terraform.tfstate.d/dev").mkdir(parents=True)

    write(tmp_path)

    assert right(tmp_path / "tfguard.yml").data["pipelines"] == {
        "net/default": {"dir": "net", "workspace": "default"},
        "net/dev": {"dir": "net", "workspace": "dev", "var_files": ["net/dev.tfvars"]},
    }


def test_where_there_is_nothing_an_example_stands_in_a_file_that_is_right(tmp_path: Path) -> None:
    assert write(tmp_path) == 0

    assert right(tmp_path / "tfguard.yml").names == []
    assert "#   prod/network:" in (tmp_path / "tfguard.yml").read_text()


@pytest.mark.parametrize("name", ["tfguard.yml", "tfguard.yaml"])
def test_a_file_that_is_there_stays_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")

    with pytest.raises(ConfigError, match="is there already"):
        write(tmp_path)

    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_link_to_nowhere_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "tfguard.yml").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigError):
        write(tmp_path)

    assert not (tmp_path / "elsewhere").exists()


def test_another_name_is_given_with_config(tmp_path: Path) -> None:
    lay(tmp_path, "main.tf")

    write(tmp_path, "other.yml")

    assert right(tmp_path / "other.yml").names == ["main"]


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
paths = st.lists(names.filter(lambda name: name not in (".", "..")), max_size=5).map(lambda parts: Path(*parts))
files = st.dictionaries(st.one_of(st.just(""), names), paths, max_size=3)
any_stack = st.builds(
    Stack,
    directory=paths,
    backend=st.one_of(st.just("s3"), st.text(max_size=9)),
    var_files=files,
    backend_files=files,
    workspaces=st.lists(st.from_regex(r"\A[A-Za-z0-9_.~$&+=:@-]{1,9}\Z"), max_size=3).map(tuple),
)


@settings(max_examples=100, deadline=None)
@given(found=st.lists(any_stack, max_size=4))
def test_the_file_is_right_whatever_the_directories_are_called(
    found: list[Stack], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("made") / "tfguard.yml"
    path.write_text(first_file(found), encoding="utf-8")

    config, problems = inspect(path, {})

    assert problems == []
    assert {leaves[("dir",)].value for leaves in map(config.merged, config.names)} == {
        ("./" if str(stack.directory)[:1] in ("~", "-") else "") + stack.directory.as_posix().replace("$", "$$")
        for stack in found
    }


def test_the_largest_is_right_too(tmp_path: Path) -> None:
    stacks = [Stack(Path(f"d{number}"), "s3", {}, {}, ()) for number in range(MAX_STACKS)]
    path = tmp_path / "tfguard.yml"
    path.write_text(first_file(stacks, is_whole=False))

    assert len(inspect(path, {})[0].names) == MAX_STACKS
    assert inspect(path, {})[1] == []


def test_what_is_said_of_the_project_is_said_alike_everywhere() -> None:
    metadata = (ROOT / "pyproject.toml").read_text()
    samples = list((ROOT / "examples").rglob("tfguard.yml"))

    assert f'Homepage = "{tfguard.PROJECT}"\n' in metadata
    assert f'Documentation = "{tfguard.MANUAL}"\n' in metadata
    for text in [*(path.read_text() for path in samples), first_file([])]:
        assert text.startswith(f"# yaml-language-server: $schema={tfguard.SCHEMA}\n")
