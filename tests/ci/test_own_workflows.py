"""What the project's own repository has for its platform: right by schemas and linters. None of it was run there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import tfguard
from tests.ci.test_examples import read, tool
from tests.e2e.conftest import ROOT
from tfguard.cli import own_commands

HOME = ROOT / ".github"
WORKFLOWS = sorted(HOME.glob("workflows/*.yml"))
FORMS = [path for path in sorted(HOME.glob("ISSUE_TEMPLATE/*.yml")) if path.name != "config.yml"]
CHECKED = [
    *(("vendor.github-workflows", path) for path in WORKFLOWS),
    *(("vendor.github-issue-forms", path) for path in FORMS),
    ("vendor.github-issue-config", HOME / "ISSUE_TEMPLATE/config.yml"),
    ("vendor.dependabot", HOME / "dependabot.yml"),
]
METADATA = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("schema", "path"), CHECKED, ids=lambda value: getattr(value, "name", None))
def test_the_files_are_what_github_takes(schema: str, path: Path) -> None:
    words = [tool("check-jsonschema"), "--builtin-schema", schema, str(path)]

    done = subprocess.run(words, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing() -> None:
    done = subprocess.run([tool("zizmor"), "--offline", "--no-progress", str(HOME)], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_finds_nothing() -> None:
    words = [tool("hadolint"), "--config", str(ROOT / ".hadolint.yaml"), "--no-color", str(ROOT / "Dockerfile")]

    done = subprocess.run(words, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_action_is_pinned_and_the_same_one_everywhere() -> None:
    found: dict[str, set[str]] = {}
    for path in [*WORKFLOWS, *(ROOT / "examples/github").glob("*.yml")]:
        for used in re.findall(r"^ +(?:- )?uses: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            if used.startswith("./"):
                continue
            name, pin = re.fullmatch(r"([\w./-]+)@([0-9a-f]{40} # v\S+)", used).groups()  # type: ignore[union-attr]
            found.setdefault(name, set()).add(pin)

    assert {name: pins for name, pins in found.items() if len(pins) > 1} == {}


def test_it_is_tested_with_each_python_that_the_package_names() -> None:
    tested = read(HOME / "workflows/test.yml")["jobs"]["linux"]["strategy"]["matrix"]["python"]

    assert tested == re.findall(r'"Programming Language :: Python :: (3\.\d+)"', METADATA)
    assert f'requires-python = ">={tested[0]}"' in METADATA


def test_what_the_workflows_make_there_is() -> None:
    made = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = [
        word
        for path in WORKFLOWS
        for words in re.findall(r"run: make (.*)", path.read_text(encoding="utf-8"))
        for word in words.split()
    ]

    assert set(asked) <= made
    assert {"test", "check", "lint", "package", "docs"} <= set(asked)


def test_the_changelog_begins_with_this_version() -> None:
    first = re.search(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert first is not None
    assert first[1] == tfguard.__version__


def test_what_is_submitted_to_the_schema_store_is_our_schema() -> None:
    entry = json.loads((HOME / "schemastore.json").read_text(encoding="utf-8"))

    assert entry["url"] == tfguard.SCHEMA
    assert entry["fileMatch"] == ["tfguard.yml"]


def test_the_pre_commit_hook_calls_a_command_that_there_is() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))

    program, *words = hook["entry"].split()

    assert (hook["id"], program, hook["language"]) == ("tfguard-validate", "tfguard", "python")
    assert words[1] in own_commands.group.commands[words[0]].commands  # type: ignore[attr-defined]
    # It is called in the repository's root, and looks there: of a file deeper down it would say that there is none.
    assert [
        name for name in ("tfguard.yml", "xtfguard.yml", "infra/tfguard.yml") if re.search(hook["files"], name)
    ] == ["tfguard.yml"]


def test_the_image_has_only_what_is_copied_into_it() -> None:
    """Whatever else lies in a checkout, secrets too, stays out of what is sent to the builder."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {source.rstrip("/") for source in re.findall(r"^COPY (?!--)(\S+)", text, re.MULTILINE)}

    assert "*" in lines
    assert copied == allowed
