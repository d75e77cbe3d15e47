"""The files that a tfguard.yml names: which are looked for, and which may come later."""

from __future__ import annotations

from pathlib import Path

from tfguard.config.file import inspect
from tfguard.config.named_files import missing_files

TEXT = """
version: 1
defaults:
  var_files: [common.tfvars]
pipelines:
  prod:
    dir: net
    var_files: [common.tfvars, lost.tfvars, "${STAGE}.tfvars", "${UNSET}.tfvars", "${STAGE:-x}.json"]
    backend_config: [prod.tfbackend]
  dev: {dir: lost}
  map: {backend_config: {key: a}}
"""


def test_what_is_named_and_not_there_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "common.tfvars").touch()
    (tmp_path / "tfguard.yml").write_text(TEXT)
    config, problems = inspect(tmp_path / "tfguard.yml", {})

    missing = missing_files(config, {"STAGE": "prod"})

    assert problems == []
    assert [(each.problem.key, each.problem.what, each.is_certain) for each in missing] == [
        ("pipelines.prod.var_files[1]", "no such file", True),
        ("pipelines.prod.var_files[2]", "no such file", False),
        ("pipelines.prod.var_files[4]", "no such file", False),
        ("pipelines.prod.backend_config[0]", "no such file", True),
        ("pipelines.dev.dir", "no such directory", True),
    ]
    assert all(each.problem.where.startswith("tfguard.yml:") or ":" in each.problem.where for each in missing)


def test_a_place_that_cannot_be_looked_for_is_told_like_one_that_is_missing(tmp_path: Path) -> None:
    long = "x" * 300  # Root may look everywhere; but no name is so long.
    (tmp_path / "tfguard.yml").write_text(f"version: 1\npipelines: {{p: {{dir: {long}, var_files: [{long}]}}}}\n")
    config, _ = inspect(tmp_path / "tfguard.yml", {})

    assert [(each.problem.key, each.problem.what.split(":")[0]) for each in missing_files(config, {})] == [
        ("pipelines.p.dir", "this directory cannot be looked for"),
        ("pipelines.p.var_files[0]", "this file cannot be looked for"),
    ]
