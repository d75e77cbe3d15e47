"""What a page tells of what was changed: all of it, once; of an apply that ended on its way what is known, no more."""

from __future__ import annotations

from pathlib import Path

import pytest

import tests.terraform
from tests.report.page import Rendered
from tfguard.ci.commit import Commit
from tfguard.report.changed import come_to
from tfguard.report.said import Said
from tfguard.report.summary import Page, render
from tfguard.terraform.plan_json import PlannedChanges, read_closing

PLAN = (Path(next(iter(tests.terraform.__path__))) / "texts" / "plan.txt").read_text()
APPLIED = """\
terraform_data.gone: Destroying... [id=1]
terraform_data.gone: Destruction complete after 0s
terraform_data.rep: Destruction complete after 0s
terraform_data.each["d"]: Creation complete after 0s [id=2]
"""
CLOSED = """\
terraform_data.rep: Creation complete after 0s [id=3]

Apply complete! Resources: 2 added, 0 changed, 2 destroyed.
"""


def shown(page: Page) -> list[str]:
    return [text for _, text in Rendered(render(page)).outline]


def applied(text: str, outcome: str = "failed") -> Page:
    closing = read_closing(text) if outcome == "succeeded" else None
    return Page("prod", outcome, command="apply", text=text, changes=closing)


def test_the_head_names_workspace_and_commit() -> None:
    told = shown(Page("prod", "succeeded", workspace="blue", commit=Commit("a" * 40, "b" * 40)))
    alone = shown(Page("prod", "succeeded", commit=Commit("a" * 40)))

    assert told[1] == f"Workspace blue · commit {'a' * 12}, merged as {'b' * 12}"
    assert alone[1] == f"Commit {'a' * 12}"


def test_a_failed_apply_that_planned_itself_tells_what_was_planned_and_what_is_missing() -> None:
    told = shown(applied(PLAN + APPLIED))

    assert told[1] == (
        "Done before it ended: 2 destroyed, 1 added. "
        "Planned: 3 to destroy (1 of them to be replaced), 3 to add, 1 to change, 2 to move, 1 to forget."
    )
    done = told.index("Destroyed")
    titles = [each.partition("\n")[0] for each in told[done : done + 5]]
    assert titles == [
        *("Destroyed", "terraform_data.gone", "terraform_data.rep"),
        *("Created", 'terraform_data.each["d"]'),
    ]
    assert "- null" not in told[done + 1] and "id     = " in told[done + 1], "what is lost opens to what it was"
    left = told[done + 5 :]
    assert left[0] == "To destroy, not finished"
    create = left.index("To create, not finished")
    assert left[create + 1].startswith("terraform_data.rep"), "destroyed, and its replacement is not there"
    assert not any(title.startswith("To move") for title in left), "the first state that it saved has it moved"


def test_of_an_apply_whose_text_was_cut_the_count_is_the_least() -> None:
    some = shown(applied(f"{APPLIED}\n… 900 bytes left out …\nError: it broke\n"))
    none = shown(applied("terraform\n… 900 bytes left out …\nError: it broke\n"))

    assert some[1] == "Done before it ended: at least 2 destroyed, 1 added."
    assert none[1] == "What was done before it ended stands in a part of Terraform's text that is not here."


def test_a_finished_apply_lists_what_was_replaced_moved_and_forgotten() -> None:
    told = shown(applied(PLAN + APPLIED + CLOSED, "succeeded"))

    assert told[1] == "2 destroyed (1 of them replaced), 2 added, 2 moved, 1 forgotten."
    assert [each.split("\n")[0] for each in told if each in ("Replaced", "Moved", "Forgotten", "Created")] == [
        *("Replaced", "Created", "Moved", "Forgotten"),
    ]


def test_what_a_plan_takes_over_from_outside_is_listed_once() -> None:
    text = "Note: Objects have changed outside of Terraform\n\n  # a.b has changed\n  ~ resource\n\n" + "─" * 77 + "\n"
    changes = PlannedChanges(drift=1, has_changes=True, rows=(("update", "a.b"),))

    told = shown(Page("prod", "succeeded", command="plan", text=text, changes=changes))

    assert told[1:3] == ["1 changed outside Terraform.", "Changed outside Terraform"]
    assert "To change" not in told


