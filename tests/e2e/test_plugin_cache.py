"""Pipelines that share a plugin cache: their inits take turns, and what a race broke all the same is tried again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import zipfile
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.running import running
from tfguard.run.cache_turn import NAME

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
USES = """
terraform {
  required_providers {
    fake = { source = "example.com/test/fake" }
  }
}
"""
TWO = "version: 1\npipelines:\n  a: {dir: a}\n  b: {dir: b}\n"
PROVIDER = "terraform-provider-fake_v1.0.0"


@pytest.fixture
def two(stage: Make) -> Stage:
    """Two pipelines that need a provider, a mirror that has it, and a cache. No init runs a provider, so it is none."""
    made = stage("local", is_initialised=False)
    place = made.path.parent
    packed = place / "mirror/example.com/test/fake/terraform-provider-fake_1.0.0_linux_amd64.zip"
    packed.parent.mkdir(parents=True)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(PROVIDER, "#!/bin/sh\n")
    rc = f'provider_installation {{\n  filesystem_mirror {{\n    path = "{place}/mirror"\n  }}\n}}\n'
    (place / "rc").write_text(f'{rc}plugin_cache_dir = "{place}/cache"\n')
    (place / "cache").mkdir()
    for name in ("a", "b"):
        (made.path / name).mkdir()
        (made.path / name / "main.tf").write_text(USES)
    (made.path / "tfguard.yml").write_text(TWO)
    made.environ["TF_CLI_CONFIG_FILE"] = str(place / "rc")
    return made


def watched(made: Stage, text: str) -> None:
    """Put a script around Terraform."""
    script = made.path.parent / "watched"
    script.write_text(f'#!/bin/sh\nreal() {{ {shutil.which("terraform")} "$@"; }}\n{text}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    made.environ["TFGUARD_TERRAFORM"] = str(script)


@contextlib.contextmanager
def held(made: Stage) -> Iterator[Callable[[], None]]:
    """Work in the cache, as another init would, until the function is called that this gives."""
    with open(made.path.parent / "cache" / NAME, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.close


def log(made: Stage) -> list[str]:
    path = made.path / "log"
    return path.read_text().split() if path.exists() else []


def test_two_inits_at_once_fill_the_cache_one_after_the_other(two: Stage) -> None:
    watched(two, f'echo begin >> {two.path}/log; real "$@"; s=$?; echo end >> {two.path}/log; exit $s')
    start = two.start_tfguard

    with held(two) as let_go, running(start("-p", "a", "init")) as a, running(start("-p", "b", "init")) as b:
        for each in (a, b):
            each.wait_for("works in the plugin cache: waiting for it.")
        before = log(two)
        let_go()
        ended = [a.end(), b.end()]

    assert before == []
    assert [result.code for result in ended] == [0, 0], "\n".join(map(str, ended))
    assert log(two) == ["begin", "end", "begin", "end"]
    assert list((two.path.parent / "cache").glob(f"example.com/test/fake/1.0.0/*/{PROVIDER}"))


def test_a_cancel_ends_the_wait_and_terraform_is_never_started(two: Stage) -> None:
    watched(two, f'echo begin >> {two.path}/log; real "$@"')

    with held(two), running(two.start_tfguard("-p", "a", "init")) as ours:
        ours.wait_for("works in the plugin cache")
        os.kill(ours.pid, signal.SIGTERM)
        result = ours.end()

    assert result.code == -signal.SIGTERM, str(result)
    assert log(two) == []


def test_who_takes_too_long_is_not_waited_for_any_longer(two: Stage) -> None:
    with held(two):
        result = two.tfguard("-p", "a", "--lock-timeout", "0s", "init", "-no-color")

    assert result.code == 0, str(result)
    assert "going on beside it." in result.err


def test_a_cache_that_cannot_be_locked_is_used_as_before(two: Stage) -> None:
    (two.path.parent / "cache" / NAME).mkdir()  # As where it is somebody else's: it cannot be opened.

    result = two.tfguard("-p", "a", "init", "-no-color")

    assert (result.code, result.err) == (0, ""), str(result)


def test_a_race_with_somebody_elses_init_is_tried_again(two: Stage) -> None:
    frame = r"│ Error: Failed to install provider\n│ Error while installing x v1: open /c/p_x5: text\n│ file busy\n╵\n"
    fails = f'echo begin >> {two.path}/log; printf "{frame}" >&2; exit 1'
    watched(two, f'test -e {two.path}/log || {{ {fails}; }}; real "$@"')

    result = two.tfguard("-p", "a", "init", "-no-color")

    assert result.code == 0, str(result)
    assert "init failed for what another try may cure: trying again." in result.err
