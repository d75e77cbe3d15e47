from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfguard.errors import ConfigError
from tfguard.terraform.workdir import BackendCache, WorkingDirectory


def workdir(path: Path, chdir: str | None = None, **environ: str) -> WorkingDirectory:
    return WorkingDirectory.at(path, chdir, environ)


def write_cache(path: Path, content: object, data_dir: str = ".terraform") -> None:
    (path / data_dir).mkdir(exist_ok=True)
    (path / data_dir / "terraform.tfstate").write_text(content if isinstance(content, str) else json.dumps(content))


def cached(kind: str = "s3", **config: object) -> dict[str, Any]:
    return {"version": 3, "backend": {"type": kind, "config": config, "hash": 1}}


def test_the_data_directory_is_cleaned_by_text_as_terraform_does(tmp_path: Path) -> None:
    (tmp_path / "far/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/deep")

    assert workdir(tmp_path, TF_DATA_DIR="link/../data").data_dir == tmp_path / "data"


def test_the_data_directory_is_relative_to_the_directory_terraform_changes_to(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    write_cache(tmp_path / "net", cached(bucket="b"), data_dir="data")

    found = workdir(tmp_path, "net", TF_DATA_DIR="data")

    assert found.data_dir == tmp_path / "net" / "data"
    assert found.backend == BackendCache("s3", {"bucket": "b"}, tmp_path / "net" / "data" / "terraform.tfstate")
    assert workdir(tmp_path, "net", TF_DATA_DIR="").data_dir == tmp_path / "net" / ".terraform"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no directory .*/nowhere"):
        workdir(tmp_path, "nowhere")


def test_the_variable_wins_over_the_file_and_neither_means_default(tmp_path: Path) -> None:
    (tmp_path / ".terraform").mkdir()
    assert workdir(tmp_path).workspace() == "default"

    (tmp_path / ".terraform" / "environment").write_text("stage\n")

    assert workdir(tmp_path).workspace() == "stage"
    assert workdir(tmp_path, TF_WORKSPACE="prod").workspace() == "prod"
    assert workdir(tmp_path, TF_WORKSPACE="").workspace() == "stage"


@pytest.mark.parametrize("name", ["a/b", "a b", "ü", "\x1b[31m"])
def test_a_workspace_terraform_would_refuse_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="TF_WORKSPACE does not name a valid workspace") as caught:
        workdir(tmp_path, TF_WORKSPACE=name).workspace()

    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("", "not readable as JSON"),
        ("[1]", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ({"version": 4}, "has version 4; tfguard knows 3"),
        ({"backend": {}}, "has version None"),
        ({"version": 3, "backend": {"type": 7}}, "no usable backend"),
        ({"version": 3, "backend": {"type": "s3", "config": [1]}}, "no usable backend"),
        ({"version": 3, "backend": "s3"}, "no usable backend"),
    ],
)
def test_a_cache_that_cannot_be_used_says_what_to_do(tmp_path: Path, content: object, message: str) -> None:
    write_cache(tmp_path, content)

    with pytest.raises(ConfigError, match=message) as caught:
        _ = workdir(tmp_path).backend

    assert "tfguard init" in str(caught.value)


def test_files_that_are_none_neither_block_nor_crash(tmp_path: Path) -> None:
    (tmp_path / ".terraform").mkdir()
    os.mkfifo(tmp_path / ".terraform" / "terraform.tfstate")
    (tmp_path / ".terraform" / "environment").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match="not an ordinary file"):
        _ = workdir(tmp_path).backend
    with pytest.raises(ConfigError, match="it is no text"):
        workdir(tmp_path).workspace()


def test_a_cache_without_a_backend_is_none(tmp_path: Path) -> None:
    write_cache(tmp_path, {"version": 3, "serial": 1})

    assert workdir(tmp_path).backend is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "config", "x"]), inner),
    max_leaves=8,
)


