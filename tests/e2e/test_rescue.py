"""A state that Terraform could not save is brought home, or kept, and never run over."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import GATED, SHORT_LEASE, Backend, Result, Stage
from tests.e2e.operated import guarded, keeper_of, kill_all_of, kill_front_of, kill_keeper_of
from tests.e2e.refusing import Refusing, refusing
from tests.support.eventually import eventually, patience
from tfguard.backends.aws.dynamodb import BEAT

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
Pair = tuple[Stage, Refusing]


@pytest.fixture
def gated(stage: Make) -> Iterator[Callable[..., Pair]]:
    """Make a stage whose store can be told to deny requests, and whose work waits for its gate."""
    with ExitStack() as stack:

        def make(backend: Backend, service: str = "s3") -> Pair:
            made = stage(backend, is_initialised=False, text=GATED)
            proxy = stack.enter_context(refusing(made.endpoints[service]))
            made.endpoints[service] = proxy.endpoint
            made.write(GATED)
            return made.init(), proxy

        yield make


def apply(made: Stage, during: Callable[[], None]) -> Result:
    """Apply, do something while it works, let it end."""
    process = made.start_tfguard("apply", "-auto-approve")
    made.wait_for_log("begin")
    during()
    made.open_gate()
    out, err = process.communicate(timeout=patience(30))
    return Result(process.returncode, out, err)


def errored(made: Stage) -> Path:
    return made.path / "errored.tfstate"


def test_an_errored_state_is_pushed_to_the_locked_state_whatever_is_initialised_meanwhile(
    stage: Make,
) -> None:
    made = stage("s3", is_initialised=False, text=GATED)
    with refusing(made.endpoints["s3"]) as proxy:
        made.endpoints["s3"] = proxy.endpoint
        block = made.backend_block()
        (made.path / "backend.tf").write_text("".join(line for line in block.splitlines(True) if "  key " not in line))
        assert made.terraform("init", "-input=false", f"-backend-config=key={made.key}").code == 0

        def during() -> None:
            deny_state_at_first(made, proxy)
            made.terraform("init", "-input=false", "-reconfigure", "-backend-config=key=other")

        result = apply(made, during)

    assert "Failed to save state" in result.err, str(result)
    assert made.resources() == ["terraform_data.work"]
    assert "other" not in made.objects()
    assert "was initialised for another backend while Terraform ran" in result.err


def is_state_write(made: Stage, method: str, path: str) -> bool:
    return method == "PUT" and path.endswith(made.key)


def deny_state(made: Stage, proxy: Refusing) -> None:
    proxy.refuse = lambda method, path, _: is_state_write(made, method, path)


def deny_state_at_first(made: Stage, proxy: Refusing, pushes: int = 0) -> None:
    """Deny Terraform's own writes of the state, and so many of our pushes."""
    denied: list[str] = []

    def refuse(method: str, path: str, _: str) -> bool:
        if not is_state_write(made, method, path):
            return False
        if errored(made).exists():
            denied.append(path)
            return len(denied) <= pushes
        return True

    proxy.refuse = refuse


def holding_up_the_push(
    made: Stage, is_pushing: threading.Event, may_land: threading.Event
) -> Callable[[str, str, str], bool]:
    """Deny Terraform's own writes of the state, and let our push wait on its way."""

    def refuse(method: str, path: str, _: str) -> bool:
        if not is_state_write(made, method, path):
            return False
        if not errored(made).exists():
            return True
        is_pushing.set()
        may_land.wait(patience(30))
        return False

    return refuse


def beat_of(made: Stage) -> int:
    """The number of the lock's last heartbeat, -1 where there is no lock."""
    item = made.dynamodb.item(made.table, f"{made.bucket}/{made.key}")
    return int(item[BEAT]["N"]) if item else -1


def assert_short(result: Result) -> None:
    assert all(len(line) <= 120 for line in result.err.splitlines() if "run.finished" not in line), str(result)


@pytest.mark.parametrize("backend", ["dynamodb", "s3", "both"])
def test_an_errored_state_is_pushed_under_the_same_lock(gated: Callable[..., Pair], backend: Backend) -> None:
    made, proxy = gated(backend)

    result = apply(made, lambda: deny_state_at_first(made, proxy))

    assert result.code == 1, str(result)
    assert "it has been pushed now, under the same lock" in result.err
    assert made.resources() == ["terraform_data.work"]
    assert not errored(made).exists()
    assert len(list(made.path.glob("errored.tfstate.pushed-*"))) == 1
    assert made.locks() == []
    proxy.refuse = lambda *_: False
    assert made.tfguard("apply", "-auto-approve").code == 0


