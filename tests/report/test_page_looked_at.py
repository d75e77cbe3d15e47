"""
A run's page in a browser: at the width of a desk and of a phone, light and dark.

GitHub's own style is not here. The stand-in has what decides about width: its column, its fonts' sizes, how it breaks
`code`, scrolls `pre` and shows tables. With TFGUARD_SCREENSHOTS the pictures are kept in that folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import tests.terraform
from tests.support.browser import Browser, windows
from tfguard.ci.commit import Commit
from tfguard.report.summary import Page, render
from tfguard.terraform.plan_json import PlannedChanges, read_closing
from tfguard.terraform.plan_text import read_text

SHOTS = os.environ.get("TFGUARD_SCREENSHOTS")
TEXTS = Path(next(iter(tests.terraform.__path__))) / "texts"
PLAN = (TEXTS / "plan.txt").read_text()
OUTSIDE = (
    "Note: Objects have changed outside of Terraform\n\n"
    '  # aws_instance.web["a b"] has changed\n  ~ resource "aws_instance" "web" {\n      ~ size = "a" -> "b"\n    }\n\n'
    + "─" * 77
    + "\n"
)
DONE = "terraform_data.gone: Destruction complete after 0s\nterraform_data.rep: Destruction complete after 0s\n"
ERROR = "╷\n│ Error: creating x: AccessDenied\n│ \n│   on main.tf line 7:\n│    7: x\n│ \n│ No permission.\n╵\n"
REST = "terraform_data.rep: Creation complete after 0s\n\nApply complete! Resources: 1 added, 0 changed, 2 destroyed.\n"
LONG = 'module.a_very_long_module_name["eu-central-1/production"].aws_iam_role_policy_attachment.' + "x" * 200
WHO = {
    "who": "ana@ci-7",
    "run": "GitHub run 4812",
    "link": "https://ci.example/4812",
    "workspace": "default",
    "commit": Commit("8f2d1b7a5d3e" + "0" * 28, "1c2c1b7a5d3e" + "0" * 28),
    "waited_seconds": 3.2,
}
PLANNED = PlannedChanges(3, 1, 3, moved=2, forget=1, has_changes=True, rows=read_text(PLAN).planned)
PAGES = {
    "plan": Page("prod/network", "succeeded", 2, command="plan", text=OUTSIDE + PLAN, changes=PLANNED, **WHO),
    "no-changes": Page("prod/network", "succeeded", 0, command="plan", changes=PlannedChanges(), **WHO),
    "applied": Page(
        *("prod/network", "succeeded", 0), command="apply", text=PLAN + DONE + REST, changes=read_closing(REST), **WHO
    ),
    "failed": Page("prod/network", "failed", 1, command="apply", text=PLAN + DONE + ERROR, **WHO),
    "cancelled": Page(
        *("prod/network", "interrupted", 130),
        **{**WHO, "command": "apply", "text": PLAN + DONE + "\nInterrupt received.\n"},
        notes=("prod/network: SIGINT: Terraform is asked once to stop; it saves its state.",),
    ),
    "cured": Page(
        *("prod/network", "failed", 1),
        **{**WHO, "command": "plan", "text": (TEXTS / "failures" / "lock-file.terraform.txt").read_text()},
    ),
    "long": Page(
        LONG,
        "failed",
        1,
        command="plan",
        text=f"Error: {LONG}\n\n{LONG}",
        notes=(LONG,),
        changes=PlannedChanges(1, has_changes=True, rows=(("create", LONG),)),
        **{**WHO, "who": "w" * 200, "workspace": "s" * 90},
    ),
}
STYLE = """
:root { color-scheme: light dark }
body { margin: 0; font: 16px/1.5 -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif;
  background: light-dark(#fff, #0d1117); color: light-dark(#1f2328, #f0f6fc) }
main { max-width: 896px; margin: auto; padding: 16px; overflow-wrap: break-word }
code, pre { font: 85%/1.45 ui-monospace, Menlo, Consolas, monospace; background: light-dark(#818b981f, #656c7633) }
code { padding: .2em .4em; border-radius: 6px; white-space: break-spaces }
pre { padding: 16px; overflow: auto; border-radius: 6px } pre code { padding: 0; background: none; white-space: pre }
table { display: block; width: max-content; max-width: 100%; overflow: auto }
details { margin-bottom: 16px }
a { color: light-dark(#0969da, #4493f8) } h3 { font-size: 1.25em }
"""


@pytest.mark.slow
@windows
def test_every_page_is_as_wide_as_its_window(tmp_path: Path, chromium: Browser, width: int, is_dark: bool) -> None:
    for name, page in PAGES.items():
        shown = MarkdownIt("commonmark").enable("table").render(render(page))
        head = f'<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{STYLE}'
        file = tmp_path / f"{name}.html"
        file.write_text(f"{head}</style><main>{shown}</main>")

        seen = chromium.open(file, width=width, is_dark=is_dark)
        folded = seen.evaluate("document.querySelectorAll('details:not([open])').length")
        if SHOTS:
            seen.save(Path(SHOTS) / f"page-{name}-{width}-{'dark' if is_dark else 'light'}.png")
        overflow = seen.overflow()
        seen.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")

        assert (overflow, seen.overflow()) == (0, 0), name
        assert folded == shown.count("<details>"), name
        tall = seen.evaluate("document.querySelector('h3').getClientRects()[0].top")
        assert 0 <= tall < 100, f"{name}: the head is what one sees first"