@given(
    st.binary(max_size=60)
    | st.fixed_dictionaries({"version": st.just(3), "backend": json_values}).map(lambda v: json.dumps(v).encode())
)
def test_reading_a_cache_gives_a_backend_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("dir")
    (path / ".terraform").mkdir()
    (path / ".terraform" / "terraform.tfstate").write_bytes(content)

    try:
        assert isinstance(workdir(path).backend, (BackendCache, type(None)))
    except ConfigError:
        return


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ('terraform {\n  backend "s3" {\n  }\n}\n', ("s3",)),
        ('terraform { backend "gcs" {} }', ("gcs",)),
        ('terraform {\n  required_version = "1"\n  cloud {\n    organization = "x"\n  }\n}', ("cloud",)),
        ('# terraform { backend "s3" {} }', ()),
        ('// terraform { backend "s3" {} }\n/* terraform {\n backend "s3" {} } */', ()),
        ('locals {\n  x = "terraform { backend \\"s3\\" {} }"\n}', ()),
        ('locals {\n  x = <<-EOT\n    terraform {\n      backend "s3" {}\n    }\n  EOT\n}', ()),
        ('locals {\n  x = "${jsonencode({ "a" = "b" })}"\n}\nterraform {\n backend "s3" {\n }\n}', ("s3",)),
        ('locals {\n  x = "${lookup(var.m, "{")}"\n}\nterraform {\n backend "s3" {\n }\n}', ("s3",)),
        ('locals {\r\n  x = <<EOT\r\n{\r\nEOT\r\n}\r\nterraform {\r\n backend "s3" {\r\n }\r\n}', ("s3",)),
        ('module "backend" {\n  source = "./x"\n}\n', ()),
        ('resource "x" "terraform" {\n  backend "s3" {}\n}', ()),
        ('terraform {\r\n  backend "azurerm" {\r\n  }\r\n}', ("azurerm",)),
    ],
)
def test_declared_backends_are_found_and_imagined_ones_are_not(
    tmp_path: Path, text: str, kinds: tuple[str, ...]
) -> None:
    (tmp_path / "main.tf").write_bytes(text.encode())

    assert workdir(tmp_path).declared == kinds


