from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfguard.config.file import load
from tfguard.config.settings import Settings, backend_config_text, resolve, var_file_arguments
from tfguard.hcl import hcl, terraform_variable

Settle = Callable[..., Settings]

TIMEOUT = ("lock", "timeout")


def test_without_a_file_the_built_in_values_hold(tmp_path: Path) -> None:
    settings = resolve(None, None, directory=tmp_path, environ={})

    assert settings.directory == str(tmp_path)
    assert (settings.lock.mode, settings.terms.timeout_seconds, settings.terms.lease_seconds) == ("state", 600, 180)
    assert (settings.terms.takeover, settings.lock.plan, settings.terms.order) == ("always", "wait", "fifo")
    assert (settings.steps, settings.approve, settings.init) == (("init", "plan", "apply"), "prompt", "auto")
    assert (settings.terms.run_timeout_seconds, settings.retry.attempts, settings.environment) == (None, 3, {})
    assert set(settings.origins.values()) == {"built in"}


def test_each_layer_beats_the_one_below_and_its_origin_is_known(settle: Settle) -> None:
    bare = "version: 1\npipelines: {prod: {}}\n"
    with_defaults = "version: 1\ndefaults:\n  lock: {timeout: 1m}\npipelines: {prod: {}}\n"
    with_own = "version: 1\ndefaults:\n  lock: {timeout: 1m}\npipelines:\n  prod:\n    lock:\n      timeout: 2m\n"
    environ = {"TFGUARD_LOCK_TIMEOUT": "3m"}
    flags = {TIMEOUT: ("4m", "--lock-timeout")}

    layers = [
        settle(bare),
        settle(with_defaults),
        settle(with_own),
        settle(with_own, environ=environ),
        settle(with_own, environ=environ, flags=flags),
    ]

    assert [(one.terms.timeout_seconds, one.origins["lock.timeout"]) for one in layers] == [
        (600, "built in"),
        (60, "tfguard.yml:3 defaults.lock.timeout"),
        (120, "tfguard.yml:7 pipelines.prod.lock.timeout"),
        (180, "TFGUARD_LOCK_TIMEOUT"),
        (240, "--lock-timeout"),
    ]


def test_an_empty_variable_counts_as_unset(settle: Settle) -> None:
    settings = settle("version: 1\npipelines: {prod: {}}\n", environ={"TFGUARD_LOCK_TIMEOUT": ""})

    assert settings.terms.timeout_seconds == 600


def test_a_plain_zero_is_a_duration(settle: Settle) -> None:
    settings = settle("version: 1\npipelines: {prod: {lock: {timeout: 0}}}\n")

    assert settings.terms.timeout_seconds == 0


def test_variables_are_needed_for_the_pipeline_in_use_alone(settle: Settle) -> None:
    text = """
        version: 1
        pipelines:
          prod: {vars: {password: "${PASSWORD}"}}
          dev: {vars: {password: "${DEV_PASSWORD:-dev}"}}
    """

    assert settle(text, "dev").environment == {
        "TF_VAR_password": "dev",
        "TF_DATA_DIR": ".terraform/pipelines/dev",
    }


def test_a_default_that_the_pipeline_replaces_needs_no_variable(settle: Settle) -> None:
    text = "version: 1\ndefaults: {env: {A: '${MISSING}'}}\npipelines: {prod: {env: {A: own}}}\n"

    assert settle(text).environment == {"A": "own"}


def test_numbers_and_words_may_come_from_variables(settle: Settle) -> None:
    text = (
        "version: 1\npipelines: {prod: {approve: '${A}', retry: {init: {attempts: '${N}'}}, lock: {lease: '${L}'}}}\n"
    )

    settings = settle(text, environ={"A": "auto", "N": "5", "L": "1m"})

    assert (settings.approve, settings.retry.attempts, settings.terms.lease_seconds) == ("auto", 5, 60)


def test_paths_begin_at_the_file_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stacks" / "net").mkdir(parents=True)
    file = tmp_path / "tfguard.yml"
    file.write_text(
        "version: 1\npipelines: {prod: {dir: stacks/net, var_files: [a.tfvars, /b.tfvars], backend_config: [c.hcl]}}\n"
    )
    monkeypatch.chdir(tmp_path / "stacks")

    settings = resolve(load(file, {}), "prod", directory=Path.cwd(), environ={})

    assert settings.directory == str(tmp_path / "stacks" / "net")
    assert settings.var_files == (str(tmp_path / "a.tfvars"), "/b.tfvars")
    assert settings.backend_config_files == (str(tmp_path / "c.hcl"),)


