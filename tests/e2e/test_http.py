"""
A real Terraform on servers of its http backend: GitLab's, one that looks at the IDs of locks, and one that does not.

What GitLab has in common with other backends is in `test_native`.
"""

from __future__ import annotations

import contextlib
import json
import signal
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from tests.conftest import States
from tests.e2e.conftest import GATED, SHORT_LEASE, Stage
from tests.e2e.native import APPLY, QUICK_BEATS
from tests.e2e.operated import kill_all_of
from tests.e2e.running import running
from tests.e2e.test_commands import STILL
from tests.support import trees
from tests.support.authority import Authority
from tests.support.eventually import eventually
from tests.support.gitlab_server import ACCESS_TOKEN
from tests.support.serving import Request, replying

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
#: Somebody with an access token, which lists a project's states.
PERSON = {"TF_HTTP_USERNAME": "ana", "TF_HTTP_PASSWORD": ACCESS_TOKEN}


def given_by_environment(made: Stage) -> Mapping[str, str]:
    """Configure the stage as GitLab's own template does: nothing in the block, all of it in variables."""
    (made.path / "backend.tf").write_text('terraform {\n  backend "http" {}\n}\n')
    settings = made._http_settings()
    return {f"TF_HTTP_{name.upper()}": json.loads(value) for name, value in settings.items()}


def with_store(made: Stage, request: pytest.FixtureRequest) -> str:
    """Write what gives the lock a lease: three lines of YAML. Returns the bucket."""
    gcs = request.getfixturevalue("gcs")
    bucket: str = gcs.bucket()
    made.environ["GOOGLE_OAUTH_ACCESS_TOKEN"] = "token"
    text = f"version: 1\ndefaults:\n  lock:\n    store: gs://{bucket}/locks?endpoint={gcs.endpoint}\n"
    (made.path / "tfguard.yml").write_text(text)
    return bucket


def test_an_address_from_the_environment_needs_no_data_directory_of_ours_nor_another_plan(stage: Make) -> None:
    made = stage("gitlab", text=STILL, is_initialised=False)
    made.environ |= given_by_environment(made)
    made.init()

    results = [made.tfguard("plan", "-input=false", "-out=p"), made.tfguard("apply", "-input=false", "p")]

    assert [result.code for result in results] == [0, 0], "\n".join(map(str, results))
    assert len(made.resources()) == 2
    assert made.leftovers() == []


def test_a_write_of_whoever_does_not_hold_the_lock_is_refused_by_the_server(stage: Make) -> None:
    """GitLab answers 500 to it, which Terraform tries three times."""
    made = stage("gitlab", text=GATED)

    with running(made.start_tfguard(*APPLY)) as ours:
        ours.wait_for_work(made)
        (made.path / "gate").touch()
        result = ours.end()
        first = made.state()
    (made.path / "gate").unlink()
    with running(made.start_tfguard(*APPLY)) as ours:
        ours.wait_for_work(made)
        rogue = made.terraform("taint", "-lock=false", "terraform_data.work")
        still = made.state()
        made.open_gate()
        later = ours.end()

    assert (result.code, later.code) == (0, 0), f"{result}{later}"
    assert rogue.code == 1
    assert still == first
    assert made.leftovers() == []


def test_a_run_that_was_frozen_and_superseded_is_refused_when_it_goes_on(stage: Make) -> None:
    made = stage("gitlab", text=GATED)
    process = made.start_tfguard(*APPLY, TFGUARD_LOCK_LEASE=SHORT_LEASE)
    made.wait_for_log("begin")
    front = psutil.Process(process.pid)
    tree = [front, *front.children(recursive=True)]
    terraform = next(each for each in tree if each.name() == "terraform")
    trees.suspend(tree)
    made.open_gate()

    second = made.tfguard(*APPLY)
    state = made.state()
    trees.kill(each for each in tree if each != terraform)  # Nobody is left who would keep it from writing.
    terraform.resume()
    eventually(lambda: not terraform.is_running() or terraform.status() == psutil.STATUS_ZOMBIE, 60, "its end")
    process.communicate(timeout=60)

    assert second.code == 0, str(second)
    assert made.state() == state, "the late write was refused"
    assert made.leftovers() == []


