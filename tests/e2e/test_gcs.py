"""A real Terraform on Google's storage: its commands under its own lock, beside plain ones, after every kind of end."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable

import pytest

from tests.e2e.conftest import GATED, Stage
from tests.e2e.native import APPLY, QUICK_BEATS, generation
from tests.e2e.running import running
from tests.e2e.test_commands import STILL
from tests.support.eventually import eventually

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
#: What a plain Terraform says that was refused by a lock which is not there any more.
GONE_MEANWHILE = "storage: object doesn't exist"


def configure(made: Stage, **attributes: str) -> None:
    """Change what the directory was initialised with, as nobody could who had to initialise it with that."""
    cache = made.path / ".terraform/terraform.tfstate"
    written = json.loads(cache.read_text())
    written["backend"]["config"] |= attributes
    cache.write_text(json.dumps(written))


def test_a_workspace_that_terraform_would_create_under_our_lock_is_there_first(stage: Make) -> None:
    made = stage("gcs", text=STILL)

    first = made.tfguard(*APPLY, TF_WORKSPACE="new")
    selected = made.tfguard("workspace", "new", "newer")
    second = made.tfguard(*APPLY)
    # In a fresh checkout init takes no workspace that is not there, once others are.
    shutil.rmtree(made.path / ".terraform")
    (made.path / "tfguard.yml").write_text("version: 1\npipelines: {app: {dir: ., workspace: last, approve: auto}}\n")
    third = made.tfguard("run", "app")

    assert (first.code, selected.code, second.code, third.code) == (0, 0, 0, 0), f"{first}{selected}{second}{third}"
    assert made.resources("new") == made.resources("newer") == ["terraform_data.a", "terraform_data.b"]
    assert made.resources("last") == made.resources("new")
    assert made.leftovers() == []


def test_a_bucket_that_takes_one_write_a_second_slows_us_and_stops_nobody(
    stage: Make, request: pytest.FixtureRequest
) -> None:
    made = stage("gcs", text=STILL)
    made.gcs = request.getfixturevalue("limited_gcs")
    made.bucket = made.gcs.bucket()
    made.write(STILL)
    again = made.terraform("init", "-reconfigure", "-input=false")

    results = [made.tfguard(*APPLY) for _ in range(3)]

    assert again.code == 0, str(again)
    assert [result.code for result in results] == [0, 0, 0], "\n".join(map(str, results))
    assert made.leftovers() == []


def test_who_may_not_change_metadata_beats_by_writing_the_lock_anew(stage: Make) -> None:
    made = stage("gcs", text=GATED, is_initialised=False)
    made.write(GATED, access_token='"without:storage.objects.update"')
    made.init()

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        first, lock = generation(made), made.locks()[0]
        eventually(lambda: generation(made) != first, 60, "a heartbeat")
        same = made.locks()[0] == lock
        made.open_gate()
        result = ours.end()

    assert same
    assert result.code == 0, str(result)
    assert made.leftovers() == []


def test_an_operator_sees_holds_and_examines_it(stage: Make) -> None:
    made = stage("gcs", text=STILL)
    apply = made.tfguard(*APPLY)
    proof = made.tfguard("doctor", "--prove-lock")
    hold = made.tfguard("hold", "--for", "10m", "--reason", "maintenance")
    number = generation(made)
    around = made.tfguard("status", "--backend")
    refused = made.terraform("plan", "-input=false", "-no-color")
    unlocked = made.tfguard("unlock", "--id", number, "--yes")

    assert apply.code == 0, str(apply)
    assert proof.code == 0, str(proof)
    assert "Terraform itself is refused while we hold the lock" in proof.out + proof.err
    assert "storage.objects.create, storage.objects.delete: allowed, and tried on a scratch lock" in proof.out
    assert (hold.code, unlocked.code) == (0, 0), f"{hold}{unlocked}"
    assert f"{made.bucket}/{made.key}/default.tfstate" in around.out
    assert number in refused.err
    assert made.leftovers() == []


def test_the_rights_that_a_state_needs_are_printed(stage: Make) -> None:
    made = stage("gcs", text=STILL)

    printed = made.tfguard("bootstrap", "--print", "iam")

    assert printed.code == 0, str(printed)
    assert set(json.loads(printed.out)) == {"plan", "apply"}
    assert f"buckets/{made.bucket}/objects/{made.key}/" in printed.out


def test_doctor_names_each_permission_that_is_denied(stage: Make) -> None:
    made = stage("gcs", text=STILL)
    denied = "storage.objects.update,storage.objects.list"
    configure(made, access_token=f"without:{denied}")

    result = made.tfguard("doctor")

    for permission in denied.split(","):
        assert f"{permission}: denied on gs://{made.bucket}/" in result.out, str(result)
    assert "the ID for force-unlock changes with it" in result.out


REFUSED = {
    "no bucket": ({"bucket": "no-such-bucket"}, 78, r"There is no bucket for gs://no-such-bucket/"),
    "no permission": ({"access_token": "without:storage.objects.create"}, 77, r"denies storage.objects.create on"),
    "an old token": ({"access_token": "expired"}, 77, r"does not accept these credentials"),
    "no server": (
        {"storage_custom_endpoint": "http://127.0.0.1:1/storage/v1/"},
        69,
        r"No answer from Google \(cannot connect: ",
    ),
}


@pytest.mark.parametrize(("wrong", "code", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_held_is_said_in_two_lines(stage: Make, wrong: dict[str, str], code: int, says: str) -> None:
    made = stage("gcs", text=STILL)
    configure(made, **wrong)
    made.gcs.put(made.bucket, f"{made.key}/default.tfstate", b"{}")

    result = made.tfguard("--lock-timeout=0s", *APPLY)

    assert result.code == code, str(result)
    assert re.search(says, result.err), str(result)
    assert "Traceback" not in result.err
