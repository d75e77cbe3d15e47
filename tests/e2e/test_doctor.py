"""`doctor`: what is wrong with a state, and the mending of one that a killed run has left unreadable."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from tests.e2e.conftest import GATED, TFGUARD, Backend, Stage
from tests.e2e.operated import guarded, kill_all_of
from tests.e2e.refusing import Refusal, refusing
from tests.support.eventually import eventually
from tests.support.proxy import Proxy, proxy
from tfguard.backends.aws.checks import deprecated_table
from tfguard.backends.aws.facts import TableFacts
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec
from tfguard.backends.aws.tables import judge_table
from tfguard.backends.target import Target
from tfguard.doctor import lock

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]


def findings(made: Stage, code: int = 0, **environ: str) -> dict[str, dict[str, Any]]:
    result = made.tfguard("doctor", "--json", **environ)
    assert result.code == code, str(result)
    found = json.loads(result.out)["findings"]
    assert len({each["check"] for each in found}) == len(found)
    return {each["check"]: each for each in found}


@pytest.fixture
def denied(stage: Make) -> Iterator[Callable[..., Stage]]:
    """Make a stage that is denied some requests, from its init on."""
    with ExitStack() as stack:

        def make(backend: Backend, service: str, refuse: Refusal) -> Stage:
            made = stage(backend, is_initialised=False)
            between = stack.enter_context(refusing(made.endpoints[service]))
            made.endpoints[service] = between.endpoint
            made.write()
            made.init()
            between.refuse = refuse
            return made

        yield make


def break_digest(made: Stage) -> None:
    """As a run leaves it that was killed after it had written the state, before it wrote the digest."""
    item = {"LockID": {"S": f"{made.bucket}/{made.key}-md5"}, "Digest": {"S": "0" * 32}}
    made.dynamodb.client.put_item(TableName=made.table, Item=item)


@pytest.mark.parametrize("backend", ["dynamodb", "s3", "both", "local"])
def test_a_healthy_state_has_no_failure_and_nothing_is_left_behind(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    made.tfguard("apply", "-auto-approve")
    before = [] if backend == "local" else made.objects()

    found, text = findings(made), made.tfguard("doctor")

    assert {each["mark"] for each in found.values()} <= {"ok", "warning"}
    assert found["binary"]["mark"] == found["directory"]["mark"] == found["lock"]["mark"] == "ok"
    assert ("permissions" in found) == ("region" in found) == ("rescue" in found) == (backend != "local")
    assert ("clock" in found) == ("identity" in found) == (backend != "local")
    assert ("table" in found) == (backend in ("dynamodb", "both"))
    assert ("dynamodb_table" in found) == (backend in ("dynamodb", "both"))
    assert text.code == 0
    assert text.out.startswith("✓ binary")
    assert made.leftovers() == []
    assert before == ([] if backend == "local" else made.objects())


def test_an_uninitialised_directory_fails(stage: Make) -> None:
    made = stage("dynamodb", is_initialised=False)

    found = findings(made, code=1)

    assert found["directory"]["mark"] == "failure"
    assert "lock" not in found


def test_a_missing_table_fails_and_is_named(stage: Make) -> None:
    made = stage("dynamodb")
    made.dynamodb.client.delete_table(TableName=made.table)

    found = findings(made, code=1)

    assert found["lock"]["mark"] == found["table"]["mark"] == "failure"
    assert made.table in found["lock"]["says"]
    assert "permissions" not in found, "the same trouble is told once"


def test_a_store_that_does_not_answer_is_asked_once(stage: Make) -> None:
    made = stage("s3", is_initialised=False)
    with refusing(made.endpoints["s3"]) as between:
        made.endpoints["s3"] = between.endpoint
        made.write()
        made.init()

    found = findings(made, code=1)

    assert list(found) == ["binary", "directory", "identity", "lock"]
    assert "No answer to s3:GetObject" in found["lock"]["says"]
    assert found["lock"]["advice"] == "Check the network and the endpoint."


@pytest.mark.parametrize("action", ["GetItem", "PutItem", "DeleteItem"])
def test_each_permission_on_the_table_is_named_where_it_is_denied(denied: Callable[..., Stage], action: str) -> None:
    made = denied("dynamodb", "dynamodb", lambda _, __, asked: asked == action)

    found = findings(made, code=1)

    permissions = found["permissions"]
    assert permissions["mark"] == "failure"
    assert permissions["says"] == f"dynamodb:{action}: denied on DynamoDB table {made.table}"
    assert permissions["advice"].startswith(f"Allow dynamodb:{action} for these credentials.")
    assert made.dynamodb.client.scan(TableName=made.table)["Count"] == 0


@pytest.mark.parametrize(("method", "action"), [("GET", "GetObject"), ("PUT", "PutObject"), ("DELETE", "DeleteObject")])
def test_each_permission_on_the_lock_object_is_named_where_it_is_denied(
    denied: Callable[..., Stage], method: str, action: str
) -> None:
    made = denied("s3", "s3", lambda asked, path, _: asked == method and ".tflock" in path)

    found = findings(made, code=1)

    assert found["permissions"]["mark"] == "failure"
    assert found["permissions"]["says"].startswith(f"s3:{action}: denied on s3://{made.bucket}/{made.key}.tflock")
    assert made.objects() == []


@pytest.mark.parametrize(("backend", "code", "mark"), [("dynamodb", 0, "warning"), ("s3", 1, "failure")])
def test_a_bucket_that_may_not_be_listed_is_told_with_what_that_costs(
    denied: Callable[..., Stage], backend: Backend, code: int, mark: str
) -> None:
    made = denied(backend, "s3", lambda method, path, _: method in ("GET", "HEAD") and path.count("/") == 1)

    found = findings(made, code=code)

    assert found["listing"]["mark"] == mark
    assert found["listing"]["says"] == f"s3:ListBucket: denied on s3://{made.bucket}"
    assert "Without it" in found["listing"]["advice"]
    assert found["versioning"]["mark"] == "warning"


def test_what_a_run_can_do_without_is_no_failure_when_denied(denied: Callable[..., Stage]) -> None:
    aside = (".tfstate.tfguard", ".errored.")
    made = denied("s3", "s3", lambda method, path, _: method == "PUT" and any(each in path for each in aside))

    found = findings(made)

    assert [found[name]["mark"] for name in ("queue", "rescue")] == ["warning", "warning"]
    assert "no line, no fencing token and no history" in found["queue"]["advice"]
    assert found["permissions"]["mark"] == "warning"  # No scratch record may be written, which only doctor does.


def test_a_table_that_nobody_may_describe_is_no_failure(denied: Callable[..., Stage]) -> None:
    made = denied("dynamodb", "dynamodb", lambda _, __, action: action == "DescribeTable")

    found = findings(made)

    assert found["table"]["mark"] == "warning"
    assert "dynamodb:DescribeTable" in found["table"]["advice"]
    assert found["permissions"]["mark"] == "ok"


def test_a_table_with_another_key_fails(stage: Make) -> None:
    made = stage("dynamodb", is_initialised=False)
    made.table = made.dynamodb.table("lockid")
    made.write()
    made.init()

    found = findings(made, code=1)

    assert found["table"]["says"] == f"table {made.table} cannot hold locks: its key is lockid (S, hash)"


def facts(**changed: Any) -> TableFacts:
    found = TableFacts("locks", "arn", "ACTIVE", (("LockID", "S", "HASH"),), True, "", True, (), True, False)
    return dataclasses.replace(found, **changed)


@pytest.mark.parametrize(
    ("changed", "mark", "said"),
    [
        ({}, "ok", "it has no replicas"),
        ({"status": "UPDATING"}, "ok", "UPDATING"),
        ({"status": "CREATING"}, "failure", "is CREATING, not ACTIVE"),
        ({"status": "DELETING"}, "failure", "is DELETING, not ACTIVE"),
        ({"key": (("LockID", "N", "HASH"),)}, "failure", "LockID (N, hash)"),
        ({"key": (("LockID", "S", "HASH"), ("At", "S", "RANGE"))}, "failure", "LockID (S, hash), At (S, range)"),
        ({"replicas": ("eu-west-1",)}, "failure", "eu-west-1: there the last writer wins"),
        ({"replicas": ("eu-west-1",), "is_strongly_consistent": True}, "ok", "its replicas are strongly consistent"),
    ],
)
def test_a_table_is_judged_by_what_aws_tells_of_it(changed: dict[str, Any], mark: str, said: str) -> None:
    answer = judge_table(facts(**changed))

    assert answer[0] == mark
    assert said in answer[1]


def test_a_bucket_in_another_region_is_told(stage: Make) -> None:
    made = stage("dynamodb", is_initialised=False)
    made.bucket = f"{made.bucket}-elsewhere"
    place = {"LocationConstraint": "eu-west-1"}
    made.s3.client.create_bucket(Bucket=made.bucket, CreateBucketConfiguration=place)
    made.write()
    made.init()

    found = findings(made)

    # A warning, for this server is not AWS and answers in any region; on AWS it is a failure.
    assert found["region"]["mark"] == "warning"
    assert found["region"]["says"] == f"bucket {made.bucket} is in eu-west-1, and the backend says us-east-1"


def test_a_table_that_is_in_the_region_of_the_environment_is_found(stage: Make) -> None:
    made = stage("dynamodb", is_initialised=False)
    with only_in("eu-west-1", made.endpoints["dynamodb"]) as endpoint:
        made.endpoints["dynamodb"] = endpoint
        made.write()
        made.init()

        found = findings(made, code=1, AWS_REGION="eu-west-1")

    assert found["lock"]["mark"] == "failure"
    assert found["region"]["says"] == f"table {made.table} is in eu-west-1, and the backend says us-east-1"


@contextmanager
def only_in(region: str, endpoint: str) -> Iterator[str]:
    """Hide the tables from whoever signs for another region: DynamoDB Local has one world for all."""
    with refusing(endpoint) as between:
        between.reason = "ResourceNotFoundException"
        between.refuse_signed = lambda signature: f"/{region}/" not in signature
        yield between.endpoint


def test_a_directory_initialised_for_another_pipelines_backend_is_not_taken_for_this_ones(stage: Make) -> None:
    made = stage("s3")
    (made.path / "tfguard.yml").write_text(
        "version: 1\npipelines:\n  prod: {dir: ., backend_config: {key: prod.tfstate}}\n"
    )

    result = made.tfguard("doctor", "prod", "--json")

    found = {each["check"]: each for each in json.loads(result.out)["findings"]}
    assert result.code == 1
    assert f"key is {made.key}, wanted prod.tfstate" in found["directory"]["says"]
    assert found["directory"]["advice"] == "tfguard -p prod init"
    assert "lock" not in found


def test_the_wrapper_of_a_ci_setup_step_is_seen(stage: Make) -> None:
    made = stage("local")
    tools = made.path.parent / "tools"
    tools.mkdir()
    (tools / "terraform").write_text("#!/usr/bin/env node\n")
    (tools / "terraform-bin").symlink_to(str(shutil.which("terraform")))
    (tools / "terraform").chmod(0o755)

    found = findings(made, PATH=f"{tools}:{made.environ['PATH']}")

    assert found["wrapper"]["mark"] == "ok"
    assert str(tools / "terraform-bin") in found["binary"]["says"]


@pytest.mark.parametrize(("before", "mark"), [("", "warning"), ("exec ", "ok")])
def test_a_shell_that_swallows_the_signals_of_ci_is_told(stage: Make, before: str, mark: str) -> None:
    made = stage("local")
    script = f"{before}{shlex.join(TFGUARD)} doctor --json"
    started = ["sh", "-c", f"{script}\nexit $?"] if not before else ["sh", "-c", script]

    result = made.run([sys.executable, "-c", f"import subprocess; subprocess.run({started})"], CI="true", CI_JOB_ID="1")

    found = {each["check"]: each for each in json.loads(result.out)["findings"]}
    assert found["shell"]["mark"] == mark


@pytest.mark.parametrize("backend", ["s3", "local"])
def test_copies_of_unsaved_states_are_found_though_nobody_noted_them(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    if backend == "local":
        (made.path / "terraform.tfstate.errored.1234").write_text("{}")
    else:
        made.s3.client.put_object(Bucket=made.bucket, Key=f"{made.key}.errored.1234", Body=b"{}")

    found = findings(made)

    assert found["errored copies"]["mark"] == "warning"
    assert "tfstate.errored.1234" in found["errored copies"]["says"]
    assert "tfstate.errored.1234 errored.tfstate, then: tfguard state push" in found["errored copies"]["advice"]


def test_who_has_waited_since_yesterday_is_told(stage: Make) -> None:
    made = stage("s3")
    queue = {"tickets": [{"id": "1", "holder": {"who": "ana"}, "number": 1, "since": "2020-01-01T00:00:00Z"}]}
    body = {"revision": 1, "queue": json.dumps(queue)}
    made.s3.client.put_object(Bucket=made.bucket, Key=f"{made.key}.tfguard", Body=json.dumps(body).encode())

    found = findings(made)

    assert found["line"]["says"] == "1 in the line have waited for more than 6 hours"


@pytest.mark.parametrize(
    ("left", "run_timeout", "mark"),
    [(3500, None, "warning"), (3700, None, "ok"), (3500, 2700, "ok"), (60, 90, "warning")],
)
def test_credentials_are_to_outlast_a_run(left: float, run_timeout: float | None, mark: str) -> None:
    end = datetime.now(timezone.utc) + timedelta(seconds=left)
    settings = SimpleNamespace(terms=SimpleNamespace(run_timeout_seconds=run_timeout))
    patient: Any = SimpleNamespace(
        lock=SimpleNamespace(credentials_expire_at=lambda: end), context=SimpleNamespace(settings=settings)
    )

    assert lock.credentials(patient)[0] == mark  # type: ignore[index]


@pytest.mark.parametrize(
    ("skew", "said"), [(-45, "this machine's clock is 45 s off the server's"), (5, "this machine's clock agrees")]
)
def test_the_clock_is_compared_with_the_servers(monkeypatch: pytest.MonkeyPatch, skew: float, said: str) -> None:
    now = datetime(2026, 11, 21, tzinfo=timezone.utc)
    monkeypatch.setattr(lock, "datetime", SimpleNamespace(now=now.astimezone))
    patient: Any = SimpleNamespace(lock=SimpleNamespace(date=now + timedelta(seconds=skew)))

    assert lock.clock(patient)[1].startswith(said)  # type: ignore[index]


@pytest.mark.parametrize(
    ("kind", "version", "is_said"),
    [("terraform", "1.11.0", True), ("terraform", "1.9.8", False), ("tofu", "1.11.0", False)],
)
def test_a_table_is_deprecated_by_newer_terraforms_alone(kind: str, version: str, is_said: bool) -> None:
    spec = DynamoDBSpec(table="locks", lock_id="x", aws=AwsAccess())
    patient: Any = SimpleNamespace(
        target=Target(label="x", path="x", backend="s3", workspace="default", stores=(spec,)),
        binary=lambda: (kind, version),
    )

    assert (deprecated_table(patient) is not None) == is_said


def test_the_first_process_of_a_container_is_told(stage: Make) -> None:
    made = stage("local")
    alone = ["unshare", "--pid", "--fork"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may make no process namespace")

    result = made.run([*alone, *TFGUARD, "doctor", "--json"])

    found = {each["check"]: each for each in json.loads(result.out)["findings"]}
    assert found["pid 1"]["mark"] == "warning"
    assert "--init" in found["pid 1"]["advice"]


def test_the_proof_is_one_more_line(stage: Make) -> None:
    made = stage("dynamodb")

    result = made.tfguard("doctor", "--prove-lock", "--json")

    found = json.loads(result.out)["findings"]
    assert result.code == 0, str(result)
    assert [each["check"] for each in found if each["check"] in ("lock", "proof")] == ["lock", "proof"]
    assert found[-1]["mark"] == "ok"


def test_the_proof_says_whom_aws_takes_terraform_and_us_for(stage: Make) -> None:
    made = stage("s3", is_initialised=False)
    role = '{\n role_arn = "arn:aws:iam::123456789012:role/ci"\n}'
    sts = {"skip_credentials_validation": "false", "sts_endpoint": json.dumps(made.endpoints["s3"])}
    made.write(assume_role=role, **sts)
    made.init()

    result = made.tfguard("doctor", "--prove-lock", "--json")

    found = {each["check"]: each for each in json.loads(result.out)["findings"]}
    assert result.code == 0, str(result)
    assert found["identity"]["says"].startswith("AWS_ACCESS_KEY_ID: keys, then arn:aws:iam::123456789012:role/ci; ")
    assert found["as Terraform"]["says"].endswith(":assumed-role/ci")
    assert found["as Terraform"]["mark"] == "ok"


def test_a_lock_that_is_busy_cannot_be_proved_and_says_whose_it_is(stage: Make) -> None:
    made = stage("dynamodb")

    with guarded(made):
        result = made.tfguard("--lock-timeout", "0s", "doctor", "--prove-lock", "--json")

    assert result.code == 75, str(result)
    assert "is held by" in result.err
    found = [each["check"] for each in json.loads(result.out)["findings"]]
    assert "lock" in found and "proof" not in found


def test_a_held_lock_is_no_failure(stage: Make) -> None:
    made = stage("dynamodb")

    with guarded(made):
        found = findings(made)

    assert found["lock"]["mark"] == "ok"
    assert "held" in found["lock"]["says"]


def test_no_secret_is_printed(stage: Make) -> None:
    made = stage("dynamodb")

    result = made.tfguard("doctor", AWS_SECRET_ACCESS_KEY="planted-secret-0123456789")

    assert "planted-secret" not in result.out + result.err


@pytest.mark.parametrize("backend", ["dynamodb", "both"])
def test_a_wrong_digest_is_found_and_repaired(stage: Make, backend: Backend) -> None:
    made = stage(backend)
    made.tfguard("apply", "-auto-approve")
    break_digest(made)

    found = findings(made, code=1)
    result = made.tfguard("doctor", "--repair-digest", "--yes")

    assert found["digest"]["advice"] == "tfguard doctor --repair-digest"
    assert result.code == 0, str(result)
    assert "serial" in result.err
    assert "lineage" in result.err
    assert made.wrong_digests() == []
    assert made.locks() == []
    assert findings(made)["digest"]["mark"] == "ok"


def test_nobody_repairs_under_somebody_elses_lock(stage: Make) -> None:
    made = stage("dynamodb")
    made.tfguard("apply", "-auto-approve")

    with guarded(made):
        break_digest(made)
        result = made.tfguard("--lock-timeout", "0s", "doctor", "--repair-digest", "--yes")
        wrong = made.wrong_digests()

    assert result.code == 75, str(result)
    assert wrong == [made.key]


def test_what_is_no_state_is_not_taken_for_one(stage: Make) -> None:
    made = stage("dynamodb")
    made.tfguard("apply", "-auto-approve")
    made.s3.client.put_object(Bucket=made.bucket, Key=made.key, Body=b"<html>no state</html>")

    result = made.tfguard("doctor", "--repair-digest", "--yes")

    assert result.code == 78, str(result)
    assert "nothing was repaired" in result.err
    assert made.wrong_digests() == [made.key]


def test_a_repair_without_a_terminal_wants_a_yes(stage: Make) -> None:
    made = stage("dynamodb", is_initialised=False)

    result = made.tfguard("doctor", "--repair-digest")

    assert result.code == 64
    assert "tfguard doctor --repair-digest --yes" in result.err


def test_a_state_that_is_gone_is_to_be_restored(stage: Make) -> None:
    made = stage("dynamodb")
    break_digest(made)

    found = findings(made, code=1)

    assert found["digest"]["says"].startswith("the state's digest is missing")
    assert found["digest"]["advice"] == "Restore a version of it from the bucket."


@pytest.mark.slow
def test_a_state_broken_by_a_killed_run_is_found_and_mended(stage: Make) -> None:
    """At three in the morning: status, unlock, doctor --repair-digest, and work goes on."""
    made = stage("dynamodb", is_initialised=False)
    with proxy(made.endpoints["dynamodb"]) as between:
        made.endpoints["dynamodb"] = between.endpoint
        made.write()
        assert made.init().tfguard("apply", "-auto-approve").code == 0
        serial = made.state()["serial"]
        made.write(GATED)
        kill_between_state_and_digest(made, between, serial)

        shown = json.loads(made.tfguard("status", "--json").out)["locks"][0]
        unlocked = made.tfguard("unlock", "--id", shown["id"], "--yes")
        found = findings(made, code=1)
        repaired = made.tfguard("doctor", "--repair-digest", "--yes")
        goes_on = made.tfguard("plan")

    assert unlocked.code == 0, str(unlocked)
    assert found["digest"]["mark"] == "failure"
    assert repaired.code == 0, str(repaired)
    assert goes_on.code == 0, str(goes_on)
    assert made.state()["serial"] > serial


def kill_between_state_and_digest(made: Stage, table: Proxy, serial: int) -> None:
    """Kill a real run, all of it, when its state is in the bucket and the digest on its way to the table."""
    process = made.start_tfguard("apply", "-auto-approve", TFGUARD_LOCK_LEASE="90s")
    made.wait_for_log("begin", 2)
    table.turn("hang")
    made.open_gate()
    eventually(lambda: made.state()["serial"] > serial, 30, "a newer state")
    kill_all_of(process)
    table.turn("pass")
    assert made.wrong_digests() == [made.key]
