"""A real Terraform on Google's storage: its commands under its own lock, beside plain ones, after every kind of end."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import GATED, SHORT_LEASE, Result, Stage
from tests.e2e.operated import kill_all_of
from tests.e2e.running import running
from tests.e2e.test_chaos import WORK as COUNTED
from tests.e2e.test_commands import STILL
from tests.support.eventually import eventually, patience

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
APPLY = ("apply", "-auto-approve", "-input=false")
#: What a plain Terraform says that was refused by a lock which is not there any more.
GONE_MEANWHILE = "storage: object doesn't exist"
QUICK_BEATS = {"TFGUARD_LOCK_LEASE": "18s"}


def generation(made: Stage) -> str:
    """The number that Terraform knows the lock by."""
    number: str = made.gcs.about(made.bucket, f"{made.key}/default.tflock")["generation"]
    return number


def configure(made: Stage, **attributes: str) -> None:
    """Change what the directory was initialised with, as nobody could who had to initialise it with that."""
    cache = made.path / ".terraform/terraform.tfstate"
    written = json.loads(cache.read_text())
    written["backend"]["config"] |= attributes
    cache.write_text(json.dumps(written))


def test_terraforms_commands_run_under_our_lock_from_the_first_run_on(stage: Make) -> None:
    """One state from nothing to nothing again: each command would be refused if it took a lock of its own."""
    made = stage("gcs", text=STILL)
    made.gcs.delete(made.bucket, f"{made.key}/default.tfstate")
    commands: list[tuple[tuple[str, ...], int]] = [
        (("plan", "-input=false", "-detailed-exitcode"), 2),
        (APPLY, 0),
        (("plan", "-input=false", "-out=p"), 0),
        (("apply", "-input=false", "p"), 0),
        (("state", "mv", "terraform_data.b", "terraform_data.moved"), 0),
        (("import", "-input=false", "terraform_data.b", "some-id"), 0),
        (("destroy", "-auto-approve"), 0),
    ]

    results = [made.tfguard(*words) for words, _ in commands]

    assert [result.code for result in results] == [code for _, code in commands], "\n".join(map(str, results))
    assert made.resources() == []
    assert made.leftovers() == []
    history = made.tfguard("history").out
    assert history.count("succeeded") == len(commands) - 1, f"all but a first plan, which leaves nothing:\n{history}"


def test_a_workspace_that_terraform_would_create_under_our_lock_is_there_first(stage: Make) -> None:
    made = stage("gcs", text=STILL)

    first = made.tfguard(*APPLY, TF_WORKSPACE="new")
    selected = made.tfguard("workspace", "new", "newer")
    second = made.tfguard(*APPLY)

    assert (first.code, selected.code, second.code) == (0, 0, 0), f"{first}{selected}{second}"
    assert made.resources("new") == made.resources("newer") == ["terraform_data.a", "terraform_data.b"]
    assert made.leftovers() == []


def test_a_plain_terraform_is_refused_and_shown_our_run_and_one_that_waits_gets_in(stage: Make) -> None:
    made = stage("gcs", text=GATED)

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        lock, number = made.locks()[0], generation(made)
        shown = made.tfguard("status", "--json")
        refused = made.terraform("plan", "-input=false", "-no-color")
        with running(made.start(["terraform", "plan", "-input=false", "-lock-timeout=10m"])) as theirs:
            theirs.wait_for("Acquiring state lock")
            later = generation(made)
            made.open_gate()
            result, waited = ours.end(), theirs.end()

    assert refused.code == 1
    for words in (f"ID:        {number}", f"Who:       {lock['Who']}", "Operation: OperationTypeApply", "tfguard "):
        assert words in refused.err, str(refused)
    assert later == number, "a heartbeat leaves the ID that somebody was shown as it is"
    seen = json.loads(shown.out)["locks"][0]
    assert (seen["id"], seen["force_unlock_id"]) == (lock["ID"], number), shown.out
    assert (result.code, waited.code) == (0, 0), f"{result}{waited}"
    assert made.leftovers() == []


def test_we_wait_for_a_plain_terraform_show_it_and_then_run(stage: Make) -> None:
    made = stage("gcs", text=GATED)

    with running(made.start(["terraform", *APPLY])) as theirs:
        theirs.wait_for_work(made)
        lock, number = made.locks()[0], generation(made)
        gave_up = made.tfguard("--lock-timeout=0s", "plan")
        with running(made.start_tfguard(*APPLY)) as ours:
            ours.wait_for("Waiting up to")
            shown = ours.err
            made.open_gate()
            result, other = ours.end(), theirs.end()

    assert gave_up.code == 75, str(gave_up)
    assert number in gave_up.err, "the ID is the one that Terraform itself shows"
    assert (result.code, other.code) == (0, 0), f"{result}{other}"
    assert f"is held by {lock['Who']} (apply, " in shown
    assert "plain Terraform, no heartbeat" in shown
    assert made.log_lines() == ["begin", "end"] * 2
    assert made.leftovers() == []


@pytest.mark.parametrize("by", ["terraform", "tfguard, our ID", "tfguard, Terraform's"])
def test_a_force_unlock_ends_us_with_76(stage: Make, by: str) -> None:
    made = stage("gcs", text=GATED)

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        lock_id, number = made.locks()[0]["ID"], generation(made)
        if by == "terraform":
            unlocked = made.terraform("force-unlock", "-force", number)
        else:
            wanted = lock_id if by == "tfguard, our ID" else number
            unlocked = made.tfguard("unlock", "--id", wanted, "--yes", "--force", "--reason", "it hangs")
        assert unlocked.code == 0, str(unlocked)
        result = ours.end()

    assert result.code == 76, str(result)
    assert "the lock was lost: somebody unlocked it while we held it" in result.err
    assert made.state() is not None, "Terraform was stopped, not killed: it has written its state"
    assert made.leftovers() == []


def test_after_a_kill_of_all_of_a_run_the_next_takes_its_lock_over(stage: Make) -> None:
    made = stage("gcs", text=GATED)
    process = made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE=SHORT_LEASE)
    made.wait_for_log("begin")
    dead = made.locks()[0]
    kill_all_of(process)
    made.open_gate()

    result = made.tfguard(*APPLY)

    assert result.code == 0, str(result)
    assert "outcome=succeeded" in result.err
    assert dead["Who"] in result.err
    assert made.leftovers() == []


def test_two_of_us_and_a_plain_terraform_never_overlap(stage: Make) -> None:
    made = stage("gcs", text=COUNTED)
    until = time.monotonic() + 6
    ended: dict[str, list[Result]] = {"ours": [], "plain": []}

    def work(kind: str, apply: Callable[[], Result]) -> None:
        while time.monotonic() < until:
            ended[kind].append(apply())

    clients = [
        threading.Thread(target=work, args=("ours", lambda: made.tfguard(*APPLY))),
        threading.Thread(target=work, args=("ours", lambda: made.tfguard(*APPLY))),
        threading.Thread(target=work, args=("plain", lambda: made.terraform(*APPLY, "-lock-timeout=10m"))),
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join(patience(60))

    # Terraform gives up at once if the lock that refused it is gone when it looks whose that was: so it does beside
    # others of its own kind.
    done = [each for each in ended["plain"] if GONE_MEANWHILE not in each.err]
    assert "OVERLAP" not in (made.path / "log").read_text()
    assert ended["ours"] and all(each.code == 0 for each in ended["ours"]), "\n".join(map(str, ended["ours"]))
    assert all(each.code == 0 for each in done), "\n".join(map(str, done))
    assert (made.state() or {})["serial"] >= len(ended["ours"]) + len(done)
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
