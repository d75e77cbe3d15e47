"""`bootstrap`: what a backend needs is created once, what is there is never changed, and runs then find all of it."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from werkzeug.serving import generate_adhoc_ssl_context

from tests.conftest import ACCESS_KEY, SECRET_KEY
from tests.e2e.conftest import WORK, Backend, Result, Stage, base_environ
from tests.e2e.policed import Permission, Policed, policed
from tests.e2e.test_provider import MIRROR, needs_provider
from tests.support.eventually import patience
from tests.support.pages import page
from tfguard.backends.aws.facts import BucketFacts, TableFacts, bucket_client, read_bucket, read_table, table_client
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec, S3Spec

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("real_terraform")]

REGION = "eu-central-1"
SHOWN = page("how-to/bootstrap")


@dataclass
class Ground:
    """A directory whose backend names a bucket and a table that nobody has created yet. `endpoint` serves both."""

    stage: Stage
    endpoint: str

    def bootstrap(self, *words: str, stdin: str | None = None) -> Result:
        return self.stage.tfguard("bootstrap", *words, stdin=stdin)

    def as_in_readme(self, result: Result) -> list[str]:
        """What was printed, under the docs' names."""
        label = f"{self.stage.bucket}/{self.stage.key}"
        names = {label: "prod/network", self.stage.bucket: "acme-prod-state", self.stage.table: "tf-locks"}
        text = result.out + result.err.replace("tfguard init", "tfguard -p prod/network init")
        for name, shown in names.items():
            text = text.replace(name, shown)
        return text.splitlines()

    def bucket(self) -> BucketFacts | None:
        aws = AwsAccess(region=REGION, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
        spec = S3Spec(bucket=self.stage.bucket, key="", aws=aws, endpoint=self.endpoint, use_path_style=True)
        with bucket_client(spec) as client:
            return read_bucket(client, spec.bucket)

    def table(self) -> TableFacts | None:
        aws = AwsAccess(region=REGION, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
        spec = DynamoDBSpec(table=self.stage.table, lock_id="", aws=aws, endpoint=self.endpoint)
        with table_client(spec) as client:
            return read_table(client, spec.table)

    def client(self, service: str, region: str = REGION) -> Any:
        """botocore's own, for what somebody else has done."""
        session = botocore.session.get_session()
        keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
        return session.create_client(service, region_name=region, endpoint_url=self.endpoint, **keys)


@pytest.fixture
def ground(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Ground]:
    """Make grounds. `between` gives the endpoint that the backend names, where that is not the server's own."""

    def make(
        backend: Backend = "both", *, between: Callable[[str], str] = lambda endpoint: endpoint, **extra: str
    ) -> Ground:
        s3 = request.getfixturevalue("s3")
        path = tmp_path / "stage"
        path.mkdir()
        made = Stage(path, backend, environ=dict(base_environ(tmp_path)), s3=s3)
        suffix = uuid.uuid4().hex[:12]
        made.bucket, made.table = f"state-{suffix}", f"locks-{suffix}"
        endpoint = between(s3.endpoint)
        made.endpoints |= {"s3": endpoint, "dynamodb": endpoint}
        made.write(WORK, region=f'"{REGION}"', **extra)
        return Ground(made, s3.endpoint)

    return make


@pytest.fixture
def guarded_ground(ground: Callable[..., Ground]) -> Iterator[Callable[..., tuple[Ground, Policed]]]:
    """Make grounds behind a proxy that a test steers."""
    with ExitStack() as stack:

        def make(backend: Backend = "both", *, over_tls: bool = False, **extra: str) -> tuple[Ground, Policed]:
            between: list[Policed] = []

            def through(endpoint: str) -> str:
                tls = generate_adhoc_ssl_context() if over_tls else None
                between.append(stack.enter_context(policed(endpoint, tls)))
                return between[0].endpoint

            return ground(backend, between=through, **extra), between[0]

        yield make


def test_what_is_created_is_looked_after_and_runs_find_it(ground: Callable[..., Ground]) -> None:
    made = ground()

    created = made.bootstrap("--yes")
    initialised = made.stage.tfguard("init", "-input=false")
    applied = made.stage.tfguard("apply", "-auto-approve")

    assert created.code == 0, str(created)
    assert made.bucket() == BucketFacts(
        name=made.stage.bucket,
        region=REGION,
        is_versioned=True,
        encryption="AES256",
        blocks_public_access=True,
        is_tls_only=False,  # The emulator has no TLS.
        forgets_old_versions=True,
        is_unfinished=False,
    )
    table = made.table()
    assert table is not None
    assert table.key == (("LockID", "S", "HASH"),)
    assert table.is_on_demand
    assert table.encryption == "KMS"
    assert table.has_deletion_protection
    assert table.has_point_in_time_recovery is True
    assert table.is_unfinished is False
    assert initialised.code == 0, str(initialised)
    assert applied.code == 0, str(applied)


def test_the_second_time_all_is_there_and_nothing_is_asked(ground: Callable[..., Ground]) -> None:
    made = ground()
    made.bootstrap("--yes")
    before = made.bucket(), made.table()

    again = made.bootstrap()

    assert again.code == 0, str(again)
    assert {line[0] for line in again.out.splitlines()} == {"✓"}
    assert (made.bucket(), made.table()) == before


def test_without_a_terminal_and_a_yes_it_shows_its_plan_and_creates_nothing(ground: Callable[..., Ground]) -> None:
    made = ground()

    result = made.bootstrap()

    assert result.code == 64
    assert f"+ bucket             {made.stage.bucket} in {REGION}" in result.out
    assert f"+ table              {made.stage.table} in {REGION}" in result.out
    assert "nothing was created" in result.err
    assert "tfguard bootstrap --yes" in result.err
    assert (made.bucket(), made.table()) == (None, None)


@pytest.mark.parametrize(("answer", "code"), [("no", 1), ("yes", 0)])
def test_on_a_terminal_it_asks(ground: Callable[..., Ground], answer: str, code: int) -> None:
    import pexpect

    made = ground()
    words = ["-m", "tfguard", "bootstrap"]
    child = pexpect.spawn(
        sys.executable, words, cwd=str(made.stage.path), env=made.stage.environ, encoding="utf-8", timeout=patience(10)
    )

    child.expect("Only 'yes' is accepted: ")
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()

    assert child.exitstatus == code
    assert (made.bucket() is None) == (made.table() is None) == (answer == "no")


def test_over_tls_the_bucket_refuses_everything_else(guarded_ground: Callable[..., tuple[Ground, Policed]]) -> None:
    """It is also how the docs show it."""
    made, _ = guarded_ground(over_tls=True, insecure="true")

    result = made.bootstrap("--yes")

    assert result.code == 0, str(result)
    shown = made.as_in_readme(result)
    assert shown and all(f"{line}\n" in SHOWN for line in shown)
    bucket = made.bucket()
    assert bucket is not None and bucket.is_tls_only is True
    assert bucket.is_unfinished is False


def test_in_the_first_region_the_bucket_needs_no_location(ground: Callable[..., Ground]) -> None:
    made = ground("s3")

    result = made.bootstrap("--yes", "-backend-config=region=us-east-1")

    assert result.code == 0, str(result)
    assert made.client("s3").get_bucket_location(Bucket=made.stage.bucket)["LocationConstraint"] is None


def test_what_is_there_is_judged_and_never_changed(ground: Callable[..., Ground]) -> None:
    made = ground()
    s3, dynamodb = made.client("s3"), made.client("dynamodb")
    s3.create_bucket(Bucket=made.stage.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    dynamodb.create_table(
        TableName=made.stage.table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "LockID", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "LockID", "KeyType": "HASH"}],
    )
    before = made.bucket(), made.table()

    result = made.bootstrap("--yes")

    assert result.code == 0, str(result)
    for check in ("bucket versions", "bucket access", "table deletion", "table backups"):
        assert f"! {check}" in result.out
    assert f"aws dynamodb update-table --table-name {made.stage.table} --deletion-protection-enabled" in result.out
    assert (made.bucket(), made.table()) == before


def test_a_table_with_another_key_bars_everything(ground: Callable[..., Ground]) -> None:
    made = ground()
    made.client("dynamodb").create_table(
        TableName=made.stage.table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "lockid", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "lockid", "KeyType": "HASH"}],
    )

    result = made.bootstrap("--yes")

    assert result.code == 1
    assert "✗ table" in result.out
    assert "named exactly LockID" in result.out
    assert made.bucket() is None