def test_pushing_is_tried_again(gated: Callable[..., Pair]) -> None:
    made, proxy = gated("s3")

    result = apply(made, lambda: deny_state_at_first(made, proxy, pushes=2))

    assert "it has been pushed now" in result.err, str(result)
    assert made.resources() == ["terraform_data.work"]


def test_a_keeper_without_a_front_pushes_too(gated: Callable[..., Pair]) -> None:
    made, proxy = gated("dynamodb")
    with guarded(made) as process:
        deny_state_at_first(made, proxy)

        kill_front_of(process)
        eventually(lambda: not made.locks(), 60, "the lock released")

    assert made.resources() == ["terraform_data.work"]
    assert not errored(made).exists()


def test_a_push_whose_keeper_is_frozen_is_frozen_by_the_front(gated: Callable[..., Pair]) -> None:
    made, proxy = gated("dynamodb")
    is_pushing, may_land = threading.Event(), threading.Event()

    with guarded(made) as process:
        proxy.refuse = holding_up_the_push(made, is_pushing, may_land)
        made.open_gate()
        assert is_pushing.wait(patience(30))
        keeper = keeper_of(process.pid)
        assert keeper is not None
        (push,) = [each for each in keeper.children() if each.name() == "terraform"]

        keeper.suspend()
        eventually(lambda: push.status() == psutil.STATUS_STOPPED, 30, "the push frozen")
        keeper.resume()
        eventually(lambda: push.status() != psutil.STATUS_STOPPED, 30, "the push going on")
        may_land.set()
        _, err = process.communicate(timeout=patience(30))

    assert "it has been pushed now, under the same lock" in err
    assert made.locks() == []
    assert made.resources() == ["terraform_data.work"]


def test_a_keeper_that_dies_while_it_pushes_leaves_a_lock_that_waits_for_the_push(gated: Callable[..., Pair]) -> None:
    made, proxy = gated("dynamodb")
    is_pushing, may_land = threading.Event(), threading.Event()

    with guarded(made) as process:
        proxy.refuse = holding_up_the_push(made, is_pushing, may_land)
        made.open_gate()
        assert is_pushing.wait(patience(30))

        kill_keeper_of(process.pid)
        beaten = beat_of(made)
        eventually(lambda: beat_of(made) > beaten + 4, 30, "its successor beating while the push is on its way")
        may_land.set()
        _, err = process.communicate(timeout=patience(30))

    assert made.locks() == []
    assert made.resources() == ["terraform_data.work"]
    # The successor knows that this file is the run's own. Terraform takes the first state of all no second time.
    assert "Terraform could not save its state, nor could it be pushed: cannot import state" in err


def test_what_cannot_be_pushed_is_kept_and_stops_the_next_run(gated: Callable[..., Pair]) -> None:
    made, proxy = gated("dynamodb")

    result = apply(made, lambda: deny_state(made, proxy))
    unlocked = made.locks()
    copies = [each["Key"] for each in made.s3.client.list_objects_v2(Bucket=made.bucket)["Contents"]]
    copy = next(key for key in copies if ".errored." in key)
    unsaved = errored(made).read_bytes()
    proxy.refuse = lambda *_: False
    with_file = made.tfguard("apply", "-auto-approve")
    errored(made).unlink()
    on_another_runner = made.tfguard("apply", "-auto-approve")

    assert result.code == 1, str(result)
    assert f"A copy is kept: s3://{made.bucket}/{copy}" in result.err
    assert "To finish the job: tfguard state push errored.tfstate" in result.err
    assert made.s3.body(made.bucket, copy) == unsaved
    assert unlocked == []
    assert (with_file.code, on_another_runner.code) == (78, 78), f"{with_file} {on_another_runner}"
    assert "tfguard state push errored.tfstate" in with_file.err
    assert f"aws s3 cp s3://{made.bucket}/{copy} errored.tfstate" in on_another_runner.err
    assert made.locks() == []
    for each in (result, with_file, on_another_runner):
        assert_short(each)

    errored(made).write_bytes(unsaved)
    pushed = made.tfguard("state", "push", "errored.tfstate")

    assert pushed.code == 0, str(pushed)
    assert made.resources() == ["terraform_data.work"]
    assert not errored(made).exists()
    assert made.tfguard("apply", "-auto-approve").code == 0


