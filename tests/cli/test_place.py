"""In whose place we were called: by our own name, by Terraform's, or by Terragrunt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfguard.cli.place import in_terraforms, stands_for
from tfguard.config.options import Options


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        ("/usr/local/bin/terraform", "terraform"),
        ("tofu", "tofu"),
        ("/opt/terraform/bin/tfguard", None),
        ("/opt/tfguard/__main__.py", None),
        ("/opt/bin/terraform-1.11", None),
        ("", None),
    ],
)
def test_a_link_of_terraforms_name_stands_for_it(program: str, kind: str | None) -> None:
    assert stands_for(program) == kind


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["run"], ["exec", "--", "x"], ["-p", "x", "plan"], []])
def test_under_terraforms_name_every_word_is_terraforms(words: list[str]) -> None:
    found = in_terraforms(words, {}, "/usr/bin/terraform")

    assert found == Options(stands_for="terraform", command=tuple(words))


def test_under_terraforms_name_its_directory_is_ours_too(tmp_path: Path) -> None:
    there = in_terraforms([f"-chdir={tmp_path}", "plan"], {}, "tofu")
    nowhere = in_terraforms(["-chdir=/nowhere", "plan"], {}, "tofu")

    assert there == Options(stands_for="tofu", chdir=str(tmp_path), command=("plan",))
    assert nowhere == Options(stands_for="tofu", is_raw=True, command=("-chdir=/nowhere", "plan"))


@pytest.fixture
def tfguard(tmp_path: Path) -> Path:
    program = tmp_path / "bin" / "tfguard"
    program.parent.mkdir()
    program.write_text("#!/usr/bin/python3\nfrom tfguard.cli.main import main\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("variable", ["TG_TF_PATH", "TERRAGRUNT_TFPATH"])
def test_terragrunts_question_is_answered_by_terraform(tfguard: Path, variable: str) -> None:
    path = {"PATH": str(tfguard.parent)}
    wrapper = tfguard.with_name("tf.sh")
    wrapper.write_text('#!/bin/sh\nexec tfguard -p prod "$@"\n')

    for named in (str(tfguard), "tfguard", str(wrapper)):
        asked = in_terraforms(["--version"], {**path, variable: named}, str(tfguard))
        assert asked == Options(is_raw=True, command=("--version",)), named


def test_only_what_terragrunt_asks_and_only_of_us(tfguard: Path) -> None:
    other = tfguard.with_name("terraform")
    other.write_text("\x7fELF")
    ours = {"TG_TF_PATH": str(tfguard), "PATH": os.defpath}

    assert in_terraforms(["status"], ours, str(tfguard)) is None
    assert in_terraforms(["settle", "--help"], ours, str(tfguard)) is None
    assert in_terraforms(["--version"], {**ours, "TG_TF_PATH": str(other)}, str(tfguard)) is None
    assert in_terraforms(["--version"], {"PATH": os.defpath}, str(tfguard)) is None