def test_a_bucket_in_another_region_bars_everything(ground: Callable[..., Ground]) -> None:
    made = ground()
    elsewhere = {"LocationConstraint": "eu-west-1"}
    made.client("s3", "eu-west-1").create_bucket(Bucket=made.stage.bucket, CreateBucketConfiguration=elsewhere)

    result = made.bootstrap("--yes")

    assert result.code == 1
    assert f"✗ bucket             {made.stage.bucket} is in eu-west-1, and the backend says {REGION}" in result.out
    assert made.table() is None


def test_a_table_of_that_name_in_another_region_is_told(ground: Callable[..., Ground]) -> None:
    made = ground()
    made.client("dynamodb", "us-east-1").create_table(
        TableName=made.stage.table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "LockID", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "LockID", "KeyType": "HASH"}],
    )

    result = made.stage.tfguard("bootstrap", AWS_REGION="us-east-1")

    assert result.code == 64
    assert f"! table region       there is a table {made.stage.table} in us-east-1" in result.out


@pytest.mark.parametrize(
    "denied",
    ["s3:CreateBucket", "s3:PutLifecycleConfiguration", "dynamodb:UpdateContinuousBackups"],
)
def test_a_missing_permission_is_named_and_afterwards_it_goes_on(
    guarded_ground: Callable[..., tuple[Ground, Policed]], denied: str
) -> None:
    made, between = guarded_ground()
    between.deny(denied)
    refused = made.bootstrap("--yes")
    between.deny()

    result = made.bootstrap("--yes")

    assert refused.code == 77, str(refused)
    assert denied in refused.err
    assert "not finished. Run it again" in refused.err
    assert result.code == 0, str(result)
    bucket, table = made.bucket(), made.table()
    assert bucket is not None and bucket.is_versioned is True
    assert bucket.is_unfinished is False
    assert table is not None and table.has_point_in_time_recovery is True
    assert table.is_unfinished is False


