"""Where a lock is, in a directory in which nobody has run init: the same lock that init's cache would name, or none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tfguard.backends.target import Unlockable
from tfguard.config.options import Options
from tfguard.errors import ConfigError, NotInitialised, UsageError
from tfguard.report.reporter import Reporter
from tfguard.run.call import Call
from tfguard.run.context import make_context
from tfguard.run.whereabouts import Whereabouts, find

#: A block of each backend, as people write it; what `init` makes of it in its cache.
BLOCKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "s3": (
        "s3",
        'bucket = "b"\nkey = "k"\nregion = "eu-west-1"\nuse_lockfile = "true"\ndynamodb_table = "t"',
        {"bucket": "b", "key": "k", "region": "eu-west-1", "use_lockfile": True, "dynamodb_table": "t", "acl": None},
    ),
    "s3-number": (
        "s3",
        'bucket = "b"\nkey = 42\nuse_lockfile = "1"',
        {"bucket": "b", "key": "42", "use_lockfile": True},
    ),
    "s3-role": (
        "s3",
        'bucket = "b"\nkey = "k"\nuse_lockfile = true\nassume_role = { role_arn = "arn:aws:iam::1:role/r" }',
        {"bucket": "b", "key": "k", "use_lockfile": True, "assume_role": {"role_arn": "arn:aws:iam::1:role/r"}},
    ),
    "gcs": ("gcs", 'bucket = "b"\nprefix = "p"', {"bucket": "b", "prefix": "p"}),
    "consul": ("consul", 'address = "c:8500"\npath = "p"', {"address": "c:8500", "path": "p"}),
    "http": (
        "http",
        (
            'address = "https://gitlab/api/v4/projects/1/terraform/state/a"\nlock_method = "POST"\n'
            'lock_address = "https://gitlab/lock"\nunlock_address = "https://gitlab/lock"'
        ),
        {
            "address": "https://gitlab/api/v4/projects/1/terraform/state/a",
            "lock_address": "https://gitlab/lock",
            "unlock_address": "https://gitlab/lock",
            "lock_method": "POST",
        },
    ),
    "azurerm": (
        "azurerm",
        'storage_account_name = "a"\ncontainer_name = "c"\nkey = "k"\naccess_key = "eA=="\nuse_oidc = "false"',
        {"storage_account_name": "a", "container_name": "c", "key": "k", "access_key": "eA==", "use_oidc": False},
    ),
    "kubernetes": (
        "kubernetes",
        'secret_suffix = "s"\nnamespace = "n"\nhost = "http://k"\nlabels = { team = "net" }\nexec {\n command = "c"\n}',
        {
            "secret_suffix": "s",
            "namespace": "n",
            "host": "http://k",
            "labels": {"team": "net"},
            "exec": [{"command": "c"}],
        },
    ),
    "pg": ("pg", 'conn_str = "postgres://u@h/d"', {"conn_str": "postgres://u@h/d", "schema_name": None}),
    "remote": (
        "remote",
        'organization = "o"\nworkspaces {\n  prefix = "net-"\n}',
        {"organization": "o", "workspaces": [{"name": None, "prefix": "net-"}]},
    ),
    "cloud": (
        "cloud",
        'organization = "o"\nworkspaces {\n  name = "w"\n}',
        {"organization": "o", "workspaces": {"name": "w", "tags": None}},
    ),
    "local": ("local", 'path = "x.tfstate"', {"path": "x.tfstate", "workspace_dir": None}),
}
ENVIRON = {"TF_FORCE_LOCAL_BACKEND": "1", "PATH": "/nowhere"}


def block(kind: str, body: str) -> str:
    head = "cloud" if kind == "cloud" else f'backend "{kind}"'
    return f"terraform {{\n  {head} {{\n{body}\n  }}\n}}\n"


def look(folder: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str = "", **environ: str) -> Whereabouts | Unlockable:
    monkeypatch.chdir(folder)
    options = Options(pipeline="prod" if pipeline else None)
    if pipeline:
        (folder / "tfguard.yml").write_text(f"version: 1\npipelines:\n  prod: {pipeline}\n")
    call = Call(options, {**ENVIRON, **environ}, Reporter("console", -1))
    return find(make_context(call, needs_binary=False))


def initialise(folder: Path, kind: str, config: Mapping[str, Any]) -> None:
    (folder / ".terraform").mkdir(exist_ok=True)
    cache = {"version": 3, "backend": {"type": kind, "config": config, "hash": 1}}
    (folder / ".terraform" / "terraform.tfstate").write_text(json.dumps(cache))


def known(found: Whereabouts | Unlockable) -> Whereabouts:
    assert isinstance(found, Whereabouts)
    return found


@pytest.mark.parametrize("name", BLOCKS)
def test_a_fresh_clone_has_the_lock_that_init_would_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kind, body, config = BLOCKS[name]
    (tmp_path / "main.tf").write_text(block(kind, body))
    if kind in ("cloud", "remote"):  # Its lock has no room for a lease.
        (tmp_path / "tfguard.yml").write_text("version: 1\ndefaults: {lock: {store: 's3://bucket/tfguard'}}\n")
    workspace = "blue" if kind == "remote" else "default"

    fresh = known(look(tmp_path, monkeypatch, TF_WORKSPACE=workspace))
    initialise(tmp_path, kind, config)
    initialised = known(look(tmp_path, monkeypatch, TF_WORKSPACE=workspace))

    assert fresh.target == initialised.target
    assert fresh.source == f"not initialised: worked out from its files (backend {kind}, workspace {workspace})"
    assert (initialised.source, fresh.doubt) == ("", "")


def test_what_the_pipeline_adds_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main.tf").write_text(block("s3", "use_lockfile = true"))
    (tmp_path / "b.tfbackend").write_text('bucket = "from-file"\n')
    pipeline = "{dir: ., workspace: blue, backend_config: [b.tfbackend], args: {init: ['-backend-config=key=k']}}"

    found = known(look(tmp_path, monkeypatch, pipeline))

    assert found.target.path == "from-file/env:/blue/k"
    assert (found.subject.label, found.doubt) == ("prod", "")


def test_what_was_initialised_for_another_pipeline_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "main.tf").write_text(block("s3", "use_lockfile = true"))
    initialise(tmp_path, "s3", {"bucket": "b", "key": "dev", "use_lockfile": True})

    found = known(look(tmp_path, monkeypatch, "{dir: ., backend_config: {bucket: b, key: prod}}"))

    assert found.target.path == "b/prod"
    assert found.source.startswith("initialised for another backend (key is dev, wanted prod): worked out")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (block("s3", ""), "`bucket`"),
        (block("s3", 'bucket = "b"\nuse_lockfile = true'), "`key`"),
        (block("s3", 'bucket = "b"\nkey = var.key\nuse_lockfile = true'), "`key` is an expression"),
        (block("s3", 'bucket = "b"\nkey = "k"\ndynamodb_table = local.t'), "`dynamodb_table` is an expression"),
        (
            block("s3", 'bucket = "b"\nkey = "k"\nkey = "l"\nuse_lockfile = true'),
            "`key` is an expression, or said twice",
        ),
        (block("s3", 'bucket = "b"\n<<<<<<< a\nkey = "k"\n=======\nkey = "l"\n>>>>>>> b'), "or said twice"),
        ("locals {\n" + block("s3", 'bucket = "b"'), "/main.tf is broken"),
        ("/* " + block("s3", 'bucket = "b"'), "/main.tf is broken"),
        (block("http", ""), "`address`"),
        (block("gcs", ""), "`bucket`"),
        (block("cloud", 'organization = "o"\nworkspaces {\n tags = ["a"]\n}'), "a workspace"),
        (block("remote", 'organization = "o"\nworkspaces {\n prefix = "a-"\n}'), "a workspace"),
        (block("cloud", ""), "an organization"),
    ],
)
def test_where_the_files_do_not_say_it_nobody_guesses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    (tmp_path / "main.tf").write_text(text)

    with pytest.raises(NotInitialised) as caught:
        look(tmp_path, monkeypatch)

    assert "not initialised, and only init could tell which lock this is" in caught.value.what
    assert why in caught.value.what
    assert caught.value.advice[-1].addressed("tfguard -p prod") == "Run: tfguard -p prod init"  # type: ignore[union-attr]


def test_no_lock_by_the_files_is_said_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main.tf").write_text(block("s3", 'bucket = "b"\nkey = "k"'))

    found = look(tmp_path, monkeypatch)

    assert isinstance(found, Unlockable)
    assert found.reason.startswith("not initialised, and by its files the s3 backend has no lock")


@pytest.mark.parametrize(
    ("files", "environ", "doubt"),
    [
        ({"main.tf": block("s3", 'bucket = "b"\nkey = "k"\nuse_lockfile = true')}, {}, "names the workspace"),
        ({"main.tofu": block("s3", 'bucket = "b"\nkey = "k"\nuse_lockfile = true')}, {"TF_WORKSPACE": "a"}, ".tofu"),
        ({"main.tf": block("pg", "")}, {"TF_WORKSPACE": "default"}, "names the database"),
        ({"main.tf": block("local", ""), "a.tf": "}"}, {"TF_WORKSPACE": "default"}, "/a.tf is broken"),
        ({"main.tf": block("local", ""), "a.tf": block("local", "")}, {"TF_WORKSPACE": "default"}, "several backend"),
    ],
)
def test_what_is_written_needs_certainty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], environ: dict[str, str], doubt: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    found = known(look(tmp_path, monkeypatch, **environ))

    assert doubt in found.doubt
    with pytest.raises(UsageError, match="not certain that this is the lock you mean"):
        found.require_certain()


def test_a_workspace_that_was_selected_or_is_the_pipelines_is_certain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "main.tf").write_text(block("s3", 'bucket = "b"\nkey = "k"\nuse_lockfile = true'))
    (tmp_path / ".terraform").mkdir()
    (tmp_path / ".terraform" / "environment").write_text("blue")

    assert known(look(tmp_path, monkeypatch)).require_certain().target.workspace == "blue"
    assert known(look(tmp_path, monkeypatch, "{dir: .}")).require_certain().subject.label == "prod"


def test_an_empty_folder_is_no_fresh_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="holds no Terraform configuration"):
        look(tmp_path, monkeypatch)
