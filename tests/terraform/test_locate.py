from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import S3, DynamoDB
from tests.support import parts
from tests.support.eventually import eventually
from tfguard.backends.aws.locate import state_key
from tfguard.backends.aws.spec import AssumeRole, AwsAccess, DynamoDBSpec, S3Spec
from tfguard.backends.local.spec import LocalSpec
from tfguard.backends.target import Target, Unlockable
from tfguard.errors import ConfigError
from tfguard.terraform.command_line import parse
from tfguard.terraform.locate import resolve_target
from tfguard.terraform.workdir import WorkingDirectory

S3_BACKEND = 'terraform {\n  backend "s3" {}\n}\n'
LOCAL_BACKEND = 'terraform {\n  backend "local" {\n    path = "%s"\n  }\n}\n'
RESOURCE = 'resource "terraform_data" "a" {}\n'


def resolve(path: Path, *line: str, **environ: str) -> Target | Unlockable:
    workdir = WorkingDirectory.at(path, None, environ)
    return resolve_target(workdir, parse(line or ("apply",), environ), environ)


def target(path: Path, *line: str, **environ: str) -> Target:
    found = resolve(path, *line, **environ)
    assert isinstance(found, Target), found
    return found


def unlockable(path: Path, *line: str, **environ: str) -> Unlockable:
    found = resolve(path, *line, **environ)
    assert isinstance(found, Unlockable), found
    return found


def initialised(path: Path, kind: str, /, **config: Any) -> Path:
    (path / ".terraform").mkdir(exist_ok=True)
    content = {"version": 3, "backend": {"type": kind, "config": config, "hash": 1}}
    (path / ".terraform" / "terraform.tfstate").write_text(json.dumps(content))
    return path


def s3_directory(path: Path, /, **config: Any) -> Path:
    return initialised(path, "s3", **{"bucket": "b", "key": "app/x.tfstate", "dynamodb_table": "locks", **config})


def access(path: Path, config: Mapping[str, Any], **environ: str) -> AwsAccess:
    store = target(s3_directory(path, **config), **environ).stores[0]
    assert isinstance(store, DynamoDBSpec)
    return store.aws


def table_endpoint(path: Path, config: Mapping[str, Any], **environ: str) -> str:
    store = target(s3_directory(path, **config), **environ).stores[0]
    assert isinstance(store, DynamoDBSpec)
    return store.endpoint


# --- s3 ---


def test_an_s3_backend_is_locked_in_its_table(tmp_path: Path) -> None:
    found = target(s3_directory(tmp_path))

    assert (found.label, found.path, found.backend, found.workspace) == (
        "b/app/x.tfstate",
        "b/app/x.tfstate",
        "s3",
        "default",
    )
    assert found.stores == (DynamoDBSpec(table="locks", lock_id="b/app/x.tfstate", aws=AwsAccess()),)
    assert found.probe is None


def test_with_both_locks_the_object_comes_before_the_item(tmp_path: Path) -> None:
    config = {"use_lockfile": True, "encrypt": True, "kms_key_id": "k", "acl": "private", "skip_s3_checksum": True}
    lock_object, item = target(s3_directory(tmp_path, force_path_style=True, **config)).stores

    assert isinstance(item, DynamoDBSpec)
    assert lock_object == S3Spec(
        bucket="b",
        key="app/x.tfstate.tflock",
        aws=AwsAccess(),
        use_path_style=True,
        encrypt=True,
        kms_key_id="k",
        acl="private",
        skip_checksum=True,
    )


def test_an_s3_backend_without_a_lock_says_how_to_get_one(tmp_path: Path) -> None:
    found = unlockable(s3_directory(tmp_path, dynamodb_table=None, use_lockfile=False))

    assert "use_lockfile = true" in found.reason
    assert found.needs_lock