@pytest.mark.parametrize("at", ["s3:PutEncryptionConfiguration", "dynamodb:UntagResource"])
def test_what_was_killed_is_gone_on_with(guarded_ground: Callable[..., tuple[Ground, Policed]], at: str) -> None:
    made, between = guarded_ground()
    process = made.stage.start_tfguard("bootstrap", "--yes")

    def kill(needed: Permission) -> bool:
        if needed.action == at:
            process.kill()
        return needed.action != at

    between.allows = kill
    process.communicate(timeout=patience(20))
    between.deny()
    result = made.bootstrap("--yes")

    assert process.returncode == -9
    assert "(begun, and not finished)" in result.out
    assert result.code == 0, str(result)
    assert {line[0] for line in made.bootstrap().out.splitlines()} == {"✓"}


def test_lost_answers_are_asked_for_again(guarded_ground: Callable[..., tuple[Ground, Policed]]) -> None:
    made, between = guarded_ground()
    lost = {"s3:CreateBucket", "s3:PutBucketPublicAccessBlock", "dynamodb:CreateTable", "dynamodb:UntagResource"}

    def is_first(needed: Permission) -> bool:
        is_lost = needed.action in lost
        lost.discard(needed.action)
        return is_lost

    between.is_lost = is_first
    result = made.bootstrap("--yes")

    assert result.code == 0, str(result)
    assert not lost
    assert made.bootstrap().code == 0


def test_what_may_not_be_read_is_named_and_hides_nothing(
    guarded_ground: Callable[..., tuple[Ground, Policed]],
) -> None:
    made, between = guarded_ground()
    made.bootstrap("--yes")
    unread = {
        "s3:GetBucketVersioning",
        "s3:GetEncryptionConfiguration",
        "s3:GetBucketPublicAccessBlock",
        "dynamodb:DescribeContinuousBackups",
    }
    between.deny(*unread, "s3:GetBucketTagging", "dynamodb:ListTagsOfResource")

    result = made.bootstrap("--yes")

    assert result.code == 0, str(result)
    warnings = [line for line in result.out.splitlines() if line.startswith("!")]
    assert len(warnings) == len(unread)
    assert all(any(action in line for line in warnings) for action in unread)