def test_changes_of_outputs_are_folded_behind_the_resources() -> None:
    found = Rendered(
        render(Page("prod", "succeeded", command="plan", text=PLAN, changes=PlannedChanges(1, has_changes=True)))
    )

    assert found.all("summary")[0] == "Changes to outputs"
    assert found.all("pre", within="details")[0] == "!   o = 1 -> 2\n"


NOTHING = "Apply complete! Resources: 0 added, 0 changed, 0 destroyed.\n"
MOVED = "Terraform will perform the following actions:\n\n  # a.b has moved to a.c\n    resource\n\n"
OUTPUTS = "Changes to Outputs:\n  ~ o = 1 -> 2\n\n"


@pytest.mark.parametrize(
    ("text", "head", "counted"),
    [
        (NOTHING, "✅ Applied: prod: no changes", None),
        (MOVED + NOTHING, "✅ Applied: prod", "1 moved."),
        (OUTPUTS + NOTHING, "✅ Applied: prod", "nothing added, changed or destroyed."),
    ],
)
def test_an_apply_of_what_no_closing_line_counts_has_changed_something(
    text: str, head: str, counted: str | None
) -> None:
    changes = come_to(None, Said(text), is_plan=False)

    told = shown(Page("prod", "succeeded", 0, command="apply", text=text, changes=changes))

    assert told[0] == head
    assert counted is None or told[1] == counted


def test_of_a_plan_and_its_apply_what_only_the_plan_knows_stays() -> None:
    planned = PlannedChanges(1, moved=1, forget=2, has_changes=True, rows=(("move", "a.c"),))

    done = come_to(planned, Said(NOTHING), is_plan=False)

    assert done == PlannedChanges(moved=1, forget=2, has_changes=True, rows=(("move", "a.c"),), is_done=True)
    assert come_to(planned, Said("Error: no"), is_plan=False) == planned
    assert come_to(None, Said("Plan: 1 to add, 0 to change, 0 to destroy."), is_plan=False) is None


PLANNED = "Plan: 1 to add, 0 to change, 0 to destroy.\n"
BEGUN = "a.b: Creating...\n"
BEGUN_JSON = '{"type":"apply_start","hook":{"resource":{"addr":"a.b"},"action":"create"}}\n'
BROKEN = "\nError: it broke\n"


@pytest.mark.parametrize(
    ("command", "text", "counted"),
    [
        ("apply", PLANNED + BROKEN, "It ended before it began to change anything. Planned: 1 to add."),
        ("apply", BROKEN, "It ended before it began to change anything."),
        ("apply", PLANNED + BEGUN + BROKEN, "Planned: 1 to add."),
        ("apply", PLANNED + BEGUN_JSON + BROKEN, "Planned: 1 to add."),
        ("apply", PLANNED, "Planned: 1 to add."),
        ("apply", MOVED + PLANNED + BROKEN, "Planned: 1 to add, 1 to move."),
        ("plan", PLANNED + BROKEN, "Planned before it ended: 1 to add."),
    ],
)
def test_of_what_failed_before_it_changed_anything_that_is_said(command: str, text: str, counted: str) -> None:
    changes = come_to(None, Said(text), is_plan=command == "plan")

    assert shown(Page("prod", "failed", 1, command=command, text=text, changes=changes))[1] == counted


def test_what_was_imported_and_changed_is_listed_once() -> None:
    text = "a.b: Import complete [id=1]\na.c: Import complete [id=2]\na.b: Modifications complete after 0s [id=1]\n"
    closed = "Apply complete! Resources: 2 imported, 0 added, 1 changed, 0 destroyed.\n"

    told, half = shown(applied(text + closed, "succeeded")), shown(applied(text + BROKEN))

    assert told[1:6] == ["1 changed, 2 imported.", "Changed", "a.b update, import", "Imported", "a.c"]
    assert half[1] == "Done before it ended: 1 changed, 2 imported."
