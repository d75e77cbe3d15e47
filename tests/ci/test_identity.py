"""Who runs, on every platform of the table, from the variables that it really sets."""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tfguard.ci.identity import PROVIDERS, Identity, identify

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.json"))


def load(name: str) -> dict[str, Any]:
    path = next(path for path in FIXTURES if path.stem == name)
    return json.loads(path.read_text(encoding="utf-8"))


def variables(name: str, **changes: str) -> dict[str, str]:
    return {**load(name)["environ"], **changes}


@pytest.mark.parametrize("name", [path.stem for path in FIXTURES])
def test_a_run_is_identified_by_what_its_platform_says(name):
    fixture = load(name)
    here = {"{hostname}": socket.gethostname(), "{user}": pwd.getpwuid(os.getuid()).pw_name}
    expected = dict(fixture["identity"])
    for placeholder, value in here.items():
        expected = {
            key: text.replace(placeholder, value) if isinstance(text, str) else text for key, text in expected.items()
        }

    identity = identify(fixture["environ"])

    assert msgspec.structs.asdict(identity) == expected
    assert identity.is_ci == (name != "laptop")


def test_every_row_of_the_table_has_a_fixture():
    assert {row.name for row in PROVIDERS} < {load(path.stem)["identity"]["provider"] for path in FIXTURES}


def test_a_rerun_and_a_retry_are_named_as_other_runs():
    for first, again in [("github-push", "github-rerun"), ("gitlab-branch", "gitlab-retry")]:
        assert identify(variables(first)).run != identify(variables(again)).run


def test_nothing_secret_is_taken_from_an_address():
    assert "hunter2" not in repr(identify(variables("jenkins")))


@pytest.mark.parametrize("name", ["github-push", "laptop"])
def test_a_person_may_say_who_and_where(name):
    environ = variables(name, TFGUARD_WHO="release-bot@acme", TFGUARD_RUN_URL="https://ci.example.com/run/1")

    identity = identify(environ)

    assert (identity.who, identity.link) == ("release-bot@acme", "https://ci.example.com/run/1")
    assert identity.provider == load(name)["identity"]["provider"]


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://",
        "https://[bad",
        "https://a b/",
        "no address",
        "https://a/\x1b[2J",
        "https://a/" + "x" * 500,
    ],
)
def test_what_is_no_web_address_is_no_link(link):
    assert identify({"TFGUARD_RUN_URL": link}).link == ""


def test_strangers_texts_are_printable_on_one_line_and_bounded():
    hostile = "eve\x1b[2J\n::error::gotcha\u202e" + "x" * 5000
    environ = {
        name: hostile if name not in ("GITHUB_ACTIONS", "GITHUB_RUN_ATTEMPT") else text
        for name, text in variables("github-push").items()
    }

    identity = identify(environ)

    for text in (identity.who, identity.run, identity.link):
        assert text.isprintable()
        assert len(text) <= 500


def test_bytes_that_are_no_text_do_no_harm():
    identity = identify(variables("gitlab-branch", GITLAB_USER_LOGIN="an\udcffa"))

    assert identity.who == "an\ufffda@ci-7"
    assert msgspec.json.decode(msgspec.json.encode(identity), type=Identity) == identity


@pytest.mark.parametrize("attempt", ["", "0", "-1", "two", "²", "99999999999999999999"])
def test_an_attempt_that_is_no_number_is_the_first(attempt):
    identity = identify(variables("github-push", GITHUB_RUN_ATTEMPT=attempt))

    assert identity.run == "GitHub run 4812"


def test_a_link_without_an_attempt_still_leads_to_the_run():
    environ = variables("github-push")
    del environ["GITHUB_RUN_ATTEMPT"]

    assert identify(environ).link == "https://github.com/acme/infra/actions/runs/17100200300"


def test_without_any_of_its_variables_a_platform_still_has_an_identity():
    for row in PROVIDERS:
        identity = identify({name: value or "x" for name, value in row.detect.items()})

        assert identity.provider == row.name
        assert identity.who.endswith("@" + socket.gethostname())


@pytest.mark.parametrize(("value", "is_ci"), [("true", True), ("1", True), ("false", False), ("0", False), ("", False)])
def test_ci_is_what_the_variable_says(value, is_ci):
    assert identify({"CI": value}).is_ci == is_ci


@pytest.mark.usefixtures("real_terraform")
def test_a_laptop_is_named_as_terraform_names_it(tmp_path):
    """Terraform's own `Who`, read from the lock file that it keeps beside a local state while it runs."""
    (tmp_path / "main.tf").write_text(
        'resource "terraform_data" "who" {\n  provisioner "local-exec" {\n'
        '    command = "cp .terraform.tfstate.lock.info seen.json"\n  }\n}\n'
    )
    environ = {name: value for name, value in os.environ.items() if name != "TF_CLI_CONFIG_FILE"}
    environ |= {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    for command in (["init", "-input=false"], ["apply", "-auto-approve", "-input=false"]):
        subprocess.run(["terraform", *command], cwd=tmp_path, env=environ, check=True, capture_output=True)

    who = json.loads((tmp_path / "seen.json").read_text(encoding="utf-8"))["Who"]

    assert identify({}).who == who