@pytest.mark.slow
@pytest.mark.long
def test_after_its_job_a_token_can_release_nothing_and_the_next_job_takes_over(stage: Make, job_states: States) -> None:
    made = stage("gitlab", text=GATED, is_initialised=False)
    made.states, made.key = job_states, job_states.gitlab()
    made.write(GATED)
    made.init()

    # Where no heartbeat lands for a while before Terraform ends, it is frozen, and nobody brings its token back.
    limits = {"TFGUARD_LOCK_LEASE": SHORT_LEASE, "TFGUARD_LOCK_FREEZE_TIMEOUT": "10s"}
    with running(made.start_tfguard(*APPLY, **limits)) as ours:
        ours.wait_for_work(made)
        job_states.ask("POST", f"{job_states.endpoint}/end-of-job", b"")
        made.open_gate()
        result = ours.end(timeout=120)
        held = job_states.lock_of(made.key)
    job_states.ask("POST", f"{job_states.endpoint}/new-job", b"")
    for left in made.path.glob("errored.tfstate*"):
        left.unlink()
    second = made.tfguard(*APPLY)

    assert result.code != 0, str(result)
    assert "The server does not accept this user and password (401)" in result.err, str(result)
    assert held, "nobody could release it"
    assert second.code == 0, str(second)
    assert made.leftovers() == []


def test_a_last_step_frees_what_a_killed_run_has_left_as_long_as_the_jobs_token_counts(
    stage: Make, job_states: States
) -> None:
    """GitLab's after_script has the job's own token; where that counts no more (a job that is over), it is said."""
    made = stage("gitlab", text=GATED, is_initialised=False)
    made.states, made.key = job_states, job_states.gitlab()
    made.write(GATED)
    made.init()
    process = made.start_tfguard(*APPLY)
    made.wait_for_log("begin")
    kill_all_of(process)
    made.open_gate()

    job_states.ask("POST", f"{job_states.endpoint}/end-of-job", b"")
    over = made.tfguard("settle")
    job_states.ask("POST", f"{job_states.endpoint}/new-job", b"")
    held = job_states.lock_of(made.key)
    settled = made.tfguard("settle")

    assert held, "nobody could release it"
    assert (over.code, "401" in over.err) == (77, True), str(over)
    assert settled.code == 0, str(settled)
    assert made.leftovers() == []


def test_a_serial_that_is_taken_fails_the_run_and_frees_the_lock(stage: Make) -> None:
    made = stage("gitlab", text=GATED)

    with running(made.start_tfguard(*APPLY)) as ours:
        ours.wait_for_work(made)
        lock_id = made.states.lock_of(made.key)
        for serial in range(1, 4):
            body = json.dumps({"version": 4, "serial": serial, "lineage": "another's"}).encode()
            made.states.ask("POST", f"{made.key}?ID={lock_id}", body)
        made.open_gate()
        result = ours.end()

    assert result.code == 1, str(result)
    assert "errored.tfstate" in result.err
    assert [*made.path.glob("errored.tfstate*")]
    assert made.leftovers() == []


def test_what_terraform_could_not_save_is_pushed_under_the_same_lock(stage: Make) -> None:
    made = stage("gitlab", text=GATED)

    with running(made.start_tfguard(*APPLY)) as ours:
        ours.wait_for_work(made)
        made.states.ask("POST", made.key.replace(made.states.endpoint, f"{made.states.endpoint}/fail"), b"")
        made.open_gate()
        result = ours.end(timeout=120)

    assert made.resources() == ["terraform_data.work"], str(result)
    assert "errored.tfstate" in result.err
    assert not (made.path / "errored.tfstate").exists()
    assert made.leftovers() == []


def test_opentofu_is_held_the_same_and_its_saved_plan_is_given_the_locks_id(stage: Make, tofu: str) -> None:
    made = stage("gitlab", text=STILL, is_initialised=False)
    made.environ["TFGUARD_TERRAFORM"] = tofu

    commands = [("init", "-input=false"), ("plan", "-input=false", "-out=p"), ("apply", "-input=false", "p")]
    results = [made.tfguard(*words) for words in (*commands, ("destroy", "-auto-approve"))]
    plain = made.run([tofu, "plan", "-input=false", "-no-color"])

    assert [result.code for result in results] == [0] * 4, "\n".join(map(str, results))
    assert plain.code == 0, str(plain)
    assert made.leftovers() == []