def test_a_bucket_that_nobody_may_look_at_may_be_a_strangers(
    guarded_ground: Callable[..., tuple[Ground, Policed]],
) -> None:
    made, between = guarded_ground()
    between.deny("s3:GetBucketLocation")

    result = made.bootstrap("--yes")

    assert result.code == 77
    assert "AWS denies s3:GetBucketLocation" in result.err
    assert "another account's: choose another name" in result.err
    assert (made.bucket(), made.table()) == (None, None)


def test_two_at_once_make_one(ground: Callable[..., Ground]) -> None:
    made = ground()
    both = [made.stage.start_tfguard("bootstrap", "--yes") for _ in range(2)]

    ended = [(process.communicate(timeout=patience(20)), process.returncode) for process in both]

    assert [code for _, code in ended] == [0, 0], ended
    assert {line[0] for line in made.bootstrap().out.splitlines()} == {"✓"}


def test_another_accounts_bucket_is_told_apart(guarded_ground: Callable[..., tuple[Ground, Policed]]) -> None:
    made, between = guarded_ground()
    between.deny("s3:CreateBucket")
    between.code, between.status = "BucketAlreadyExists", 409

    result = made.bootstrap("--yes")

    assert result.code == 78
    assert f"Bucket {made.stage.bucket} belongs to another account" in result.err
    assert made.table() is None


def test_dynamodb_local_serves_too(ground: Callable[..., Ground], dynamodb: Any) -> None:
    """It knows no tags and no recovery: what it lacks is told, and the rest is done."""
    made = ground("dynamodb")
    made.stage.endpoints["dynamodb"] = dynamodb.endpoint
    made.stage.write(WORK, region=f'"{REGION}"')

    result = made.bootstrap("--yes")
    again = made.bootstrap()

    assert result.code == 0, str(result)
    assert "without point-in-time recovery" in result.err
    assert again.code == 0, str(again)
    assert made.stage.tfguard("init", "-input=false").code == 0


def test_what_init_was_told_by_hand_is_remembered(ground: Callable[..., Ground]) -> None:
    """And read as Terraform reads it: what is created is what `init` then finds."""
    made = ground("both")
    stage = made.stage
    backend = (stage.path / "backend.tf").read_text().splitlines(keepends=True)
    told = [line for line in backend if line.split()[:1] in (["bucket"], ["dynamodb_table"], ["endpoints"])]
    (stage.path / "backend.tf").write_text("".join(line for line in backend if line not in told))
    (stage.path / "prod.tfbackend").write_text("".join(told))

    asked = made.bootstrap("-backend-config=prod.tfbackend")
    before = made.bootstrap("--yes", "-backend-config=prod.tfbackend")
    initialised = stage.terraform("init", "-input=false", "-backend-config=prod.tfbackend")
    after = made.bootstrap()

    assert "tfguard bootstrap --backend-config prod.tfbackend --yes" in asked.err
    assert before.code == 0, str(before)
    assert "tfguard init --backend-config prod.tfbackend" in before.err
    assert initialised.code == 0, str(initialised)
    assert f"✓ bucket             {stage.bucket} is there" in after.out
    assert f"✓ table              table {stage.table} is ACTIVE" in after.out


def test_a_pipelines_own_backend_counts_before_any_init(ground: Callable[..., Ground]) -> None:
    made = ground("s3")
    stage = made.stage
    (stage.path / "tfguard.yml").write_text(
        "version: 1\npipelines:\n"
        f"  prod/network: {{ backend_config: {{ bucket: {stage.bucket}-prod, key: prod.tfstate }} }}\n"
    )
    stage.bucket += "-prod"

    result = made.bootstrap("prod/network", "--yes")

    assert result.code == 0, str(result)
    assert f"prod/network: created bucket {stage.bucket}." in result.err
    assert "tfguard -p prod/network init" in result.err
    assert made.bucket() is not None