def test_a_run_goes_on_if_told_to_or_once_the_copy_is_removed(gated: Callable[..., Pair]) -> None:
    made, proxy = gated("s3")
    apply(made, lambda: deny_state(made, proxy))
    proxy.refuse = lambda *_: False

    told_to = made.tfguard("--ignore-errored-state", "apply", "-auto-approve")
    refused = made.tfguard("apply", "-auto-approve")
    errored(made).unlink()
    for each in made.s3.client.list_objects_v2(Bucket=made.bucket)["Contents"]:
        if ".errored." in each["Key"]:
            made.s3.client.delete_object(Bucket=made.bucket, Key=each["Key"])
    removed = made.tfguard("apply", "-auto-approve")

    assert (told_to.code, refused.code, removed.code) == (0, 78, 0), f"{told_to}{refused}{removed}"


def test_after_a_lost_lock_nothing_is_pushed(gated: Callable[..., Pair]) -> None:
    made, proxy = gated("s3")

    def lose() -> None:
        deny_state_at_first(made, proxy)
        lock_id = made.wait_for_lock()["ID"]
        unlocked = made.tfguard("unlock", "--id", lock_id, "--yes", "--force", "--reason", "a test")
        assert unlocked.code == 0, str(unlocked)

    process = made.start_tfguard("apply", "-auto-approve", TFGUARD_LOCK_LEASE="12s")
    made.wait_for_log("begin")
    lose()
    _, err = process.communicate(timeout=patience(30))

    assert process.returncode == 76, err
    assert "the lock was lost, so it was not pushed" in err
    assert errored(made).exists()
    assert made.state() is None


def test_an_errored_state_of_a_plain_terraform_stops_a_run_too(stage: Make) -> None:
    made = stage("local")
    errored(made).write_text("{}")

    result = made.tfguard("apply", "-auto-approve")

    assert result.code == 78, str(result)
    assert "errored.tfstate is here" in result.err
    assert made.resources() == []


def test_after_a_takeover_a_wrong_digest_is_named_with_its_remedy(stage: Make) -> None:
    made = stage("dynamodb")
    with guarded(made, lease=SHORT_LEASE) as process:
        kill_all_of(process)
    item = f"{made.bucket}/{made.key}-md5"
    made.s3.client.put_object(Bucket=made.bucket, Key=made.key, Body=b"{}")
    wrong = {"LockID": {"S": item}, "Digest": {"S": "0" * 32}}
    made.dynamodb.client.put_item(TableName=made.table, Item=wrong)

    result = made.tfguard("plan", "-input=false")

    actual = hashlib.md5(b"{}", usedforsecurity=False).hexdigest()
    assert result.code == 1, str(result)
    assert "the state does not match its digest" in result.err
    assert f"The state's MD5 is {actual}; table {made.table} says {'0' * 32}" in result.err
    assert "If that state is the right one: tfguard doctor --repair-digest" in result.err
    assert "run tfguard doctor --repair-digest, else" in result.err.splitlines()[-1]  # 10 s later


def test_a_release_that_is_refused_says_until_when_and_what_to_do(gated: Callable[..., Pair]) -> None:
    made, proxy = gated("dynamodb", "dynamodb")
    process = made.start_tfguard("apply", "-auto-approve", TFGUARD_LOCK_LEASE=SHORT_LEASE)
    made.wait_for_log("begin")
    lock_id = made.wait_for_lock()["ID"]
    proxy.refuse = lambda method, path, action: action == "DeleteItem"

    made.open_gate()
    _, err = process.communicate(timeout=patience(30))
    proxy.refuse = lambda *_: False
    unlocked = made.tfguard("unlock", "--id", lock_id, "--yes")

    assert process.returncode == 0, err
    assert "the lock could not be released" in err
    assert f"{SHORT_LEASE} after its last heartbeat" in err
    assert f"unlock --id {lock_id}" in err
    assert unlocked.code == 0, str(unlocked)
    assert made.locks() == []