@pytest.mark.parametrize(
    ("prefix", "key", "listed"),
    [
        (None, "env:/stage/app/x.tfstate", "env:/"),
        ("teams/net", "teams/net/stage/app/x.tfstate", "teams/net/"),
        ("", "stage/app/x.tfstate", ""),
    ],
)
def test_another_workspace_has_another_key_and_a_probe(
    tmp_path: Path, prefix: str | None, key: str, listed: str
) -> None:
    found = target(s3_directory(tmp_path, workspace_key_prefix=prefix), TF_WORKSPACE="stage")

    assert (found.path, found.workspace) == (f"b/{key}", "stage")
    assert found.probe is not None
    assert (found.probe.prefix, found.probe.state_key, found.probe.workspace) == (listed, key, "stage")


@pytest.mark.parametrize(
    ("workspace", "values"),
    [
        ("stage", {"workspace_key_prefix": "a//b"}),
        ("stage", {"workspace_key_prefix": "./a"}),
        ("stage", {"workspace_key_prefix": "a/../b"}),
        ("stage", {"key": "./x"}),
        ("stage", {"key": "a//x"}),
        ("..", {}),
        (".", {"workspace_key_prefix": ""}),
    ],
)
def test_a_workspace_that_terraform_never_finds_is_refused(
    tmp_path: Path, workspace: str, values: dict[str, Any]
) -> None:
    """It lists what stands below the prefix as it is written, and stores below the cleaned path."""
    found = unlockable(s3_directory(tmp_path, **values), "plan", TF_WORKSPACE=workspace)

    assert found.needs_lock
    assert "never finds workspace" in found.reason


def test_the_default_workspace_is_where_its_key_says_however_that_is_written(tmp_path: Path) -> None:
    found = target(s3_directory(tmp_path, key="./a//x", workspace_key_prefix="b//c"))

    assert (found.path, found.probe) == ("b/./a//x", None)


def test_keys_are_joined_as_go_joins_them() -> None:
    assert state_key("/a//b", "env:", "default") == "/a//b"
    assert state_key("a/../b", "env:", "x") == "env:/x/b"
    assert state_key("k", "/p", "x") == "/p/x/k"
    assert state_key("k", "//p", "x") == "/p/x/k"


def test_deleting_a_workspace_locks_that_one_and_creates_nothing(tmp_path: Path) -> None:
    s3_directory(tmp_path)

    found = target(tmp_path, "workspace", "delete", "-force", "old", TF_WORKSPACE="stage")

    assert (found.path, found.workspace, found.probe) == ("b/env:/old/app/x.tfstate", "old", None)
    assert unlockable(tmp_path, "workspace", "delete").reason
    assert unlockable(tmp_path, "workspace", "delete", "../../x").reason