@pytest.mark.parametrize(
    ("configuration", "code", "words"),
    [
        ("", 78, "holds no Terraform configuration"),
        ("locals {}", 78, "The backend is local"),
        ('terraform {\n backend "gcs" {}\n}', 78, "The backend is gcs"),
        ("terraform {\n cloud {}\n}", 0, "there is nothing to create"),
        ('terraform {\n backend "s3" {}\n}', 78, "--backend-config bucket=NAME"),
        ('terraform {\n backend "s3" {\n bucket = var.b\n}\n}', 78, "The backend's `bucket` is an expression"),
        (
            'terraform {\n backend "s3" {\n bucket = "b"\n assume_role = var.r\n}\n}',
            78,
            "--backend-config assume_role=…",
        ),
        ('terraform {\n backend "s3" {\n bucket = 5\n}\n}', 78, "`bucket` is not what Terraform writes"),
    ],
)
def test_a_backend_that_needs_nothing_of_ours_is_one_clear_line(
    ground: Callable[..., Ground], configuration: str, code: int, words: str
) -> None:
    made = ground()
    for path in made.stage.path.glob("*.tf"):
        path.unlink()
    if configuration:
        (made.stage.path / "main.tf").write_text(configuration)

    result = made.bootstrap("--yes")

    assert result.code == code, str(result)
    assert words in (result.err if code else result.out)
    assert "Traceback" not in result.err


def test_an_impossible_name_is_refused_before_anything_is_created(ground: Callable[..., Ground]) -> None:
    made = ground()

    result = made.bootstrap("--yes", "--backend-config", "bucket=Acme_State")

    assert result.code == 78
    assert "No bucket can be called 'Acme_State'" in result.err
    assert made.table() is None


# --- printed ----------------------------------------------------------------------------------------------------------


def printed(made: Ground, form: str, *words: str) -> str:
    result = made.bootstrap("--print", form, *words)
    assert result.code == 0, str(result)
    assert (made.bucket(), made.table()) == (None, None)
    return result.out


def test_the_printed_code_is_formatted_as_terraform_formats(ground: Callable[..., Ground], tmp_path: Path) -> None:
    made = ground()
    code = printed(made, "terraform", "-backend-config", 'bucket=a"${var.x}b', "-backend-config", "kms_key_id=alias/a")
    path = tmp_path / "printed.tf"
    path.write_text(code)

    result = made.stage.terraform("fmt", "-check", "-diff", str(path))

    assert result.code == 0, str(result)
    assert '"a\\"$${var.x}b"' in code


@needs_provider
def test_the_printed_code_is_valid_for_the_real_provider(ground: Callable[..., Ground], tmp_path: Path) -> None:
    made = ground()
    path = tmp_path / "printed"
    path.mkdir()
    (path / "main.tf").write_text(printed(made, "terraform", "-backend-config=kms_key_id=alias/a"))
    rc = tmp_path / "terraformrc"
    rc.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{MIRROR}"\n  }}\n}}\n')
    chdir, environ = f"-chdir={path}", {"TF_CLI_CONFIG_FILE": str(rc)}

    initialised = made.stage.terraform(chdir, "init", "-input=false", **environ)
    result = made.stage.terraform(chdir, "validate", **environ)

    assert initialised.code == 0, str(initialised)
    assert result.code == 0, str(result)


@pytest.mark.parametrize("backend", ["dynamodb", "s3", "both"])
def test_a_run_needs_no_more_than_the_printed_policy(
    guarded_ground: Callable[..., tuple[Ground, Policed]], backend: Backend
) -> None:
    made, between = guarded_ground(backend)
    policies = json.loads(printed(made, "iam"))
    made.bootstrap("--yes")

    between.enforce(policies["plan"])
    steps = [made.stage.tfguard("init", "-input=false"), made.stage.tfguard("plan")]
    denied_plan = list(between.denied)
    between.enforce(policies["apply"])
    steps.append(made.stage.tfguard("apply", "-auto-approve"))

    assert [step.code for step in steps] == [0, 0, 0], "\n".join(map(str, steps))
    assert denied_plan == between.denied == []
    history = json.loads(made.stage.tfguard("history", "--json").out)
    assert [run["token"] for run in history["runs"]] == [1], "a first plan leaves no line of history"


def test_who_may_only_plan_cannot_apply(guarded_ground: Callable[..., tuple[Ground, Policed]]) -> None:
    made, between = guarded_ground()
    policies = json.loads(printed(made, "iam"))
    made.bootstrap("--yes")
    made.stage.tfguard("init", "-input=false")
    between.enforce(policies["plan"])

    result = made.stage.tfguard("apply", "-auto-approve")

    assert result.code != 0
    assert {needed.resource for needed in between.denied} >= {f"arn:aws:s3:::{made.stage.bucket}/{made.stage.key}"}
    assert made.stage.state() is None
