from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.kinds import record
from tests.support.eventually import eventually
from tfguard.backends import local
from tfguard.backends.local.spec import LocalSpec
from tfguard.backends.local.store import LocalStore
from tfguard.errors import Conflict, StoreDenied, StoreMisconfigured
from tfguard.lock.store import QueueRecord

CONFIGURATION = """
resource "terraform_data" "slow" {
  triggers_replace = [timestamp()]
  provisioner "local-exec" { command = "touch running; while [ ! -e go ]; do sleep 0.05; done" }
}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "main.tf").write_text(CONFIGURATION)
    return tmp_path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    made = LocalStore(spec(tmp_path))
    yield made
    made.close()


def spec(directory: Path) -> LocalSpec:
    return LocalSpec(path=str(directory / "terraform.tfstate"))


def terraform(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["terraform", *arguments], cwd=directory, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


needs_terraform = pytest.mark.usefixtures("real_terraform")


@pytest.mark.e2e
@needs_terraform
def test_a_plain_terraform_is_refused_and_names_our_holder(directory: Path, store: LocalStore) -> None:
    terraform(directory, "init")
    held = store.create(record())

    refused = terraform(directory, "plan", "-no-color")
    allowed = terraform(directory, "plan", "-lock=false", "-no-color")

    assert refused.returncode == 1
    assert held.id in refused.stderr
    assert "ana@ci-7" in refused.stderr
    assert allowed.returncode == 0


@pytest.mark.e2e
@needs_terraform
def test_a_plain_terraforms_lock_is_seen_and_never_taken(directory: Path, store: LocalStore) -> None:
    terraform(directory, "init")
    with subprocess.Popen(
        ["terraform", "apply", "-auto-approve"], cwd=directory, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as run:
        eventually((directory / "running").exists, 60, "the apply to run")

        seen = store.read()
        with pytest.raises(Conflict):
            store.create(record())
        (directory / "go").touch()
        run.wait(60)

    assert seen is not None
    assert seen.info is not None
    assert seen.info.operation == "OperationTypeApply"
    assert store.read() is None
    store.create(record())  # and now it can be had


def test_the_lock_outlives_its_first_holder_in_a_duplicate(store: LocalStore, tmp_path: Path) -> None:
    held = store.create(record())
    duplicate = os.dup(store.fileno())
    os.close(store.fileno())
    store._fd = -1  # as if the keeper had been killed

    successor = LocalStore.adopt(spec(tmp_path), duplicate)

    with pytest.raises(Conflict):
        LocalStore(spec(tmp_path)).create(record())
    found = successor.read()
    assert found is not None
    assert found.text == held.text
    successor.delete(found)
    assert store.read() is None


def test_a_release_frees_the_lock_though_somebody_keeps_a_duplicate(store: LocalStore, tmp_path: Path) -> None:
    held = store.create(record())
    duplicate = os.dup(store.fileno())

    store.delete(held)

    assert LocalStore(spec(tmp_path)).read() is None
    os.close(duplicate)


def test_other_openings_of_the_state_file_do_not_drop_the_lock(store: LocalStore, tmp_path: Path) -> None:
    store.create(record())

    (tmp_path / "terraform.tfstate").read_bytes()

    assert LocalStore(spec(tmp_path)).read() is not None


def test_leftover_lock_info_is_no_lock(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / ".terraform.tfstate.lock.info").write_text(record().text)
    (tmp_path / "terraform.tfstate").touch()

    assert store.read() is None


def test_a_held_lock_without_lock_info_is_mute(store: LocalStore, tmp_path: Path) -> None:
    store.create(record())
    (tmp_path / ".terraform.tfstate.lock.info").unlink()

    seen = LocalStore(spec(tmp_path)).read()

    assert seen is not None
    assert (seen.text, seen.info) == ("", None)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux's file leases")
def test_nothing_is_left_of_a_state_file_that_we_made(store: LocalStore, tmp_path: Path) -> None:
    store.delete(store.create(record()))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{}"], ids=["empty", "filled"])
def test_a_state_file_that_was_there_stays(store: LocalStore, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "terraform.tfstate").write_bytes(content)

    store.delete(store.create(record()))

    assert (tmp_path / "terraform.tfstate").read_bytes() == content


def test_a_state_file_that_terraform_filled_stays(store: LocalStore, tmp_path: Path) -> None:
    held = store.create(record())
    (tmp_path / "terraform.tfstate").write_bytes(b"{}")

    store.delete(held)

    assert (tmp_path / "terraform.tfstate").read_bytes() == b"{}"


def test_an_empty_state_file_that_somebody_else_has_open_stays(store: LocalStore, tmp_path: Path) -> None:
    """A waiting Terraform would write its state into a file without a name."""
    held = store.create(record())

    with open(tmp_path / "terraform.tfstate", "rb"):
        store.delete(held)

    assert (tmp_path / "terraform.tfstate").exists()


def test_lock_info_is_for_its_owner_alone(store: LocalStore, tmp_path: Path) -> None:
    store.create(record())
    store.write_queue(None, QueueRecord(text="{}", revision=1))

    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob(".terraform.tfstate.*")}

    assert modes == {".terraform.tfstate.lock.info": 0o600, ".terraform.tfstate.tfguard": 0o600}


def test_a_garbage_queue_file_can_be_replaced(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / ".terraform.tfstate.tfguard").write_bytes(b"\xff{")
    seen = store.read_queue()

    store.write_queue(seen, QueueRecord(text="{}", revision=1))

    assert store.read_queue() == QueueRecord(text="{}", revision=1)


def test_a_lock_path_that_is_a_directory_is_a_matter_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(StoreMisconfigured, match=r"^Cannot lock /.*Is a directory"):
        LocalStore(LocalSpec(path=str(tmp_path))).create(record())


def test_a_fifo_in_place_of_lock_info_hangs_nobody(store: LocalStore, tmp_path: Path) -> None:
    store.create(record())
    info = tmp_path / ".terraform.tfstate.lock.info"
    info.unlink()
    os.mkfifo(info)

    seen = LocalStore(spec(tmp_path)).read()

    assert seen is not None
    assert seen.info is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_we_may_not_write_denies_us(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(StoreDenied, match="Let this user write there"):
        LocalStore(spec(tmp_path)).create(record())


def test_a_directory_removed_under_the_lock_is_not_brought_back(tmp_path: Path) -> None:
    """That is what `workspace delete` does: a directory made anew would be the workspace again."""
    directory = tmp_path / "terraform.tfstate.d" / "stage"
    store = LocalStore(spec(directory))
    held = store.create(record())
    shutil.rmtree(directory)

    with pytest.raises(StoreMisconfigured, match="Cannot write beside"):
        store.write_queue(None, QueueRecord(text="{}", revision=1))
    store.delete(held)

    assert not directory.exists()


def test_the_lock_of_a_state_file_that_was_removed_meanwhile_is_none(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever held it may remove an empty one between our open and our lock: then the next to come is not kept out."""
    real, removed = local.store._set_lock, list[int]()

    def remove_and_lock(fd: int, *kind: int) -> None:
        if not removed:
            removed.append(fd)
            (tmp_path / "terraform.tfstate").unlink()
        real(fd, *kind)

    monkeypatch.setattr(local.store, "_set_lock", remove_and_lock)
    store.create(record())

    with pytest.raises(Conflict):
        LocalStore(spec(tmp_path)).create(record())
    assert removed


def test_a_store_that_is_closed_frees_its_lock_though_somebody_keeps_a_duplicate(
    store: LocalStore, tmp_path: Path
) -> None:
    store.create(record())
    duplicate = os.dup(store.fileno())

    store.close()

    assert LocalStore(spec(tmp_path)).read() is None
    os.close(duplicate)