def test_the_region_is_read_where_terraform_reads_it(tmp_path: Path) -> None:
    both = {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-east-1"}

    assert access(tmp_path, {"region": "ap-south-1"}, **both).region == "ap-south-1"
    assert access(tmp_path, {}, **both).region == "eu-west-1"
    assert access(tmp_path, {}, AWS_DEFAULT_REGION="us-east-1").region == "us-east-1"


def test_endpoints_follow_terraforms_order(tmp_path: Path) -> None:
    environ = {"AWS_DYNAMODB_ENDPOINT": "http://4", "AWS_ENDPOINT_URL": "http://5"}
    third = {**environ, "AWS_ENDPOINT_URL_DYNAMODB": "http://3"}
    old = {"dynamodb_endpoint": "http://2"}

    assert table_endpoint(tmp_path, {**old, "endpoints": {"dynamodb": "http://1", "s3": None}}, **third) == "http://1"
    assert table_endpoint(tmp_path, {**old, "endpoints": [{"dynamodb": "http://1"}]}, **third) == "http://1"
    assert table_endpoint(tmp_path, {**old, "endpoints": {"dynamodb": None}}, **third) == "http://2"
    assert table_endpoint(tmp_path, {"endpoints": []}, **third) == "http://3"
    assert table_endpoint(tmp_path, {}, **environ) == "http://4"
    assert table_endpoint(tmp_path, {}, AWS_ENDPOINT_URL="http://5") == ""


def test_s3_and_sts_have_endpoints_of_their_own(tmp_path: Path) -> None:
    config = {"use_lockfile": True, "endpoints": {"s3": "http://s3", "sts": "http://sts"}, "sts_region": "eu-west-1"}
    store = target(s3_directory(tmp_path, **config)).stores[0]

    assert isinstance(store, S3Spec)
    assert (store.endpoint, store.aws.sts_endpoint, store.aws.sts_region) == ("http://s3", "http://sts", "eu-west-1")


def test_roles_are_read_in_every_form_terraform_had(tmp_path: Path) -> None:
    role = {"role_arn": "arn:r", "duration": "1h30m", "session_name": "s", "policy_arns": ["p"], "tags": {"a": "b"}}
    expected = AssumeRole(role_arn="arn:r", duration=5400, session_name="s", policy_arns=("p",), tags={"a": "b"})
    legacy = {"role_arn": "arn:r", "external_id": "e", "assume_role_duration_seconds": 900}

    assert access(tmp_path, {"assume_role": role}).assume_role == (expected,)
    assert access(tmp_path, {"assume_role": [role]}).assume_role == (expected,)
    assert access(tmp_path, legacy).assume_role == (AssumeRole(role_arn="arn:r", external_id="e", duration=900),)
    assert access(tmp_path, {"assume_role": None, "role_arn": None}).assume_role == ()


def test_web_identity_is_completed_from_the_environment(tmp_path: Path) -> None:
    environ = {"AWS_ROLE_ARN": "arn:w", "AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_SESSION_NAME": "s"}

    found = access(tmp_path, {"assume_role_with_web_identity": {"role_arn": None}}, **environ)

    expected = AssumeRole(role_arn="arn:w", session_name="s", web_identity_token_file="/token")
    assert found.assume_role_with_web_identity == expected
    assert access(tmp_path, {}, **environ).assume_role_with_web_identity is None


def test_the_rest_of_the_access_is_carried_over(tmp_path: Path) -> None:
    config = {
        "access_key": "AK",
        "secret_key": "SK",
        "token": "T",
        "profile": "prod",
        "shared_config_files": ["~/conf"],
        "shared_credentials_file": "/creds",
        "custom_ca_bundle": "/ca.pem",
        "insecure": True,
        "https_proxy": "http://proxy",
        "skip_metadata_api_check": "true",
    }

    assert access(tmp_path, config, HOME="/home/ana") == AwsAccess(
        access_key="AK",
        secret_key="SK",
        token="T",
        profile="prod",
        shared_config_files=("/home/ana/conf",),
        shared_credentials_files=("/creds",),
        ca_bundle="/ca.pem",
        insecure=True,
        https_proxy="http://proxy",
        skip_metadata_api_check=True,
    )


def test_switches_of_the_environment_count_where_the_backend_is_silent(tmp_path: Path) -> None:
    environ = {"AWS_USE_FIPS_ENDPOINT": "1", "AWS_USE_DUALSTACK_ENDPOINT": "false", "AWS_SHARED_CONFIG_FILE": "/c"}

    found = access(tmp_path, {}, **environ)

    assert (found.use_fips, found.use_dualstack, found.shared_config_files) == (True, False, ("/c",))
    assert not access(tmp_path, {"use_fips_endpoint": False}, **environ).use_fips


def test_the_customer_key_comes_from_the_backend_or_the_environment(tmp_path: Path) -> None:
    store = target(s3_directory(tmp_path, use_lockfile=True), AWS_SSE_CUSTOMER_KEY="key").stores[0]

    assert isinstance(store, S3Spec)
    assert store.sse_customer_key == "key"


@pytest.mark.parametrize(
    "config",
    [
        {"bucket": None},
        {"bucket": 7},
        {"use_lockfile": "perhaps"},
        {"endpoints": "x"},
        {"assume_role": {"role_arn": "a", "duration": "1 fortnight"}},
        {"shared_config_files": "hunter2"},
    ],
)
def test_a_cache_terraform_would_not_have_written_is_named_and_its_values_are_not(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="Run: tfguard init -reconfigure") as caught:
        resolve(s3_directory(tmp_path, secret_key="hunter2", **config))

    assert "hunter2" not in str(caught.value)
    assert max(len(line) for line in str(caught.value).splitlines()) <= 120


values = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.lists(st.text(max_size=3), max_size=2)
attributes = st.sampled_from(
    ["bucket", "key", "region", "endpoints", "assume_role", "profile", "use_lockfile", "workspace_key_prefix", "path"]
)


@given(
    st.sampled_from(["s3", "local", "gcs"]), st.dictionaries(attributes, values | st.dictionaries(attributes, values))
)
def test_whatever_a_cache_says_gives_a_target_a_reason_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, config: dict[str, Any]
) -> None:
    path = initialised(tmp_path_factory.mktemp("dir"), kind, **config)

    try:
        assert isinstance(resolve(path), (Target, Unlockable))
    except ConfigError as error:
        assert str(error).count("\n") < 3  # noqa: PT017 (it is the claim)