@contextlib.contextmanager
def knowing_clients(states: States, authority: Authority) -> Iterator[str]:
    """Let the server be reached over TLS by who has a certificate of this authority's; gives its start of a URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.chain("localhost"))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED

    def reply(request: Request) -> tuple[int, dict[str, str], bytes]:
        status, body = states.ask(request.method, states.endpoint + request.path, request.body or None)
        return status, {"Content-Type": "application/json"}, body

    with replying(reply, context) as address:
        yield address.replace("http://127.0.0.1", "https://localhost")


def test_a_client_certificate_from_the_variables_is_shown_by_both_of_us(
    stage: Make, states: States, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    key, _, certificate = authority.chain("ci").read_text().partition("-----BEGIN CERTIFICATE")
    shown = {
        "TF_HTTP_CLIENT_CA_CERTIFICATE_PEM": authority.file.read_text(),
        "TF_HTTP_CLIENT_CERTIFICATE_PEM": f"-----BEGIN CERTIFICATE{certificate}",
        "TF_HTTP_CLIENT_PRIVATE_KEY_PEM": key,
    }
    made = stage("gitlab", text=STILL, is_initialised=False)
    with knowing_clients(states, authority) as address:
        variables = given_by_environment(made)
        variables = {name: text.replace(states.endpoint, address) for name, text in variables.items()}
        made.environ |= variables

        initialised = made.tfguard("init", "-input=false", **shown)
        applied = made.tfguard(*APPLY, **shown)
        nobody = made.tfguard("status")

    assert (initialised.code, applied.code) == (0, 0), f"{initialised}{applied}"
    assert (nobody.code, "Traceback" in nobody.err) == (78, False), str(nobody)
    assert "`client_ca_certificate_pem`" in nobody.err, str(nobody)
    assert len(made.resources()) == 2
    assert made.leftovers() == []


# --- other servers ------------------------------------------------------------------------------------------------


def test_on_another_server_a_store_of_ones_own_has_the_lease(stage: Make, request: pytest.FixtureRequest) -> None:
    made = stage("strict", text=GATED)
    without = made.tfguard("plan", "-input=false")
    bucket = with_store(made, request)

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        lock_id = made.states.lock_of(made.key)
        guard = [key for key in request.getfixturevalue("gcs").objects(bucket) if key.endswith(".tflock")]
        refused = made.terraform("plan", "-input=false", "-no-color")
        made.open_gate()
        result = ours.end()
    proved = made.tfguard("doctor", "--prove-lock", "--json")
    marks = {each["check"]: each["mark"] for each in json.loads(proved.out)["findings"]}

    assert proved.code == 0, str(proved)
    assert {marks[name] for name in ("permissions", "lock IDs", "store", "store queue", "proof")} == {"ok"}, str(proved)
    assert without.code == 78
    assert "    lock:\n      store: s3://my-bucket/tfguard" in without.err, str(without)
    assert len(guard) == 1
    assert refused.code == 1 and lock_id in refused.err
    assert result.code == 0, str(result)
    assert made.state() is not None
    assert made.leftovers() == []


def test_a_server_that_lets_anybody_unlock_is_recognised_and_no_lease_stands_on_it(
    stage: Make, request: pytest.FixtureRequest
) -> None:
    made = stage("careless", text=STILL)
    with_store(made, request)

    refused = made.tfguard(*APPLY)
    checked = made.tfguard("doctor")

    assert refused.code == 78, str(refused)
    assert "The server unlocks a lock for whoever asks, whatever its ID" in refused.err
    assert "mode: named" in refused.err
    assert "unlocks a lock for whoever asks" in checked.out, str(checked)
    assert made.leftovers() == []


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"lock_address": None}, 78, "has no lock_address"),
        ({"unlock_address": None}, 78, "has no unlock_address"),
        ({"address": "ftp://example.com/state"}, 78, "`address` of the http backend is no address"),
        (
            {"address": "http://127.0.0.1:1/api/v4/projects/7/terraform/state/app"},
            69,
            "No answer from http://127.0.0.1:1",
        ),
        ({"lock_method": "LO CK"}, 78, "`lock_method` of the http backend is no HTTP method"),
    ],
    ids=["no lock", "no unlock", "no http", "nobody there", "method"],
)
def test_what_is_wrong_with_the_backend_is_said_in_two_lines(
    stage: Make, settings: dict[str, str | None], code: int, words: str
) -> None:
    made = stage("gitlab", is_initialised=False)
    written = {name: json.loads(value) for name, value in made._http_settings().items()}
    backend = {"type": "http", "config": {**written, **settings}, "hash": 0}
    cache = made.path / ".terraform" / "terraform.tfstate"
    cache.parent.mkdir()
    cache.write_text(json.dumps({"version": 3, "backend": backend}))

    result = made.tfguard("--lock-timeout=0s", "plan", "-input=false", TFGUARD_INIT="never")

    said = [line for line in result.err.splitlines() if line.strip() and "run.finished" not in line]
    assert result.code == code, str(result)
    assert words in result.err
    assert len(said) <= 3, result.err
    assert "Traceback" not in result.err


def test_ctrl_c_stops_terraform_and_frees_both_halves_of_the_lock(stage: Make) -> None:
    made = stage("gitlab", text=GATED)

    with running(made.start_tfguard(*APPLY)) as ours:
        ours.wait_for_work(made)
        ours.process.send_signal(signal.SIGINT)
        result = ours.end()

    assert result.code != 0, str(result)
    assert "release=released" in result.err
    assert made.leftovers() == []


def test_hold_unlock_history_and_doctor_know_both_halves_as_one_lock(stage: Make) -> None:
    made = stage("gitlab", text=STILL)

    held = made.tfguard("hold", "--for", "1h", "--reason", "maintenance")
    shown = json.loads(made.tfguard("status", "--json").out)["locks"]
    listed = json.loads(made.tfguard("status", "--backend", "--json", **PERSON).out)
    plain = made.terraform("plan", "-input=false", "-no-color")
    busy = made.tfguard("--lock-timeout=0s", "plan", "-input=false")
    unlocked = made.tfguard("unlock", "--id", shown[0]["id"], "--yes", "--reason", "done")
    applied = made.tfguard(*APPLY)
    doctor = made.tfguard("doctor")
    proved = made.tfguard("doctor", "--prove-lock")
    bootstrap, rights = made.tfguard("bootstrap"), made.tfguard("bootstrap", "--print", "iam")
    of_a_job = made.tfguard("status", "--backend", TF_HTTP_USERNAME="gitlab-ci-token", TF_HTTP_PASSWORD="job")
    history = made.tfguard("history").out

    assert (held.code, unlocked.code, applied.code) == (0, 0, 0), f"{held}{unlocked}{applied}"
    assert [each["verdict"] for each in shown] == ["hold"]
    assert plain.code == 1 and shown[0]["id"] in plain.err
    assert busy.code == 75, str(busy)
    assert doctor.code == 0 and "✗" not in doctor.out, str(doctor)
    assert proved.code == 0, str(proved)
    mine = [each for each in listed if made.key.endswith(f"/{each['label']}")]
    assert [each["locks"][0]["verdict"] for each in mine] == ["hold"], listed
    assert (of_a_job.code, "CI_JOB_TOKEN" in of_a_job.err) == (77, True), str(of_a_job)
    assert (bootstrap.code, "there is nothing to create" in bootstrap.out) == (0, True), str(bootstrap)
    assert (rights.code, "there is nothing to create" in rights.err) == (78, True), str(rights)
    assert "succeeded" in history
    assert made.leftovers() == []


def test_a_tfguard_inside_a_run_works_under_its_lock_and_one_elsewhere_on_its_own_state(stage: Make) -> None:
    """What was pinned for Terraform (data directory, address) is for no tfguard that it starts."""
    other = stage("gitlab", text=STILL, name="other")
    command = f"{sys.executable} -m tfguard"
    work = f"{command} plan -input=false && cd {other.path} && {command} apply -auto-approve -input=false"
    made = stage("gitlab", text='resource "terraform_data" "first" {}\n')
    first = made.tfguard(*APPLY)
    made.write(
        f"""
        resource "terraform_data" "first" {{}}
        resource "terraform_data" "second" {{
          provisioner "local-exec" {{
            command = "{work}"
          }}
        }}
        """
    )
    made.init()

    second = made.tfguard("apply", "-auto-approve", "-input=false", "-target=terraform_data.second")

    assert (first.code, second.code) == (0, 0), f"{first}{second}"
    assert other.resources() == ["terraform_data.a", "terraform_data.b"]
    assert made.leftovers() == other.leftovers() == []
