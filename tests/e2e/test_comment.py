"""A comment on a pull request, by a real run: after the release, with a token that Terraform never sees."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import TFGUARD, Stage
from tests.report.comments import Site, served

pytestmark = pytest.mark.e2e

TOKEN = "ghs_only-for-the-comment"
TEXT = """
resource "terraform_data" "it" {
  provisioner "local-exec" {
    command = <<-EOT
      env > seen
      for each in $PPID $(awk '/^PPid/ {print $2}' /proc/$PPID/status); do cat /proc/$each/environ >> seen; done
    EOT
  }
}
"""


def test_a_run_is_told_in_a_comment_when_its_lock_is_free_again(stage: Callable[..., Stage]) -> None:
    made = stage("local", text=TEXT)
    job = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": "acme/infra",
        "GITHUB_REF": "refs/pull/5/merge",
        "GITHUB_RUN_ID": "9",
        "TFGUARD_COMMENT": "1",
        "TFGUARD_COMMENT_TOKEN": TOKEN,
    }
    was_locked = []

    class Watching(Site):
        def answer(self, *asked: object) -> tuple[int, object]:
            was_locked.append((made.path / ".terraform.tfstate.lock.info").exists())
            return super().answer(*asked)  # type: ignore[arg-type]

    with served(Watching("github")) as site:
        planned = made.tfguard("plan", "-no-color", **job, GITHUB_API_URL=site.url)
        first = site.bodies
        applied = made.run([*TFGUARD, "apply", "-no-color", "-auto-approve"], **job, GITHUB_API_URL=site.url)
        site.refuses = {"PATCH": 403}
        refused = made.tfguard("plan", "-no-color", **job, GITHUB_API_URL=site.url)

    assert (planned.code, applied.code, refused.code) == (0, 0, 0), f"{planned}{applied}{refused}"
    assert "to add" in first[0] and "Plan" in first[0]
    assert len(site.bodies) == 1 and "Applied" in site.bodies[0]
    assert "no comment was written: the token may not (HTTP 403)" in refused.err
    assert was_locked and not any(was_locked)
    seen = (made.path / "seen").read_text()  # What Terraform has, and what the keeper was started with.
    assert TOKEN not in seen + planned.out + planned.err + applied.out + applied.err
    assert seen.count("GITHUB_RUN_ID=9") == 3 and "TFGUARD_COMMENT_TOKEN" not in seen