# --- local and others ---


def test_without_a_backend_the_state_is_a_local_file(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text('resource "terraform_data" "a" {}\n')

    found = target(tmp_path)

    assert found == Target(
        label=f"{tmp_path.name}/terraform.tfstate",
        path="terraform.tfstate",
        backend="local",
        workspace="default",
        stores=(LocalSpec(path=str(tmp_path / "terraform.tfstate")),),
    )


def test_a_local_backend_may_name_its_paths(tmp_path: Path) -> None:
    initialised(tmp_path, "local", path="../x/app.tfstate", workspace_dir="spaces")

    assert target(tmp_path).stores == (LocalSpec(path=str(tmp_path.parent / "x" / "app.tfstate")),)
    other = target(tmp_path, TF_WORKSPACE="stage")
    assert other.path == "spaces/stage/terraform.tfstate"
    assert other.stores == (LocalSpec(path=str(tmp_path / "spaces/stage/terraform.tfstate")),)


def test_deleting_a_local_workspace_that_is_not_there_locks_nothing(tmp_path: Path) -> None:
    initialised(tmp_path, "local")

    assert "no workspace old" in unlockable(tmp_path, "workspace", "delete", "old").reason
    (tmp_path / "terraform.tfstate.d" / "old").mkdir(parents=True)
    assert target(tmp_path, "workspace", "delete", "old").workspace == "old"


@pytest.mark.parametrize("kind", ["oss", "swift", "new"])
def test_other_backends_name_the_way_out_in_two_lines(tmp_path: Path, kind: str) -> None:
    found = unlockable(initialised(tmp_path, kind))

    assert found.needs_lock
    assert "lock: {mode: named, name: …, store: …}" in found.reason
    assert [len(line) <= 100 for line in found.reason.splitlines()] == [True, True]


def test_a_directory_that_is_not_ready_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no Terraform configuration"):
        resolve(tmp_path)

    (tmp_path / "main.tf").write_text(S3_BACKEND)
    with pytest.raises(ConfigError, match=r"not initialised for its s3 backend.\nRun: tfguard init"):
        resolve(tmp_path)

    initialised(tmp_path, "gcs")
    with pytest.raises(ConfigError, match="was initialised for gcs; its configuration now says s3"):
        resolve(tmp_path)


# --- the real Terraform ---


@pytest.fixture
def terraform(tmp_path: Path) -> Any:
    program = parts.terraform()

    def run(*line: str, cwd: Path = tmp_path, **environ: str) -> str:
        done = subprocess.run([program, *line], cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_local_workspaces_are_where_terraform_puts_them(tmp_path: Path, terraform: Any) -> None:
    (tmp_path / "main.tf").write_text(
        'terraform {\n  backend "local" {\n    path = "deep/x.tfstate"\n    workspace_dir = "ws"\n  }\n}\n'
        'resource "terraform_data" "a" {}\n'
    )
    terraform("init")
    terraform("apply", "-auto-approve")
    default = target(tmp_path)
    terraform("workspace", "new", "stage")
    terraform("apply", "-auto-approve")
    stage = target(tmp_path)

    assert [Path(found.stores[0].path).is_file() for found in (default, stage)] == [True, True]  # type: ignore[union-attr]
    assert stage.workspace == "stage"


@contextlib.contextmanager
def holding(directory: Path) -> Iterator[None]:
    """Run a `terraform apply` that waits for its approval, and holds the lock meanwhile."""
    child = subprocess.Popen(["terraform", "apply"], cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        child.communicate(b"no\n")


def test_terraform_locks_the_very_file_under_the_very_path(tmp_path: Path, terraform: Any) -> None:
    (tmp_path / "main.tf").write_text(LOCAL_BACKEND % "a/../x.tfstate" + RESOURCE)
    (tmp_path / "other" / "deep").mkdir(parents=True)
    (tmp_path / "a").symlink_to("other/deep")
    terraform("init")
    found = target(tmp_path)

    with holding(tmp_path):
        info = json.loads(eventually((tmp_path / ".x.tfstate.lock.info").read_text))
        is_there = (tmp_path / "other" / "x.tfstate").is_file()

    assert info["Path"] == found.path
    # As the kernel sees it, not as the text reads: `a` is a link.
    assert is_there
    assert found.stores == (LocalSpec(path=str(tmp_path / "other" / "x.tfstate")),)


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a local state elsewhere than usual, two resources in it, and a second workspace."""
    parts.terraform()
    path = tmp_path_factory.mktemp("applied")
    (path / "main.tf").write_text(LOCAL_BACKEND % "deep/x.tfstate" + RESOURCE + RESOURCE.replace('"a"', '"b"'))
    for line in ("init", "apply -auto-approve", "plan -out=tfplan", "workspace new old", "workspace select default"):
        subprocess.run(["terraform", *line.split()], cwd=path, check=True, capture_output=True)
    return path


@pytest.mark.parametrize(
    "line",
    [
        "plan",
        "apply -auto-approve",
        "apply tfplan",
        "destroy -auto-approve",
        "refresh",
        "import terraform_data.c some-id",
        "taint terraform_data.a",
        "untaint terraform_data.a",
        "state mv terraform_data.a terraform_data.c",
        "state rm terraform_data.a",
        "state push deep/x.tfstate",
        "state replace-provider -auto-approve a/b c/d",
        "workspace delete old",
    ],
)
def test_every_command_is_refused_while_the_lock_we_found_is_held(applied: Path, tmp_path: Path, line: str) -> None:
    directory = shutil.copytree(applied, tmp_path / "copy")
    with (directory / "main.tf").open("a") as file:
        file.write(RESOURCE.replace('"a"', '"c"'))
    store = target(directory, *line.split()).stores[0]
    assert isinstance(store, LocalSpec)

    with open(store.path, "a+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        held = subprocess.run(["terraform", *line.split()], cwd=directory, capture_output=True, text=True)
    free = subprocess.run(["terraform", *line.split()], cwd=directory, capture_output=True, text=True)

    assert held.returncode == 1
    assert "Error acquiring the state lock" in held.stderr or "Error locking" in held.stderr, held.stderr
    assert "state lock" not in free.stderr


@pytest.mark.parametrize(
    ("line", "environ"),
    [
        ("plan", {}),
        ("plan -lock=false", {}),
        ("plan --lock=F -no-color", {}),
        ("plan -lock=false -lock", {}),
        ("plan", {"TF_CLI_ARGS": "-lock=false"}),
        ("plan", {"TF_CLI_ARGS_plan": "-lock=false"}),
        ("plan", {"TF_CLI_ARGS_plan": "-lock=false", "TF_CLI_ARGS": "-lock=true"}),
        ("plan", {"TF_CLI_ARGS_plan": "-lock=true", "TF_CLI_ARGS": "-lock=false"}),
        ("plan -lock=true", {"TF_CLI_ARGS": "-lock=false"}),
        ("plan", {"TF_CLI_ARGS": "-var 'a=-lock=false'"}),
        ("plan a=-lock=false -lock=0", {"TF_CLI_ARGS": '-var "x=y z" -var'}),
        ("state rm terraform_data.a", {"TF_CLI_ARGS_state_rm": "-lock=false"}),
        ("state rm terraform_data.a", {"TF_CLI_ARGS_state": "-lock=false"}),
        ("state rm terraform_data.a -lock=false", {}),
        ("state replace-provider -auto-approve a/b c/d", {"TF_CLI_ARGS_state_replace_provider": "-lock=false"}),
    ],
)
def test_terraform_locks_just_where_we_think_so(
    applied: Path, tmp_path: Path, line: str, environ: Mapping[str, str]
) -> None:
    directory = shutil.copytree(applied, tmp_path / "copy")
    variables = "".join(f'variable "{name}" {{\n  default = 1\n}}\n' for name in "ax")
    (directory / "variables.tf").write_text(variables)

    with open(directory / "deep" / "x.tfstate", "a+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        done = subprocess.run(
            ["terraform", *line.split()], cwd=directory, env={**os.environ, **environ}, capture_output=True, text=True
        )

    is_refused = "Error acquiring the state lock" in done.stderr or "Error locking" in done.stderr
    assert is_refused == (parse(line.split(), environ).verdict == "lock"), done.stderr


@pytest.mark.emulator
@pytest.mark.parametrize("workspace", ["default", "stage"])
def test_terraform_locks_the_very_records_and_minds_them(
    tmp_path: Path,
    terraform: Any,
    workspace: str,
    aws_env: None,
    s3: S3,
    dynamodb: DynamoDB,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.endpoint)
    (tmp_path / "main.tf").write_text(S3_BACKEND + RESOURCE)
    config = {"bucket": s3.bucket(), "key": "net/x.tfstate", "dynamodb_table": dynamodb.table(), "use_lockfile": "true"}
    config |= {"use_path_style": "true", "skip_credentials_validation": "true", "skip_requesting_account_id": "true"}
    terraform("init", *(f"-backend-config={key}={value}" for key, value in config.items()))
    if workspace != "default":
        terraform("workspace", "new", workspace)
    found = target(tmp_path, **os.environ)
    lock_object, item = found.stores
    assert isinstance(lock_object, S3Spec)
    assert isinstance(item, DynamoDBSpec)
    assert (lock_object.endpoint, item.endpoint) == (s3.endpoint, dynamodb.endpoint)

    with holding(tmp_path):
        record = eventually(lambda: dynamodb.item(item.table, item.lock_id)) or {}
        body = s3.body(lock_object.bucket, lock_object.key)

    assert body is not None
    assert json.loads(body)["Path"] == json.loads(record["Info"]["S"])["Path"] == found.path
    terraform("plan", "-out=saved plan")
    assert target(tmp_path, "apply", "saved plan", **os.environ) == found


def test_a_saved_plan_is_locked_where_the_plan_says(tmp_path: Path, terraform: Any) -> None:
    made, elsewhere = tmp_path / "made", tmp_path / "elsewhere"
    made.mkdir()
    elsewhere.mkdir()
    (made / "main.tf").write_text(LOCAL_BACKEND % "planned.tfstate" + RESOURCE)
    (elsewhere / "main.tf").write_text(LOCAL_BACKEND % "own.tfstate" + RESOURCE)
    terraform("init", cwd=made)
    terraform("plan", "-out=../plan", cwd=made)

    found = target(elsewhere, "apply", "-auto-approve", "../plan")

    assert found.path == "planned.tfstate"
    assert "no such plan file" in unlockable(elsewhere, "apply", "missing").reason


def test_a_target_crosses_the_socket_as_plain_data(tmp_path: Path) -> None:
    found = target(s3_directory(tmp_path, use_lockfile=True, assume_role={"role_arn": "r"}), TF_WORKSPACE="stage")

    assert msgspec.json.decode(msgspec.json.encode(found), type=Target) == found
