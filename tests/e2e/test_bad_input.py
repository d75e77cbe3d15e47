"""
Each mistake a person can make: one clear message, the right exit code, nothing locked, nothing lost.

The directories without emulators carry a backend cache written by hand, as `init` would have left it.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Result, Stage
from tests.e2e.fake_aws import refusing

pytestmark = pytest.mark.e2e

RUN_LINE = re.compile(r"^\d\d:\d\d:\d\d \w+ +run\.finished .*\n", re.MULTILINE)


@pytest.fixture
def bare(stage: Callable[..., Stage]) -> Stage:
    """A directory on a local backend, which needs no init."""
    return as_users_have_it(stage("local", is_initialised=False))


def as_users_have_it(made: Stage) -> Stage:
    """Without our own switches: no traceback, no short lease."""
    for name in ("TFGUARD_TRACEBACK", "TFGUARD_TEST_SHORT_LEASE"):
        made.environ.pop(name, None)
    return made


def cache(made: Stage, kind: str, config: dict[str, Any]) -> Stage:
    """Leave the directory as an init for this backend would have."""
    made.path.joinpath("main.tf").write_text(f'terraform {{\n  backend "{kind}" {{}}\n}}\n')
    path = made.path / ".terraform" / "terraform.tfstate"
    path.parent.mkdir(exist_ok=True)
    content = {"version": 3, "serial": 1, "lineage": "x", "backend": {"type": kind, "config": config, "hash": 1}}
    path.write_text(json.dumps(content))
    return made


def s3_cache(made: Stage, dynamodb: str, **config: Any) -> Stage:
    settings = {"bucket": "tf-state", "key": "app.tfstate", "region": "eu-west-1", "dynamodb_table": "tf-locks"}
    return cache(made, "s3", {**settings, "endpoints": [{"dynamodb": dynamodb, "s3": dynamodb}], **config})


def words(result: Result) -> str:
    """What was said, less the line that ends a run."""
    assert "Traceback" not in result.err, str(result)
    said = RUN_LINE.sub("", result.err)
    assert len(said.splitlines()) <= 3 and all(len(line) <= 120 for line in said.splitlines()), str(result)
    return said


def assert_refused(result: Result, code: int, message: str) -> None:
    assert words(result) == message, str(result)
    assert result.code == code, str(result)
    assert result.out == ""


# --- the command line -----------------------------------------------------------------------------------------------


#: Command line → exit code and message.
COMMAND_LINES: dict[str, tuple[int, str]] = {
    "apply -p x": (64, "`-p` belongs before the command: tfguard -p x apply"),
    "plan --quiet": (64, "`--quiet` belongs before the command: tfguard --quiet plan"),
    "plan --log-format=json": (64, "`--log-format` belongs before the command: tfguard --log-format=json plan"),
    "--log-format=xml plan": (64, "--log-format is 'xml'.|Use console or json."),
    "-p": (64, "-p needs a value.|For example: tfguard -p prod/network apply"),
    "--config= plan": (64, "--config needs a value.|For example: tfguard --config ci/tfguard.yml apply"),
    "--lock-timeout=soon plan": (
        64,
        "--lock-timeout: lock.timeout: expected a duration, got 'soon'|Write it like 90s, 10m or 1h30m.",
    ),
    "exec": (64, "exec needs a program to run.|For example: tfguard exec -- ./deploy.sh"),
    "exec --name x -- true": (
        64,
        "--name and --store go together.|For example: --name deploy --store dynamodb://locks",
    ),
    "exec -- no-such": (
        127,
        "exec: there is no program no-such.|It is not on PATH; give its path, or extend PATH.",
    ),
    "exec -- ./no-such": (
        127,
        "exec: there is no program ./no-such.|There is no such file; give its path, or extend PATH.",
    ),
    "exec -- ./main.tf": (
        126,
        "exec: ./main.tf is not executable.|Give the path of a program; chmod +x makes a file one.",
    ),
    "run": (64, "run needs a pipeline of tfguard.yml.|For example: tfguard run prod/network"),
    "run --bogus": (64, "no such option '--bogus'.|See: tfguard run --help"),
    "run a b": (64, "got unexpected extra argument (b)|See: tfguard run --help"),
    "-p a run b": (64, "-p says a, the argument says b.|Give one of them."),
    "doctor --repair-digest --json": (
        64,
        "--repair-digest goes with neither --prove-lock nor --json.|Give it alone.",
    ),
    "-p x -chdir=y plan": (
        78,
        "-p and -chdir exclude each other: a pipeline has its own `dir`.|Say one of: tfguard -p x …, tfguard -chdir=y …",  # noqa: E501
    ),
    "-p x plan": (
        78,
        (
            "There is no tfguard.yml here or above, so no pipeline x."
            "|Write one with `tfguard config init`, or name it with --config FILE."
        ),
    ),
    "--terraform=/no/such plan": (
        127,
        "--terraform names /no/such: no such file.|Give the path of a terraform or tofu binary.",
    ),
    "--terraform=./main.tf plan": (
        126,
        "--terraform names ./main.tf, which cannot be executed.|Try: chmod +x ./main.tf",
    ),
}


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_wrong_command_line_is_refused_before_anything_is_locked(bare: Stage, line: str) -> None:
    code, message = COMMAND_LINES[line]

    result = bare.tfguard(*line.split())

    assert re.sub(r"^(tfguard|a|x): ", "", words(result)) == message.replace("|", "\n") + "\n"
    assert result.code == code
    assert result.out == ""
    assert list(bare.path.glob(".terraform*")) == []


def test_a_wrong_log_format_of_the_environment_is_named_by_its_variable(bare: Stage) -> None:
    result = bare.tfguard("plan", TFGUARD_LOG_FORMAT="xml")

    assert_refused(result, 64, "tfguard: TFGUARD_LOG_FORMAT is 'xml'.\nUse console or json.\n")


def test_in_json_mode_a_refusal_is_one_event_with_its_message(bare: Stage) -> None:
    result = bare.tfguard("--log-format=json", "-p", "x", "plan")

    [line] = result.err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["label"]) == ("run.failed", "error", "x")
    assert (event["reason"], event["exit_code"]) == ("config-error", 78)
    assert event["message"].startswith("x: There is no tfguard.yml here or above")


def test_without_terraform_it_says_where_it_looked(bare: Stage) -> None:
    result = bare.tfguard("apply", PATH="/usr/nowhere:/bin/nowhere")

    assert_refused(
        result,
        127,
        "tfguard: There is no terraform or tofu on PATH.\n"
        "Looked in /usr/nowhere:/bin/nowhere\n"
        "Install it, or set TFGUARD_TERRAFORM=/path/to/it\n",
    )


# --- the directory --------------------------------------------------------------------------------------------------


def test_a_directory_without_configuration_is_none_of_terraforms(bare: Stage) -> None:
    (bare.path / "empty").mkdir()

    result = bare.tfguard("-chdir=empty", "apply")

    assert_refused(
        result,
        78,
        f"{shown(bare.path / 'empty', 50)} holds no Terraform configuration.\n"
        "Run tfguard where the .tf files are, or name their directory: tfguard -chdir=DIR …\n",
    )
    assert list((bare.path / "empty").iterdir()) == []


def shown(path: Path, columns: int) -> str:
    text = str(path)
    return text if len(text) <= columns else "…" + text[-columns + 1 :]


def test_a_directory_that_is_missing_is_named(bare: Stage) -> None:
    result = bare.tfguard("-chdir=nowhere", "apply")

    assert words(result).endswith("nowhere.\nCheck `dir` in tfguard.yml, or -chdir.\n")
    assert result.code == 78


def test_a_directory_that_is_not_initialised_says_which_command_does_it_from_here(bare: Stage) -> None:
    (bare.path / "app").mkdir()
    (bare.path / "app" / "main.tf").write_text('terraform {\n  backend "s3" {}\n}\n')

    result = bare.tfguard("-chdir=app", "apply")

    assert words(result).endswith("/app is not initialised for its s3 backend.\nRun: tfguard -chdir=app init\n")
    assert result.code == 78


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"version":3,"ba', "is not readable as JSON."),
        (b"\xff\xfe\x00garbage", "cannot be read: it is no text."),
        (b'{"version": 9}', "has version 9; tfguard knows 3."),
        (b'{"version": 3, "backend": []}', "names no usable backend."),
        (b'{"version": 3, "backend": {"type": 5}}', "names no usable backend."),
    ],
)
def test_a_broken_backend_cache_is_named_and_left_alone(bare: Stage, content: bytes, problem: str) -> None:
    path = cache(bare, "s3", {}).path / ".terraform" / "terraform.tfstate"
    path.write_bytes(content)

    result = bare.tfguard("apply")

    if content.endswith(b"[]}"):  # To Terraform too an empty backend is none.
        problem = "is not initialised for its s3 backend."
    assert problem in words(result)
    assert "tfguard init" in result.err
    assert result.code == 78
    assert path.read_bytes() == content


def test_a_backend_that_cannot_be_locked_points_to_named_mode(bare: Stage) -> None:
    cache(bare, "oss", {})

    result = bare.tfguard("apply")

    assert words(result).endswith(
        ": tfguard cannot hold the lock of the oss backend: it has no store for it.\n"
        "To guard this state, set in tfguard.yml: lock: {mode: named, name: …, store: …}\n"
    )
    assert result.err.startswith(str(bare.path)[:12])
    assert result.code == 78


def test_an_s3_backend_without_a_lock_is_not_run_as_if_it_had_one(bare: Stage) -> None:
    cache(bare, "s3", {"bucket": "tf-state", "key": "app.tfstate", "region": "eu-west-1"})

    result = bare.tfguard("apply")

    assert words(result).endswith(
        ": the s3 backend has no lock configured, so nobody can be kept out.\n"
        "Set use_lockfile = true in its backend block and run: tfguard init -reconfigure\n"
        "To run without a lock nevertheless: -lock=false\n"
    )
    assert result.code == 78


# --- tfguard.yml ----------------------------------------------------------------------------------------------------


def test_malformed_yaml_is_refused_with_its_line(bare: Stage) -> None:
    (bare.path / "tfguard.yml").write_text("version: 1\npipelines: {prod: [\n")

    result = bare.tfguard("-p", "prod", "plan")

    assert re.match(r"(prod: )?tfguard\.yml:\d+: ", words(result)), result.err
    assert result.code == 78


def test_an_unknown_pipeline_is_told_the_known_ones(bare: Stage) -> None:
    (bare.path / "tfguard.yml").write_text("version: 1\npipelines: {prod/network: {}, dev/network: {}}\n")

    result = bare.tfguard("-p", "prod/netwrok", "plan")

    assert "prod/network" in words(result) and "dev/network" in result.err
    assert result.code == 78


def test_a_prompt_without_a_terminal_is_refused_before_the_lock(bare: Stage) -> None:
    (bare.path / "tfguard.yml").write_text("version: 1\npipelines: {prod: {}}\n")

    result = bare.tfguard("run", "prod")

    assert_refused(
        result,
        78,
        "prod: approve is prompt, and there is no terminal to ask on; nothing was locked.\n"
        "Set approve: auto in tfguard.yml, or plan only: tfguard -p prod plan\n",
    )


# --- the store ------------------------------------------------------------------------------------------------------


def finished(result: Result) -> dict[str, str]:
    """The facts of the one line that ends a run."""
    lines = RUN_LINE.findall(result.err)
    assert len(lines) == 1, str(result)
    assert result.err.endswith(lines[0]), "it comes last"
    return dict(each.split("=", 1) for each in lines[0].split()[3:])


def test_a_missing_table_is_named(stage: Callable[..., Stage]) -> None:
    made = as_users_have_it(stage("dynamodb"))
    made.dynamodb.client.delete_table(TableName=made.table)

    result = made.tfguard("apply", "-auto-approve")

    assert words(result) == (
        f"{made.bucket}/{made.key}: There is no DynamoDB table {made.table} (ResourceNotFoundException).\n"
        "Create it (tfguard bootstrap), or correct its name or the region (us-east-1) in the backend.\n"
    )
    assert result.code == 78
    assert finished(result)["outcome"] == "config-error"
    assert made.state() is None


def test_a_table_whose_key_is_spelt_otherwise_is_refused(stage: Callable[..., Stage]) -> None:
    made = as_users_have_it(stage("dynamodb", is_initialised=False))
    made.table = made.dynamodb.table("lockid")
    made.write()
    made.init()

    result = made.tfguard("apply", "-auto-approve")

    assert words(result).partition(": ")[2] == (
        f"DynamoDB table {made.table} cannot hold Terraform's locks: its key is another one.\n"
        "It needs a single hash key of type string, named exactly LockID (upper and lower case matter).\n"
    )
    assert result.code == 78
    assert made.dynamodb.client.scan(TableName=made.table)["Count"] == 0


def test_a_missing_bucket_is_named(stage: Callable[..., Stage]) -> None:
    made = as_users_have_it(stage("s3"))
    made.s3.client.delete_bucket(Bucket=made.bucket)

    result = made.tfguard("apply", "-auto-approve")

    assert "NoSuchBucket" in words(result) and made.bucket in result.err
    assert "Create it (tfguard bootstrap), or correct `bucket` in the backend." in result.err
    assert result.code == 78


def test_missing_credentials_say_where_they_may_come_from(bare: Stage) -> None:
    s3_cache(bare, "http://127.0.0.1:9")

    result = bare.tfguard("apply", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")

    assert words(result) == (
        "tf-state/app.tfstate: There are no AWS credentials.\n"
        "Tried, in this order: backend, AWS_ACCESS_KEY_ID, web identity, profile default, container, EC2. "
        "Set one of them.\n"
    )
    assert result.code == 77
    assert finished(result) == {
        "label": "tf-state/app.tfstate",
        "lock": "tf-state/app.tfstate",
        "waited_s": finished(result)["waited_s"],
        "held_s": "0",
        "heartbeats": "0",
        "outcome": "store-error",
        "exit_code": "77",
    }


def test_expired_credentials_are_told_apart_from_missing_permissions(bare: Stage) -> None:
    with refusing("ExpiredTokenException", "The security token included in the request is expired") as aws:
        s3_cache(bare, aws.endpoint)

        result = bare.tfguard("plan", AWS_SESSION_TOKEN="planted-session-token")

    assert words(result) == (
        "tf-state/app.tfstate: The AWS credentials have expired (ExpiredTokenException).\n"
        "Renew them; dynamodb:GetItem on DynamoDB table tf-locks was refused.\n"
    )
    assert result.code == 77
    assert "PutItem" not in aws.asked


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_missing_permission_names_action_and_table_and_for_a_plan_the_way_around(bare: Stage, command: str) -> None:
    denied = "User: arn:aws:sts::123456789012:assumed-role/ci/1 is not authorized to perform: dynamodb:GetItem"
    with refusing("AccessDeniedException", denied) as aws:
        s3_cache(bare, aws.endpoint)

        result = bare.tfguard(command)

    first = "tf-state/app.tfstate: AWS denies dynamodb:GetItem on DynamoDB table tf-locks (AccessDeniedException).\n"
    allow = "Allow dynamodb:GetItem for these credentials.\n"
    way_around = "Or plan without the lock: set lock.plan: skip in tfguard.yml.\n"
    says = f"AWS says: {denied}\n"
    assert words(result) == first + (allow + way_around if command == "plan" else says + allow)
    assert result.code == 77


@pytest.fixture
def closed_port() -> Iterator[str]:
    """An address at which nobody listens, kept from others by being bound."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_an_unreachable_store_is_tried_once_without_a_lock_timeout(bare: Stage, closed_port: str) -> None:
    s3_cache(bare, closed_port)

    result = bare.tfguard("--lock-timeout=0s", "apply")

    said = words(result).splitlines()
    assert said[0].startswith(
        "tf-state/app.tfstate: No answer to dynamodb:GetItem on DynamoDB table tf-locks: cannot connect: "
    )
    assert said[1].endswith("; nothing was run. Check the network and the endpoint.")
    assert said[2] == "To try for longer: --lock-timeout=30m before the command."
    assert result.code == 69


