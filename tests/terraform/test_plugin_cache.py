"""Which folder the plugin cache is: as Terraform finds it, which is asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.eventually import patience
from tfguard.terraform.plugin_cache import TRANSIENT, find_plugin_cache

NAMES = ("env", "config", "home", "folder", "here/relative")
#: The environment and the files (by their place below the home), and the folder that counts.
CASES: dict[str, tuple[dict[str, str], dict[str, str], str | None]] = {
    "none": ({}, {}, None),
    "variable": ({"TF_PLUGIN_CACHE_DIR": "@/env"}, {".terraformrc": 'plugin_cache_dir = "@/home"\n'}, "env"),
    "relative": ({"TF_PLUGIN_CACHE_DIR": "relative"}, {}, "here/relative"),
    "home": ({}, {".terraformrc": '# a comment\n  plugin_cache_dir   = "@/home"\n'}, "home"),
    "variable-in-it": ({}, {".terraformrc": 'plugin_cache_dir = "$HOME/home"\n'}, "home"),
    "braces-in-it": ({}, {".terraformrc": 'plugin_cache_dir="${HOME}/home" # so\n'}, "home"),
    "commented-out": ({}, {".terraformrc": '# plugin_cache_dir = "@/home"\n'}, None),
    "named-file": (
        {"TF_CLI_CONFIG_FILE": "@/named.rc"},
        {"named.rc": 'plugin_cache_dir = "@/config"\n', ".terraformrc": 'plugin_cache_dir = "@/home"\n'},
        "config",
    ),
    "named-file-without": (
        {"TF_CLI_CONFIG_FILE": "@/named.rc"},
        {"named.rc": "disable_checkpoint = true\n", ".terraformrc": 'plugin_cache_dir = "@/home"\n'},
        None,
    ),
    "folder-of-files": ({}, {".terraform.d/x.tfrc": 'plugin_cache_dir = "@/folder"\n'}, "folder"),
    "home-before-folder": (
        {},
        {".terraformrc": 'plugin_cache_dir = "@/home"\n', ".terraform.d/x.tfrc": 'plugin_cache_dir = "@/folder"\n'},
        "home",
    ),
    "json": ({}, {".terraform.d/x.tfrc.json": '{"plugin_cache_dir": "@/folder"}\n'}, "folder"),
}


def written(home: Path, environ: Mapping[str, str], files: Mapping[str, str]) -> dict[str, str]:
    for name in NAMES:
        (home / name).mkdir(parents=True)
    for name, text in files.items():
        path = home / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("@", str(home)))
    return {"HOME": str(home), **{name: value.replace("@", str(home)) for name, value in environ.items()}}


@pytest.mark.parametrize("name", CASES)
def test_it_is_found_where_terraform_finds_it(tmp_path: Path, name: str) -> None:
    environ, files, wanted = CASES[name]
    given = written(tmp_path, environ, files)

    assert find_plugin_cache(given, tmp_path / "here") == (tmp_path / wanted if wanted else None)


@pytest.mark.usefixtures("real_terraform")
def test_terraform_itself_looks_there(tmp_path: Path) -> None:
    for name, (environ, files, wanted) in CASES.items():
        home = tmp_path / name
        given = written(home, environ, files)
        for each in NAMES:
            shutil.rmtree(home / each)  # It says then which one it misses.
        (home / "here").mkdir(exist_ok=True)
        done = subprocess.run(
            ["terraform", "version", "-no-color"],
            cwd=home / "here",
            env={"PATH": os.environ["PATH"], "CHECKPOINT_DISABLE": "1", **given},
            capture_output=True,
            text=True,
            timeout=patience(30),
        )
        missing = re.search(r"plugin cache dir (\S+) cannot be opened", re.sub(r"\n│ ", " ", done.stderr))
        assert bool(missing) == bool(wanted), (name, done.stderr)
        assert missing is None or home / "here" / missing[1] == home / (wanted or ""), name


@pytest.mark.parametrize("text", ["", 'plugin_cache_dir = ""\n', 'plugin_cache_dir = "@/nowhere"\n', "\x00\xff{"])
def test_what_is_no_folder_is_no_cache(tmp_path: Path, text: str) -> None:
    given = written(tmp_path, {}, {".terraformrc": text})
    os.mkfifo(tmp_path / "pipe")

    assert find_plugin_cache(given, tmp_path) is None
    assert find_plugin_cache({**given, "TF_CLI_CONFIG_FILE": str(tmp_path / "pipe")}, tmp_path) is None


CHECKSUMS = """the cached package for registry.terraform.io/hashicorp/aws 4.61.0 (in .terraform/providers) does not
match any of the checksums recorded in the dependency lock file""".replace("\n", " ")


@pytest.mark.parametrize("said", ["open /c/terraform-provider-aws_v5.0.0_x5: text file busy", CHECKSUMS])
def test_what_two_at_once_cause_is_worth_another_try(said: str) -> None:
    assert re.search("|".join(TRANSIENT), said)


def test_a_home_that_may_not_be_looked_into_has_none(tmp_path: Path) -> None:
    closed = "/" + "x" * 300  # Nobody may ask for it, root included: the name is too long.

    assert find_plugin_cache({"HOME": closed}, tmp_path) is None
    assert find_plugin_cache({"TF_PLUGIN_CACHE_DIR": closed}, tmp_path) is None
