from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tfguard.config.file import find_config, inspect, load

Write = Callable[..., Path]


def test_the_nearest_file_upward_is_found(tmp_path: Path) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    (tmp_path / "tfguard.yml").touch()
    (tmp_path / "a" / "tfguard.yml").touch()

    assert find_config(inside, None, {}) == tmp_path / "a" / "tfguard.yml"


def test_no_file_is_needed(tmp_path: Path) -> None:
    assert find_config(tmp_path, None, {}) is None


def test_a_flag_beats_the_variable_beats_the_search(tmp_path: Path) -> None:
    for name in ("tfguard.yml", "by-flag.yml", "by-variable.yml"):
        (tmp_path / name).touch()
    environ = {"TFGUARD_CONFIG": "by-variable.yml"}

    assert find_config(tmp_path, "by-flag.yml", environ) == tmp_path / "by-flag.yml"
    assert find_config(tmp_path, None, environ) == tmp_path / "by-variable.yml"
    assert find_config(tmp_path, None, {"TFGUARD_CONFIG": ""}) == tmp_path / "tfguard.yml"


def test_a_folder_called_tfguard_yml_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a" / "tfguard.yml").mkdir(parents=True)
    (tmp_path / "tfguard.yml").touch()

    assert find_config(tmp_path / "a", None, {}) == tmp_path / "tfguard.yml"


def test_pipelines_keep_the_order_of_the_file(write: Write) -> None:
    config = load(write("version: 1\npipelines: {z: {}, a: , m: {}}\n"), {})

    assert config.names == ["z", "a", "m"]
    config.require("a")


def test_keys_that_begin_with_x_are_the_users_own(write: Write) -> None:
    text = """
        version: 1
        x-lock: &lock {lease: 60s, timeout: 5m}
        x-anything: [1, {a: ~}]
        pipelines:
          prod:
            lock:
              <<: *lock
              timeout: 1m
    """

    leaves = load(write(text), {}).merged("prod")

    assert {path: leaf.value for path, leaf in leaves.items()} == {("lock", "lease"): "60s", ("lock", "timeout"): "1m"}


def test_maps_merge_and_lists_replace(write: Write) -> None:
    text = """
        version: 1
        defaults:
          env: {A: default, B: default}
          var_files: [common.tfvars]
          args: {plan: [-refresh=false], apply: [-parallelism=5]}
          vars: {tags: {team: net, cost: 7}, region: eu}
        pipelines:
          prod:
            env: {B: own}
            var_files: [prod.tfvars]
            args: {plan: []}
            vars: {tags: {team: sec}}
    """

    leaves = load(write(text), {}).merged("prod")

    assert {path: leaf.value for path, leaf in leaves.items()} == {
        ("env", "A"): "default",
        ("env", "B"): "own",
        ("var_files",): ["prod.tfvars"],
        ("args", "plan"): [],
        ("args", "apply"): ["-parallelism=5"],
        ("vars", "tags"): {"team": "sec"},
        ("vars", "region"): "eu",
    }


def test_an_empty_map_takes_nothing_away(write: Write) -> None:
    text = "version: 1\ndefaults: {vars: {a: 1}, env: {B: b}}\npipelines:\n  prod:\n    vars:\n    env: {}\n"

    assert set(load(write(text), {}).merged("prod")) == {("vars", "a"), ("env", "B")}


@pytest.mark.parametrize(
    ("default", "own", "expected"),
    [
        ("{bucket: b, key: k}", "[prod.hcl]", {("backend_config",)}),
        ("[common.hcl]", "{key: k}", {("backend_config", "key")}),
    ],
)
def test_files_for_the_backend_replace_a_map_and_the_other_way_round(
    write: Write, default: str, own: str, expected: set[tuple[str, ...]]
) -> None:
    text = f"version: 1\ndefaults: {{backend_config: {default}}}\npipelines: {{prod: {{backend_config: {own}}}}}\n"

    assert set(load(write(text), {}).merged("prod")) == expected


def test_a_store_among_the_defaults_serves_the_named_and_harms_no_other(write: Write) -> None:
    text = """
        version: 1
        defaults: {lock: {store: "dynamodb://locks"}}
        pipelines:
          everything: {lock: {mode: named, name: everything}}
          network: {}
    """

    _, problems = inspect(write(text), {})

    assert problems == []


def test_every_problem_is_found_in_the_order_of_its_line(write: Write) -> None:
    text = """
        version: 1
        defaults:
          lock: {lease: 5s}
        pipelines:
          prod: {steps: [apply, plan]}
          dev: {env: {PATH: x}, lock: {mode: named}}
    """

    _, problems = inspect(write(text), {})

    assert [problem.where for problem in problems] == [f"tfguard.yml:{n}" for n in (4, 6, 7, 7, 7)]


def test_the_whole_file_is_checked_without_any_of_its_variables(write: Write) -> None:
    text = """
        version: 1
        pipelines:
          prod: {dir: "${DIR}", approve: "${APPROVE}", lock: {lease: "${LEASE}", mode: "${MODE}"}, steps: ["${STEP}"]}
          dev: {lock: {lease: "${LEASE:-60s}"}, retry: {init: {attempts: "${N}", patterns: ["${P}("]}}}
    """

    _, problems = inspect(write(text), {})

    assert problems == []


def test_short_leases_are_for_our_own_tests_alone(write: Write) -> None:
    file = write("version: 1\npipelines: {prod: {lock: {lease: 2s}}}\n")

    assert inspect(file, {"TFGUARD_TEST_SHORT_LEASE": "1"})[1] == []
    assert len(inspect(file, {})[1]) == 1


def test_a_secret_of_the_file_is_in_no_message_and_no_repr(write: Write) -> None:
    text = """
        version: 1
        pipelines:
          prod:
            env: {PATH: hunter2, B: [hunter2]}
            vars: {a b: hunter2, c: "${hunter 2}"}
            backend_config: {token: hunter2}
            args: {plan: {hunter2: 1}}
            retry: {init: {patterns: ["hunter2("]}}
    """

    config, problems = inspect(write(text), {})

    shown = "\n".join(str(problem) for problem in problems if ".args." not in str(problem)) + repr(config)
    assert "hunter2" not in shown


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_says_so(write: Write) -> None:
    file = write("version: 1\n")
    file.chmod(0)

    with pytest.raises(Exception, match="cannot be read"):
        load(file, {})


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    odd = tmp_path / "odd"
    os.mkfifo(odd) if kind == "fifo" else odd.mkdir()

    with pytest.raises(Exception, match="is not a regular file"):
        load(odd, {})
