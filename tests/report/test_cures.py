"""A failure that is known names its cure, by what Terraform 1.11.4 and OpenTofu 1.6.2 have really printed."""

from __future__ import annotations

from pathlib import Path

import pytest

import tests.terraform
from tests.report.page import Rendered
from tfguard.report.said import Said
from tfguard.report.summary import Page, render

TEXTS = Path(next(iter(tests.terraform.__path__))) / "texts"
FAILURES = sorted((TEXTS / "failures").glob("*.txt"))
#: What each of them is cured by, at its beginning.
CURED = {
    "newer-state": "The state was written by a newer version",
    "backend-changed": "The backend has changed:",
    "init-needed": "The directory is not initialised",
    "provider": "The directory is not initialised",
    "module": "The directory is not initialised",
    "lock-file": "Lock file and configuration differ",
    "no-credentials": "There are no credentials here",
}


@pytest.mark.parametrize("path", FAILURES, ids=lambda path: path.stem)
def test_what_really_happened_is_recognised(path: Path) -> None:
    assert Said(path.read_text()).cure.startswith(CURED[path.name.split(".")[0]])


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        (
            (
                "Error: error loading state: state snapshot was created by Terraform v1.12.0,\nwhich is newer than "
                "current v1.11.4; upgrade to Terraform v1.12.0 or greater"
            ),
            "The state was written by a newer",
        ),
        (
            "│ Error: reading S3 Bucket: api error ExpiredToken: The\n│ provided token has expired.",
            "The credentials have",
        ),
        (
            "│ Error: Error loading state:\n│     state data in S3 does not have the expected content.\n│ \n│ The",
            "The state does not match its digest: if it is the right one",
        ),
        ("Error: Provider dependency changes detected\n\nChanges to the required", "The lock file in git"),
        (
            (
                "Error: Failed to install provider\n\nthe local package doesn't match any of the\nchecksums previously "
                "recorded in the dependency lock file (this might be"
            ),
            "The lock file has no checksum",
        ),
        ("Error: No valid credential sources found\n\nError: refresh cached SSO token failed", "The credentials have"),
        ('Error: Get "x": oauth2: "invalid_grant" "Token has been expired or revoked."', "The credentials have"),
        ("Error: listing S3: api error InvalidAccessKeyId: The AWS Access Key Id", "The credentials are not accepted"),
        ('Error: pq: password authentication failed for user "x"', "The credentials are not accepted"),
        ("Error: HTTP remote state endpoint requires auth", "The credentials are not accepted"),
        ("Error: Unauthorized", "The credentials are not accepted"),
        ("Error: Attempted to load application default credentials since neither `credentials`", "There are no"),
    ],
)
def test_what_needs_a_cloud_is_recognised_by_what_its_source_says(text: str, begins: str) -> None:
    assert Said(text).cure.startswith(begins)


@pytest.mark.parametrize(
    "text",
    [
        (TEXTS / "failed.txt").read_text(),
        (TEXTS / "plan.txt").read_text(),
        "x (local-exec): Error: Module not installed",
        "Warning: Inconsistent dependency lock file\n\nhm",
        "Error: Resource postcondition failed\n\nModule not installed: no valid credential sources found",
        "Error: local-exec provisioner error\n\nError running command: exit 1. Output:\nError: Module not installed",
        "╷\n│ Error: local-exec provisioner error\n│ \n│ Output: \n│ \n│ Error: Module not installed\n╵",
        "Error: verifying a webhook: the JWT token is expired",
        "Error: Unauthorized use of x",
        "",
    ],
)
def test_of_what_is_not_known_nothing_is_said(text: str) -> None:
    assert Said(text).cure == ""


def test_the_page_names_it_behind_the_error_and_only_where_the_run_failed() -> None:
    text = (TEXTS / "failures" / "lock-file.terraform.txt").read_text()

    told = [each for _, each in Rendered(render(Page("prod", "failed", 1, command="plan", text=text))).outline]

    assert told[1].startswith("Error: Inconsistent dependency lock file")
    assert told[2] == "Lock file and configuration differ: run tfguard init, and commit .terraform.lock.hcl."
    assert "and commit" not in render(Page("prod", "succeeded", 0, command="plan", text=text))