def test_json_configuration_and_overrides_count_too(tmp_path: Path) -> None:
    (tmp_path / "a.tf.json").write_text('{"terraform": [{"backend": {"http": {}}}]}')
    (tmp_path / "b_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    (tmp_path / "c.tf.json").write_text("{")
    (tmp_path / ".hidden.tf").write_text('terraform {\n  backend "gcs" {}\n}\n')

    assert workdir(tmp_path).declared == ("local", "http")


def test_of_overrides_the_last_one_counts(tmp_path: Path) -> None:
    for kind, name in (("s3", "main"), ("gcs", "a_override"), ("http", "override"), ("pg", "b_override")):
        (tmp_path / f"{name}.tf").write_text(f'terraform {{\n  backend "{kind}" {{}}\n}}\n')
    (tmp_path / "override.old.tf").write_text("")

    assert workdir(tmp_path).declared == ("http", "pg", "gcs", "s3")
    assert [path.name for path, _ in workdir(tmp_path).texts()][3:] == ["main.tf", "override.old.tf"]
    assert workdir(tmp_path).doubt == ""


def test_what_terraform_reads_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.tf").write_bytes(b'# caf\xe9\nterraform {\n  backend "s3" {}\n}\n')
    (tmp_path / "b_override.tf.json").write_text('[{"terraform": {"backend": {"gcs": {}}}}]')
    (tmp_path / "c.tf").mkdir()

    assert (workdir(tmp_path).declared, workdir(tmp_path).doubt) == (("gcs", "s3"), "")


@pytest.mark.parametrize(
    ("name", "text", "doubt"),
    [
        ("b.tf", 'terraform {\n  backend "gcs" {}\n}\n', "there are several backend blocks"),
        ("b.tf", "locals {", "/b.tf is broken"),
        ("b.tf.json", "{", "/b.tf.json is broken"),
        ("b.tf", "#" * 5_000_000, "/b.tf is too large to be Terraform's"),
        ("b.tf", "locals {}", ""),
    ],
)
def test_what_cannot_be_read_may_declare_another_backend(tmp_path: Path, name: str, text: str, doubt: str) -> None:
    (tmp_path / "a.tf").write_text('terraform {\n  backend "s3" {}\n}\n')
    (tmp_path / name).write_text(text)

    found = workdir(tmp_path).doubt

    assert found.endswith(doubt) and bool(found) is bool(doubt)


def test_a_directory_is_initialised_for_the_backend_it_declares(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text('terraform {\n  backend "s3" {}\n}\n')
    assert not workdir(tmp_path).is_initialised

    write_cache(tmp_path, cached("gcs"))
    assert not workdir(tmp_path).is_initialised

    write_cache(tmp_path, cached("s3"))
    assert workdir(tmp_path).is_initialised


@pytest.mark.parametrize(
    ("text", "is_initialised"),
    [
        ('resource "terraform_data" "a" {}', True),
        ('data "terraform_remote_state" "a" {}\noutput "x" {}', True),
        ('resource "null_resource" "a" {}', False),
        ('module "a" {\n  source = "./a"\n}', False),
        ('provider "aws" {}', False),
        ("terraform {\n  required_providers {\n  }\n}", False),
    ],
)
def test_without_a_backend_init_is_needed_for_what_it_installs(tmp_path: Path, text: str, is_initialised: bool) -> None:
    (tmp_path / "main.tf").write_text(text)

    assert workdir(tmp_path).is_initialised is is_initialised
    (tmp_path / ".terraform").mkdir()
    assert workdir(tmp_path).is_initialised


def test_a_directory_with_nothing_for_terraform_is_told_from_one_with(tmp_path: Path) -> None:
    assert not workdir(tmp_path).is_terraform_directory
    (tmp_path / "main.tf").touch()
    assert workdir(tmp_path).is_terraform_directory


def test_a_tofu_file_is_nothing_to_terraform_and_hides_its_twin_from_opentofu(tmp_path: Path) -> None:
    for name, kind in (
        ("a.tf", "s3"),
        ("a.tofu", "gcs"),
        ("b.tf", "http"),
        ("c.tf.json", "pg"),
        ("c.tofu.json", "consul"),
    ):
        text = f'terraform {{\n  backend "{kind}" {{}}\n}}\n'
        is_json = name.endswith(".json")
        (tmp_path / name).write_text(f'{{"terraform": {{"backend": {{"{kind}": {{}}}}}}}}' if is_json else text)

    assert workdir(tmp_path).declared == ("s3", "http", "pg")
    tofu = WorkingDirectory.at(tmp_path, None, {}, lambda: True)
    assert tofu.declared == ("gcs", "http", "consul")


def test_a_tofu_file_alone_is_no_configuration_of_terraforms(tmp_path: Path) -> None:
    (tmp_path / "main.tofu").touch()

    assert not workdir(tmp_path).is_terraform_directory
    assert WorkingDirectory.at(tmp_path, None, {}, lambda: True).is_terraform_directory


def test_whether_tofu_files_count_is_asked_only_where_there_are_some(tmp_path: Path) -> None:
    (tmp_path / "main.tf").touch()

    def ask() -> bool:
        raise AssertionError("that costs a start of tofu")

    assert WorkingDirectory.at(tmp_path, None, {}, ask).is_terraform_directory


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_bytes(b'\xef\xbb\xbfterraform {\n  backend "s3" {}\n}\n')

    assert workdir(tmp_path).declared == ("s3",)


def test_nobody_is_advised_to_remove_what_this_user_may_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".terraform").mkdir()
    (tmp_path / ".terraform" / "environment").write_text("prod")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(ConfigError, match=r"cannot be read: Permission denied\.\nLet this user read it\.$"):
        WorkingDirectory.at(tmp_path, None, {}).workspace()