def test_without_a_pipeline_the_defaults_say_how_to_lock_but_not_what_with(settle: Settle, tmp_path: Path) -> None:
    text = """
        version: 1
        defaults:
          dir: nowhere
          workspace: prod
          vars: {a: "${UNSET}"}
          env: {B: b}
          var_files: [x]
          backend_config: {key: k}
          args: {plan: [x]}
          run_timeout: 45m
          lock: {lease: 60s}
        pipelines: {}
    """

    settings = settle(text, None)

    assert (settings.terms.lease_seconds, settings.terms.run_timeout_seconds) == (60, 2700)
    assert settings.directory == str(tmp_path)
    assert (settings.workspace, settings.environment, settings.var_files) == (None, {}, ())
    assert (settings.backend_config, settings.args) == ({}, {})


def test_null_takes_back_a_variable_of_the_defaults(settle: Settle) -> None:
    text = "version: 1\ndefaults: {vars: {a: 1, b: 2}}\npipelines: {prod: {vars: {a: ~}}}\n"

    assert settle(text).environment == {"TF_VAR_b": "2"}


@pytest.mark.parametrize(
    ("pipelines", "name", "data_dir"),
    [
        ("{prod: {dir: a}, dev: {dir: b}}", "prod", None),
        ("{prod: {dir: a}, dev: {dir: ./b/../a}}", "prod", ".terraform/pipelines/prod"),
        ("{prod/net: {}, dev/net: {dir: .}}", "prod/net", ".terraform/pipelines/prod%2Fnet"),
        ("{prod: {dir: a}, dev: {dir: link}}", "prod", ".terraform/pipelines/prod"),
        ("{prod: {dir: a}, dev: {dir: '${UNSET}'}}", "prod", None),
        ("{prod: {dir: a}, dev: {dir: '${UNSET:-a}'}}", "prod", ".terraform/pipelines/prod"),
    ],
)
def test_a_shared_directory_gives_each_pipeline_data_of_its_own(
    settle: Settle, tmp_path: Path, pipelines: str, name: str, data_dir: str | None
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to("a")

    settings = settle(f"version: 1\npipelines: {pipelines}\n", name)

    assert settings.data_dir == data_dir
    assert settings.environment.get("TF_DATA_DIR") == data_dir


def test_data_of_its_own_lies_below_the_data_directory_of_the_environment(settle: Settle) -> None:
    text = "version: 1\npipelines: {prod: {}, dev: {}}\n"

    assert settle(text, environ={"TF_DATA_DIR": "/cache"}).data_dir == "/cache/pipelines/prod"


def test_a_data_directory_in_env_is_taken_as_it_is(settle: Settle) -> None:
    text = "version: 1\npipelines: {prod: {env: {TF_DATA_DIR: mine}}, dev: {}}\n"

    settings = settle(text)

    assert (settings.data_dir, settings.environment["TF_DATA_DIR"]) == ("mine", "mine")


def test_the_workspace_travels_in_the_environment(settle: Settle) -> None:
    assert settle("version: 1\npipelines: {prod: {workspace: eu}}\n").environment == {"TF_WORKSPACE": "eu"}


def test_a_named_lock_knows_its_store(settle: Settle) -> None:
    text = "version: 1\npipelines: {prod: {lock: {mode: named, name: all, store: 'file:///locks'}}}\n"

    lock = settle(text).lock

    assert (lock.mode, lock.name, lock.store) == ("named", "all", "file:///locks")


@pytest.mark.parametrize(
    ("store", "flag", "expected"),
    [
        ("dynamodb://locks?region=eu-west-1", None, "dynamodb://locks?region=eu-west-1"),
        ("my locks", None, "file://{root}/my%20locks"),
        ("s3://b", "../locks", "file://{parent}/locks"),
    ],
)
def test_a_store_that_is_a_path_begins_where_it_was_written(
    settle: Settle, tmp_path: Path, store: str, flag: str | None, expected: str
) -> None:
    text = f"version: 1\npipelines: {{prod: {{lock: {{mode: named, name: all, store: '{store}'}}}}}}\n"

    settings = settle(text, flags={("lock", "store"): (flag, "--store")} if flag else None)

    assert settings.lock.store == expected.format(root=tmp_path, parent=tmp_path.parent)


@pytest.mark.parametrize(
    ("words", "has_plan_file", "expected"),
    [
        (["plan"], False, True),
        (["apply"], False, True),
        (["apply"], True, False),
        (["destroy"], False, True),
        (["refresh"], False, True),
        (["import"], False, True),
        (["console"], False, True),
        (["init"], False, False),
        (["state", "mv"], False, False),
        (["output"], False, False),
        ([], False, False),
    ],
)
def test_var_files_go_to_the_commands_that_take_them(
    settle: Settle, tmp_path: Path, words: list[str], has_plan_file: bool, expected: bool
) -> None:
    (tmp_path / "a.tfvars").touch()
    settings = settle("version: 1\npipelines: {prod: {var_files: [a.tfvars]}}\n")

    arguments = var_file_arguments(settings, words, has_plan_file=has_plan_file)

    assert arguments == ([f"-var-file={tmp_path / 'a.tfvars'}"] if expected else [])


def test_settings_show_no_secret(settle: Settle) -> None:
    text = "version: 1\npipelines: {prod: {env: {A: s3cr3t}, vars: {b: s3cr3t}, backend_config: {token: s3cr3t}}}\n"

    settings = settle(text)

    assert "s3cr3t" not in f"{settings!r} {settings.origins}"


VALUES: dict[str, Any] = {
    "text": 'a "quoted" ${template} %{ if } \\ line\nbreak',
    "looks_like_a_list": "[1, 2]",
    "number": 12,
    "fraction": 1.5,
    "truth": True,
    "listed": ["${a}", "%{b}", 'c"d', "tab\tnewline\nbell\x07 é 😀", 1, None, False],
    "mapped": {"a b": {"${x}": [1, {"y": "z"}]}, "Type": "${aws:username}", "empty": {}, "none": []},
}

TYPES = {"text": "string", "looks_like_a_list": "string", "number": "number", "fraction": "number", "truth": "bool"}


@pytest.fixture(scope="module")
def echoed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give what the real Terraform reads where we hand it VALUES."""
    import os

    directory = tmp_path_factory.mktemp("echo")
    blocks = [
        f'variable "{name}" {{\n  type = {TYPES.get(name, "any")}\n}}\noutput "{name}" {{\n  value = var.{name}\n}}\n'
        for name in VALUES
    ]
    (directory / "main.tf").write_text("".join(blocks))
    variables = {f"TF_VAR_{name}": terraform_variable(value) for name, value in VALUES.items()}
    environ = {**os.environ, **variables, "CHECKPOINT_DISABLE": "1"}
    environ.pop("TF_CLI_CONFIG_FILE", None)
    for command in (["init", "-input=false"], ["apply", "-auto-approve", "-input=false"]):
        subprocess.run(["terraform", *command], cwd=directory, env=environ, check=True, capture_output=True)
    output = subprocess.run(
        ["terraform", "output", "-json"], cwd=directory, env=environ, check=True, capture_output=True
    )
    return {name: entry["value"] for name, entry in json.loads(output.stdout).items()}


@pytest.mark.e2e
@pytest.mark.parametrize("name", VALUES)
def test_terraform_reads_variables_as_they_were_written(echoed: dict[str, Any], name: str) -> None:
    assert echoed[name] == VALUES[name]


@pytest.mark.e2e
def test_terraform_initialises_the_backend_from_our_text(settle: Settle, tmp_path: Path) -> None:
    import os

    (tmp_path / "main.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    settings = settle(
        "version: 1\npipelines: {prod: {backend_config: {path: 'a ${X} $${b}.tfstate'}}}\n", environ={"X": "x"}
    )
    text = tmp_path / "backend.hcl"
    text.write_text(backend_config_text(settings))
    environ = {name: value for name, value in os.environ.items() if name != "TF_CLI_CONFIG_FILE"}

    subprocess.run(
        ["terraform", "init", f"-backend-config={text}"], cwd=tmp_path, env=environ, check=True, capture_output=True
    )

    cache = json.loads((tmp_path / ".terraform" / "terraform.tfstate").read_text())
    assert cache["backend"]["config"]["path"] == settings.backend_config["path"] == "a x ${b}.tfstate"


@pytest.mark.parametrize(("value", "text"), [(None, "null"), (True, "true"), (10**20, "1" + "0" * 20), ("${", '"$${"')])
def test_values_are_written_as_expressions(value: Any, text: str) -> None:
    assert hcl(value) == text
