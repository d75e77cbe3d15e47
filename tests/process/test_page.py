"""The page that front, keeper, sentinel and shim share: what one writes, all know at once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.eventually import patience
from tfguard.process import family
from tfguard.process.page import Page


@pytest.fixture
def page():
    made = Page.create()
    yield made
    os.close(made.descriptor)


def test_a_new_page_tells_of_no_program_and_of_nothing_that_has_to_stop(page):
    assert page.program() is None
    assert page.safe_until == page.freeze_timeout == float("inf")
    assert not page.is_signalled


def test_what_one_process_writes_another_reads(page):
    code = "import sys; from tfguard.process.page import Page; Page(int(sys.argv[1])).safe_until = 123.25"

    subprocess.run([sys.executable, "-c", code, str(page.descriptor)], pass_fds=[page.descriptor], check=True)

    assert page.safe_until == 123.25


def test_a_program_is_known_by_its_pid_and_its_start(page):
    page.enter(os.getpid())

    assert page.program() == (os.getpid(), family.started_at(os.getpid()))


def test_another_process_that_has_got_its_pid_is_not_taken_for_it(page, monkeypatch):
    page.enter(os.getpid())
    start = family.started_at(os.getpid())

    monkeypatch.setattr(family, "started_at", lambda pid: start + 1)

    assert page.program() is None


def test_a_program_that_has_ended_is_still_known_until_it_is_reaped(page):
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    page.enter(process.pid)
    process.stdout.read()

    assert page.program().pid == process.pid
    process.wait(patience(30))
    process.stdout.close()
    assert page.program() is None


def test_the_runs_folder_goes_with_all_that_is_in_it_and_nothing_that_a_link_in_it_leads_to(page, tmp_path):
    folder, real = tmp_path / "tfguard-x", tmp_path / "modules"
    folder.mkdir()
    real.mkdir()
    (real / "main.tf").touch()
    (folder / "modules").symlink_to(real)
    page.folder = str(folder)

    page.remove_folder()

    assert (page.folder, list(tmp_path.iterdir()), list(real.iterdir())) == ("", [real], [real / "main.tf"])


def test_a_path_that_does_not_fit_is_no_folder_of_ours(page, tmp_path):
    page.folder = str(tmp_path / ("x" * 4000))

    page.remove_folder()

    assert (page.folder, tmp_path.exists()) == ("", True)


def test_the_one_signal_of_a_program_is_claimed_once(page):
    assert [page.claim_signal(), page.claim_signal()] == [True, False]

    page.clear()

    assert page.claim_signal()


def test_of_many_who_claim_at_once_one_gets_it(page):
    code = (
        "import sys; from tfguard.process.page import Page; page = Page(int(sys.argv[1])); input();"
        " print(page.claim_signal())"
    )
    claimants = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(page.descriptor)],
            pass_fds=[page.descriptor],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]

    for claimant in claimants:
        claimant.stdin.write("\n")
        claimant.stdin.flush()

    said = [claimant.communicate(timeout=patience(30))[0] for claimant in claimants]
    assert said.count("True\n") <= 1
    assert page.is_signalled