def test_an_unreachable_store_is_tried_for_the_lock_timeout(bare: Stage, closed_port: str) -> None:
    s3_cache(bare, closed_port)

    result = bare.tfguard("--lock-timeout=3s", "apply")

    assert re.search(r"Trying again for up to [0-3]s \(--lock-timeout\)\.\n", result.err), str(result)
    assert "nothing was run" in result.err
    assert result.code == 69
    assert float(finished(result)["waited_s"]) >= 2.5
    assert finished(result)["outcome"] == "store-error"


def put_garbage(made: Stage) -> None:
    if made.backend == "dynamodb":
        item = {"LockID": {"S": f"{made.bucket}/{made.key}"}, "Info": {"S": "{not json"}}
        made.dynamodb.client.put_item(TableName=made.table, Item=item)
    else:
        made.s3.client.put_object(Bucket=made.bucket, Key=f"{made.key}.tflock", Body=b"{not json")


@pytest.mark.parametrize("backend", ["dynamodb", "s3"])
def test_a_lock_record_that_is_no_json_is_a_lock_all_the_same(stage: Callable[..., Stage], backend: str) -> None:
    made = as_users_have_it(stage(backend))
    put_garbage(made)

    result = made.tfguard("--lock-timeout=0s", "apply", "-auto-approve")

    assert "is held by somebody whose lock record cannot be read; did not wait." in words(result)
    assert result.err.splitlines()[2] == "Look at the lock: tfguard status"
    assert result.code == 75
    assert made.state() is None
    if backend == "s3":
        assert made.s3.body(made.bucket, f"{made.key}.tflock") == b"{not json"
    else:
        assert made.dynamodb.item(made.table, f"{made.bucket}/{made.key}")["Info"]["S"] == "{not json"


def test_a_program_that_cannot_be_started_releases_the_lock_and_says_so(stage: Callable[..., Stage]) -> None:
    made = as_users_have_it(stage("dynamodb"))
    script = made.path / "deploy.sh"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)

    result = made.tfguard("exec", "--", "./deploy.sh")

    assert "Traceback" not in result.err and "unexpected" not in result.err, str(result)
    assert result.code in (126, 127), str(result)
    assert finished(result)["exit_code"] == str(result.code)
    assert made.locks() == []


def test_what_was_not_foreseen_is_said_in_three_lines(bare: Stage) -> None:
    broken = (
        "from tfguard.config import options; options.parse = None; from tfguard.cli.main import main; main(['plan'])"
    )

    result = bare.run([sys.executable, "-c", broken])

    assert words(result) == (
        "tfguard: unexpected TypeError: 'NoneType' object is not callable\n"
        "This is a defect in tfguard. A lock that it held is released, or left to its lease.\n"
        "To see where, run it again with TFGUARD_TRACEBACK=1.\n"
    )
    assert result.code == 70
