"""What stands before the command is ours; whatever we do not know is Terraform's."""

from __future__ import annotations

import shlex

import pytest

from tfguard.config.options import parse
from tfguard.errors import UsageError


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("-p prod plan", "pipeline", "prod"),
        ("-p=prod plan", "pipeline", "prod"),
        ("--pipeline prod plan", "pipeline", "prod"),
        ("-chdir=app plan", "chdir", "app"),
        ("--chdir app plan", "chdir", "app"),
        ("--config=ci.yml plan", "config", "ci.yml"),
        ("--lock-timeout 30m plan", "flags", {("lock", "timeout"): ("30m", "--lock-timeout")}),
        ("--log-format json plan", "log_format", "json"),
        ("--terraform=/bin/tofu plan", "terraform", "/bin/tofu"),
        ("--verbose plan", "verbosity", 1),
        ("--quiet plan", "verbosity", -1),
    ],
)
def test_our_options_stand_before_the_command(line, field, value):
    found = parse(line.split())

    assert getattr(found, field) == value
    assert found.command == ("plan",)


@pytest.mark.parametrize("line", ["plan -p prod", "-version", "-help", "--help", "--version", "-chdir app plan", "-v"])
def test_everything_else_is_passed_on_untouched(line):
    found = parse(line.split())

    assert found.command == tuple(line.split())
    assert not found.is_raw


def test_after_two_dashes_all_is_terraforms():
    found = parse(["-p", "prod", "--", "run", "--quiet"])

    assert (found.is_raw, found.pipeline, found.command) == (True, "prod", ("run", "--quiet"))


def test_an_option_said_twice_alike_is_said_once():
    assert parse(["-p", "prod", "--pipeline=prod", "plan"]).pipeline == "prod"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-p", "-p needs a value.\nFor example: tfguard -p prod/network apply"),
        ("-p= plan", "-p needs a value.\nFor example: tfguard -p prod/network apply"),
        ("-p --quiet plan", "-p needs a value.\nFor example: tfguard -p prod/network apply"),
        ("-chdir= plan", "-chdir needs a value.\nFor example: tfguard -chdir=network apply"),
        ("--lock-timeout", "--lock-timeout needs a value.\nFor example: tfguard --lock-timeout 10m apply"),
        ("-p a --pipeline b plan", "--pipeline is given twice, as a and as b.\nGive it once."),
        ("--quiet=yes plan", "--quiet takes no value.\nFor example: tfguard --quiet apply"),
        (
            "--verbos apply",
            "there is no option --verbos; did you mean --verbose?\nFor example: tfguard --verbose apply",
        ),
    ],
)
def test_a_wrong_option_is_explained_with_an_example(line, message):
    with pytest.raises(UsageError) as caught:
        parse(line.split())

    assert str(caught.value) == message


def test_an_option_of_a_terraform_to_come_is_left_to_it():
    assert parse(["--colour-blind", "plan"]).command == ("--colour-blind", "plan")


@pytest.mark.parametrize(
    ("line", "again"),
    [
        ("plan", "tfguard"),
        ("-p prod/network plan", "tfguard -p prod/network"),
        ("-chdir=app plan", "tfguard -chdir=app"),
        ("--config ci.yml -p prod plan", "tfguard --config ci.yml -p prod"),
        ("'-chdir=my app' plan", "tfguard '-chdir=my app'"),
    ],
)
def test_a_recommended_command_addresses_the_same_thing_again(line, again):
    found = parse(shlex.split(line))

    assert found.again == again
    assert parse(shlex.split(again)[1:]).chdir == found.chdir
