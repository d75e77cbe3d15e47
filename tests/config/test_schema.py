from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.pages import page
from tfguard.config.document import read_document
from tfguard.config.file import inspect
from tfguard.config.keys import keys
from tfguard.config.schema import schema
from tfguard.config.settings import resolved

jsonschema = pytest.importorskip("jsonschema")

GOOD = {
    "least": "version: 1\n",
    "empty maps": "version: 1\ndefaults:\npipelines:\n  prod:\n",
    "everything": """
version: 1
x-any: [1, {a: b}]
defaults:
  binary: tofu
  init: never
  env: {TF_LOG: "INFO"}
  lock: {mode: state, timeout: 0, lease: 1m30s, takeover: plan-only, plan: skip, order: none}
pipelines:
  prod/network:
    dir: stacks/network
    workspace: prod
    backend_config: {bucket: b, encrypt: true, endpoints: {s3: "http://x"}}
    var_files: [prod.tfvars]
    vars: {region: eu, zones: [a, b], count: 3, none: ~}
    args: {plan: [-parallelism=20], init: [-upgrade], destroy: []}
    steps: [init, plan]
    approve: auto
    run_timeout: 45m
    paths: ["modules/**"]
    retry: {init: {attempts: 5, patterns: [oops]}}
    lock: {mode: named, name: n, store: "s3://b/p"}
  dev: {backend_config: [dev.hcl], lock: {lease: "${LEASE}"}, approve: "${A:-auto}"}
""",
}
BAD = {
    "no version": "pipelines: {}\n",
    "other version": "version: 2\n",
    "unknown key": "version: 1\nfoo: 1\n",
    "unknown key inside": "version: 1\npipelines: {a: {lock: {leese: 60s}}}\n",
    "number as duration": "version: 1\npipelines: {a: {run_timeout: 90}}\n",
    "no duration": "version: 1\npipelines: {a: {run_timeout: 1 hour}}\n",
    "unknown word": "version: 1\npipelines: {a: {approve: maybe}}\n",
    "unknown command": "version: 1\npipelines: {a: {args: {pln: []}}}\n",
    "number in env": "version: 1\npipelines: {a: {env: {A: 1}}}\n",
    "text as list": "version: 1\npipelines: {a: {steps: plan}}\n",
    "too many attempts": "version: 1\npipelines: {a: {retry: {init: {attempts: 11}}}}\n",
}


def verdicts(tmp_path: Path, text: str) -> tuple[bool, bool]:
    """Tell whether tfguard takes a file, and whether its schema does."""
    file = tmp_path / "tfguard.yml"
    file.write_text(text)
    validator: Any = jsonschema.Draft202012Validator(schema())
    return not inspect(file, {})[1], validator.is_valid(read_document(file).root.plain())


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("name", GOOD)
def test_schema_and_tfguard_take_the_same_files(tmp_path: Path, name: str) -> None:
    assert verdicts(tmp_path, GOOD[name]) == (True, True)


@pytest.mark.parametrize("name", BAD)
def test_schema_and_tfguard_refuse_the_same_files(tmp_path: Path, name: str) -> None:
    assert verdicts(tmp_path, BAD[name]) == (False, False)


REFERENCE = page("reference/configuration")


@pytest.mark.parametrize("path", [path for path, key in keys().items() if key.flag or key.environment or key.default])
def test_the_reference_has_every_key_with_a_default_a_variable_or_a_flag(path: tuple[str, ...]) -> None:
    key = keys()[path]
    row = next(line for line in REFERENCE.splitlines() if line.startswith("|") and names_key(line.split("|")[1], path))
    default = key.default if isinstance(key.default, str) else str(key.default or "").replace("'", "")

    assert default in row.split("|")[2]
    assert key.environment in REFERENCE
    assert key.flag is None or key.flag.name in REFERENCE + page("reference/cli")


def names_key(cell: str, path: tuple[str, ...]) -> bool:
    """Whether a row is about a key, or about the map around it."""
    return any(f"`{'.'.join(path[:end])}`" in cell for end in range(1, len(path) + 1))


def test_a_flag_beats_the_environment_and_the_environment_the_file(tmp_path: Path) -> None:
    for path, key in keys().items():
        if not key.environment:
            continue
        environ = {key.environment: "never" if key.environment == "TFGUARD_INIT" else str(key.default or "9m")}
        flags = {path: (environ[key.environment], key.flag.name)} if key.flag else {}

        assert resolved(None, None, environ=environ)[path].origin == key.environment
        assert not flags or resolved(None, None, environ=environ, flags=flags)[path].origin == key.flag.name


def test_every_key_is_explained_to_editors() -> None:
    definitions = schema()["$defs"]

    assert [
        (name, word)
        for name, definition in definitions.items()
        for word, value in definition["properties"].items()
        if "description" not in value and word not in {"retry", "lock", "init"}
    ] == []
