"""
Applies one after another in directories that somebody edits all the time: each writes the state that it has locked.

Short here; `TFGUARD_EDITS_SECONDS=600` is the long form.
"""

from __future__ import annotations

import collections
import os
import random
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import TFGUARD, Stage, base_environ

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = float(os.environ.get("TFGUARD_EDITS_SECONDS", "6"))
RUNNERS = 3
WORKSPACES = ("default", "dev", "prod")
#: While it works: does the lock of the very state that it writes name the run that started it?
CHECK = 'grep -q "$TFGUARD_LOCK_ID" "$1/.terraform.tfstate.lock.info" && echo right >> log || echo wrong >> log\n'
TEXT = """
locals {
  place = terraform.workspace == "default" ? "." : "terraform.tfstate.d/${terraform.workspace}"
}
resource "terraform_data" "work" {
  triggers_replace = [timestamp()]
  provisioner "local-exec" {
    command = "sh ../check ${local.place}"
  }
}
"""


def _stack(path: Path, environ: dict[str, str]) -> Stage:
    path.mkdir()
    made = Stage(path, "local", environ)
    made.write(TEXT)
    for name in WORKSPACES[1:]:
        assert made.terraform("workspace", "new", name).code == 0
    return made


def test_each_apply_writes_the_state_that_it_has_locked(tmp_path: Path) -> None:
    environ = dict(base_environ(tmp_path))
    stacks = [_stack(tmp_path / name, environ) for name in ("one", "two")]
    (tmp_path / "check").write_text(CHECK)
    here = Stage(tmp_path, "local", environ)
    link = tmp_path / "current"
    link.symlink_to(stacks[0].path)
    until, codes = time.monotonic() + SECONDS, collections.Counter[int]()
    said: list[str] = []

    def apply() -> None:
        result = here.run([*TFGUARD, "-chdir=current", "apply", "-auto-approve", "-input=false"])
        codes[result.code] += 1
        said.append(result.err)

    def apply_again_and_again() -> None:
        while time.monotonic() < until:
            apply()

    runners = [threading.Thread(target=apply_again_and_again) for _ in range(RUNNERS)]
    for runner in runners:
        runner.start()
    edits = 0
    while time.monotonic() < until:
        edits += 1
        if random.random() < 0.3:
            fresh = tmp_path / "fresh"
            fresh.symlink_to(random.choice(stacks).path)
            fresh.rename(link)
        else:
            chosen = random.choice(stacks).path / ".terraform/environment"
            fresh = chosen.with_name("fresh")
            fresh.write_text(random.choice(WORKSPACES))
            fresh.rename(chosen)
        time.sleep(random.expovariate(2))
    for runner in runners:
        runner.join()
    apply()  # Now that it rests.

    words = collections.Counter(word for each in stacks for word in _log(each))
    again = sum("starting over" in text for text in said)
    figures = f"{edits} edits, {codes[0]} applies, {codes[78]} refused, {again} started over, {words['wrong']} wrong"
    print(f"figures: {figures}")
    assert set(codes) <= {0, 78}, said
    assert codes[0] > 0
    assert (words["wrong"], words["right"]) == (0, codes[0])
    assert [each.leftovers() for each in stacks] == [[], []]


def _log(made: Stage) -> list[str]:
    path = made.path / "log"
    return path.read_text().split() if path.exists() else []
