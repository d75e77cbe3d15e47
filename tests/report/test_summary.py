"""The page of a run, as it is read: in order, whole, harmless, within its limit."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.report.page import Rendered
from tfguard import redaction
from tfguard.ci.commit import Commit
from tfguard.report.said import Said, plain
from tfguard.report.summary import SMALLEST_LIMIT_BYTES, Page, render, render_json
from tfguard.terraform.plan_json import PlannedChanges, read_changes, read_closing
from tfguard.terraform.plan_text import read_text

FAILED = """terraform says\n\x1b[31m╷\x1b[0m
\x1b[31m│\x1b[0m \x1b[1mError: it broke\x1b[0m
│
│ because <of> this
╵
╷
│ Error: a second one
╵
"""
CHANGES = PlannedChanges(
    add=1, destroy=1, has_changes=True, rows=(("create", "terraform_data.a_b"), ("delete", 'x["k"]'))
)
WHOLE = Page(
    label="prod/network",
    outcome="failed",
    exit_code=1,
    who="ana@ci-7",
    run="GitHub run 4812",
    link="https://ci.example/4812?a=1&b=2",
    waited_seconds=3.2,
    held_seconds=41.7,
    changes=CHANGES,
    text=FAILED,
    notes=("prod/network: took over the lock of a dead run.",),
)
SECRET = "s3cr3t-value<&>"
#: What whoever names things or writes a provider's messages might try.
HOSTILE = (
    "</pre></details><script>alert(1)</script><img src=x onerror=y>\n"
    "```\n# shouted\n[click](javascript:x) ![i](//evil/i.png) **bold** | a | b |\n|---|---|\n"
    "@acme/admins see #1 and <!-- and :tada: &lt;b&gt; $x$ ~~gone~~ \\`\n"
    f"\x1b]8;;https://evil\x1b\\link\x1b]8;;\x1b\\ \x1b[2J\x07\x00\u202e password={SECRET} https://u:{SECRET}@host/\r\n"
)


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(redaction, "_secrets", frozenset())
    monkeypatch.setattr(redaction, "_forms", ())
    redaction.register_secrets([SECRET])
    return


def shown(page: Page) -> Rendered:
    return Rendered(render(page))


# --- the order ------------------------------------------------------------------------------------------------------


def test_a_page_is_read_from_the_outcome_to_terraforms_own_words() -> None:
    found = shown(WHOLE)

    assert [tag for tag, _ in found.outline] == ["h3", "p", "p", "p", "p", "pre", *["p"] * 4, "details"]
    texts = [text for _, text in found.outline]
    assert texts[0] == "❌ prod/network: failed (exit 1)"
    assert texts[1] == "ana@ci-7 · GitHub run 4812"
    assert texts[2] == "Waited 3 s for the lock, held it 42 s."
    assert texts[3] == "prod/network: took over the lock of a dead run."
    assert texts[4] == "1 to destroy, 1 to add."
    assert texts[5] == "Error: it broke\n\nbecause <of> this"
    assert texts[6:10] == ["To destroy", 'x["k"]', "To create", "terraform_data.a_b"]
    assert found.all("summary") == ["Terraform's output"]
    assert found.all("pre", within="details") == [plain(FAILED)]
    assert found.broken == []


def test_the_link_leads_to_the_run() -> None:
    assert [each.attributes["href"] for each in shown(WHOLE).elements if each.tag == "a"] == [WHOLE.link]


def test_a_run_that_succeeded_shows_no_error_and_what_it_did() -> None:
    text = "Error: in the log of a retried init\n\nTerraform has been successfully initialized!\n"
    text += "Apply complete! Resources: 2 added, 0 changed, 1 destroyed.\n"

    found = shown(Page("prod", "succeeded", exit_code=0, text=text, changes=read_closing(text)))

    assert found.outline[0][1] == "✅ prod: succeeded"
    assert found.outline[1][1] == "1 destroyed, 2 added."
    assert [tag for tag, _ in found.outline] == ["h3", "p", "details"]


def test_a_run_that_never_came_to_terraform_has_its_reason_alone() -> None:
    found = shown(Page("prod", "lock-timeout", exit_code=75, waited_seconds=600, notes=("prod is held by ana@ci-7.",)))

    assert [text for _, text in found.outline] == [
        "❌ prod: lock-timeout (exit 75)",
        "Waited 600 s for the lock.",
        "prod is held by ana@ci-7.",
    ]


def test_pages_of_one_step_follow_each_other() -> None:
    found = Rendered(render(WHOLE) + render(WHOLE))

    assert [tag for tag, _ in found.outline].count("h3") == 2
    assert found.broken == []


def test_the_first_error_is_whole_and_alone() -> None:
    assert Said(FAILED).first_error == "Error: it broke\n\nbecause <of> this"


# --- what strangers write -------------------------------------------------------------------------------------------


def hostile_page() -> Page:
    changes = PlannedChanges(add=1, has_changes=True, rows=((HOSTILE, HOSTILE),))
    return Page(
        label=HOSTILE,
        outcome="failed",
        who=HOSTILE,
        run=HOSTILE,
        changes=changes,
        text=f"{HOSTILE}\nError: {HOSTILE}\n",
        notes=(HOSTILE,),
    )


def test_nothing_that_strangers_write_becomes_more_than_text(secrets: None) -> None:
    found = shown(hostile_page())

    allowed = {"h3", "code", "p", "pre", "br", "strong", "table", "tr", "th", "td", "details", "summary"}
    assert found.tags <= allowed | {"tbody", "thead"}
    assert found.broken == []
    assert [tag for tag, _ in found.outline] == ["h3", "p", "p", "p", "pre", "p", "p", "details"]
    assert "@acme/admins" not in found.bare


def test_no_control_sign_and_no_secret_is_left(secrets: None) -> None:
    for text in (render(hostile_page()), render_json(hostile_page()).decode()):
        assert SECRET not in text
        assert "s3cr3t" not in text
        assert not any(sign in text for sign in "\x1b\x07\x00\u202e\r")


def test_a_label_is_read_as_it_was_given() -> None:
    label = "prod/*net*_[work]_`x`_~~y~~_|z|"

    assert shown(Page(label, "succeeded")).outline[0][1] == f"✅ {label}: succeeded"


#: A sign of four bytes; and signs that are longer as they are written: for JSON, for HTML, for both, for Markdown.
LONG_SIGNS = ("\U0001f600", "\\", "'", '"', "$")


@example(LONG_SIGNS[0] * 300, LONG_SIGNS[0] * 300, SMALLEST_LIMIT_BYTES)
@given(st.text(max_size=300), st.text(max_size=300), st.integers(SMALLEST_LIMIT_BYTES, 20_000))
def test_whatever_is_written_the_page_stays_whole_and_within_its_limit(label: str, text: str, limit: int) -> None:
    changes = PlannedChanges(add=1, has_changes=True, rows=((label, text),) * 300)
    page = Page(label, "failed", who=label, changes=changes, text=f"Error: {text * 40}", notes=(text,) * 30)

    markdown, data = render(page, limit), render_json(page, limit)

    found = Rendered(markdown)
    assert len(markdown.encode()) <= limit and len(data) <= limit
    assert found.broken == []
    assert found.outline[0][0] == "h3"
    assert json.loads(data)["outcome"] == "failed"


@pytest.mark.parametrize("sign", LONG_SIGNS)
def test_the_smallest_page_has_room_for_the_facts_of_a_run_whatever_they_are_written_in(sign: str) -> None:
    word = sign * 2000
    changes = PlannedChanges(add=1, has_changes=True, rows=((word, word),) * 300)
    page = Page(word, "failed", 1, word, word, word, 3.2, 41.7, changes=changes, text=f"Error: {word}", notes=(word,))
    page = msgspec.structs.replace(page, workspace=word, commit=Commit("a" * 64, "b" * 64))

    markdown, data = render(page, SMALLEST_LIMIT_BYTES), render_json(page, SMALLEST_LIMIT_BYTES)

    shown, facts = Rendered(markdown), json.loads(data)
    assert len(markdown.encode()) <= SMALLEST_LIMIT_BYTES and len(data) <= SMALLEST_LIMIT_BYTES
    assert shown.outline[0][1].startswith(f"❌ {sign}{sign}") and shown.outline[0][1].endswith("…: failed (exit 1)")
    assert [facts[name][:2] for name in ("label", "who", "run")] == [sign * 2] * 3
    assert (facts["exit_code"], facts["changes"]["resource_count"], facts["held_seconds"]) == (1, 300, 41.7)
    for text in (shown.all("pre", within="details")[0], facts["text"]):
        assert "bytes left out …" in text


def test_a_link_that_is_too_long_is_left_out_of_the_page_and_never_cut() -> None:
    page = Page("prod", "succeeded", who="ana@ci-7", link="https://ci.example/" + "x" * 2000)

    assert "ci.example" not in render(page)
    assert "ana@ci-7" in render(page)
    assert b"ci.example" not in render_json(page)


def test_a_report_as_json_keeps_notes_and_error_short_rather_than_leave_them_out() -> None:
    notes = tuple(f"note {number}: {'x' * 2000}" for number in range(20))

    facts = msgspec.json.decode(render_json(Page("prod", "failed", text=f"Error: {'y' * 9000}", notes=notes), 8000))

    assert [note.split(":")[0] for note in facts["notes"]] == [note.split(":")[0] for note in notes]
    assert facts["first_error"].startswith("Error: yyy")


@pytest.mark.parametrize("word", ["token", "tf_var_", "://a:", "\x1b]", "Plan: 1\n", "<", "Error: x\n"])
def test_a_megabyte_of_nonsense_costs_seconds_and_not_hours(word: str) -> None:
    page = Page("prod", "failed", text=word * (2**20 // len(word)))
    started = time.process_time()

    render(page)

    assert time.process_time() - started < 20


# --- the limit ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [SMALLEST_LIMIT_BYTES, 65_000, 1024 * 1024])
def test_what_is_too_long_is_cut_in_its_middle_and_says_so(limit: int) -> None:
    text = "begin\n" + "<é>\n" * 500_000 + "Error: at last\n"

    found = render(Page(label="prod", outcome="failed", text=text), limit)

    folded = Rendered(found).all("pre", within="details")[0]
    assert limit * 0.8 < len(found.encode()) <= limit
    assert folded.startswith("begin\n") and folded.endswith("Error: at last")
    assert "bytes left out …" in folded
    assert Rendered(found).all("pre")[0] == "Error: at last"


def test_thousands_of_resources_leave_room_for_the_error_and_the_text() -> None:
    rows = tuple(("create", f"module.m[{number}].terraform_data.it") for number in range(9000))
    changes = PlannedChanges(add=9000, has_changes=True, rows=rows)

    found = Rendered(render(Page("prod", "failed", changes=changes, text=FAILED), 65_000))

    listed = [text for text in found.all("p") if text.startswith("module.")]
    assert len(listed) > 100
    assert f"and {9000 - len(listed)} more" in found.all("p")
    assert "because <of> this" in found.all("pre")[0]
    assert "a second one" in found.all("pre", within="details")[0]


def test_where_not_every_diff_has_room_the_gravest_are_open_and_what_is_not_shown_is_counted() -> None:
    line = f"      + x = 1{'y' * 300}"
    blocks = [f"  # a.b[{number}] will be created\n  + resource\n{line}\n" for number in range(300)]
    text = "\n".join([f"  # a.big will be destroyed\n{line * 500}\n", *blocks, "  # a.gone will be destroyed\n" + line])
    text += f"\n\nChanges to Outputs:\n  + o = {'z' * 70_000}\n"
    rows = (*read_text(text).planned, ("forget", "a.unknown"))

    found = Rendered(
        render(Page("p", "succeeded", command="plan", text=text, changes=PlannedChanges(302, rows=rows)), 65_000)
    )

    opened = found.all("summary")[:-1]
    assert opened[0] == "a.gone" and 20 < len(opened) < 300, "one that is too large keeps none of the others out"
    assert f"What changes in {302 - len(opened)} of them has no room here: the log has it." in found.all("p")
    assert "What changes has no room here: the log has it." in found.all("p")


def test_a_report_as_json_is_cut_to_its_limit_and_keeps_its_facts() -> None:
    rows = tuple(("create", f"terraform_data.it[{number}]") for number in range(2000))
    changes = PlannedChanges(add=2000, has_changes=True, rows=rows)

    data = render_json(Page("prod", "failed", exit_code=1, changes=changes, text="x\n" * 100_000), 20_000)

    facts = msgspec.json.decode(data)
    assert len(data) <= 20_000
    assert (facts["outcome"], facts["exit_code"], facts["changes"]["add"]) == ("failed", 1, 2000)
    assert facts["changes"]["resource_count"] == 2000 > len(facts["changes"]["resources"]) > 0
    assert "bytes left out" in facts["text"]


def test_a_report_as_json_has_every_fact() -> None:
    facts = msgspec.json.decode(render_json(WHOLE))

    assert facts["changes"]["resources"][0] == {"action": "create", "address": "terraform_data.a_b"}
    assert facts["first_error"] == "Error: it broke\n\nbecause <of> this"
    assert facts["notes"] == ["prod/network: took over the lock of a dead run."]
    assert facts["text"] == plain(FAILED)
    assert {name: facts[name] for name in ("label", "outcome", "exit_code", "who", "run", "link")} == {
        "label": "prod/network",
        "outcome": "failed",
        "exit_code": 1,
        "who": "ana@ci-7",
        "run": "GitHub run 4812",
        "link": WHOLE.link,
    }
    assert (facts["waited_seconds"], facts["held_seconds"]) == (3.2, 41.7)


# --- plans ----------------------------------------------------------------------------------------------------------


def plan_of(*changes: tuple[list[str], str]) -> bytes:
    found = [
        {"address": address, "change": {"actions": actions, "after": {"password": "s3cr3t"}}}
        for actions, address in changes
    ]
    return json.dumps({"format_version": "1.2", "resource_changes": found}).encode()


def test_a_plan_is_counted_as_terraform_counts_it() -> None:
    found = read_changes(
        plan_of((["create"], "a"), (["delete", "create"], "b"), (["update"], "c"), (["no-op"], "d"), (["read"], "e"))
    )

    assert found is not None
    assert (found.add, found.change, found.destroy, found.has_changes) == (2, 1, 1, True)
    assert found.rows == (("create", "a"), ("replace", "b"), ("update", "c"))


def test_no_value_of_a_plan_gets_onto_the_page() -> None:
    changes = read_changes(plan_of((["create"], "a")))

    assert "s3cr3t" not in render(Page("prod", "succeeded", changes=changes))
    assert b"s3cr3t" not in render_json(Page("prod", "succeeded", changes=changes))


def test_a_plan_without_changes_has_none() -> None:
    found = read_changes(plan_of((["no-op"], "a")))

    assert found == PlannedChanges()


@pytest.mark.parametrize(
    ("resource", "counted"),
    [
        ({"change": {"actions": ["no-op"], "importing": {"id": "x"}}}, ("imported", "import")),
        ({"change": {"actions": ["no-op"]}, "previous_address": "b"}, ("moved", "move")),
        ({"change": {"actions": ["forget"]}}, ("forget", "forget")),
        ({"change": {"actions": ["update"], "importing": {"id": "x"}}}, ("change", "update, import")),
    ],
)
@pytest.mark.parametrize("facts", [{}, {"applyable": True}], ids=["older", "newer"])
def test_what_is_only_imported_moved_or_forgotten_is_a_change(resource, counted, facts) -> None:
    name, word = counted

    found = read_changes(json.dumps({"resource_changes": [{"address": "a", **resource}], **facts}).encode())

    assert found is not None
    assert (found.has_changes, getattr(found, name), found.rows) == (True, 1, ((word, "a"),))
    assert f"1 to {word.partition(',')[0].replace('update', 'change')}" in render(Page("p", "succeeded", changes=found))


def test_what_has_drifted_is_a_change_of_a_plan_that_takes_it_over_and_of_no_other() -> None:
    plan = {"resource_drift": [{"address": "a", "change": {"actions": ["update"]}}]}

    other = read_changes(json.dumps(plan).encode())
    taken = read_changes(json.dumps(plan).encode(), is_refresh_only=True)

    assert other == PlannedChanges()
    assert taken is not None
    assert (taken.has_changes, taken.drift) == (True, 1)
    assert "1 changed outside Terraform" in render(Page("p", "succeeded", changes=taken))


def test_what_terraform_says_itself_decides() -> None:
    quiet = json.dumps({"resource_changes": []}).encode()
    by_plan = read_changes(json.dumps({"resource_changes": [], "applyable": True}).encode())
    by_status = read_changes(quiet, status=2)

    assert by_plan is not None and by_plan.has_changes
    assert by_status is not None and by_status.has_changes


def test_rubbish_is_no_plan() -> None:
    assert read_changes(b"rubbish") is None
    assert read_changes(b'{"resource_changes": [{"change": 1}]}') is None


DONE = "Apply complete! Resources: 1 added, 0 changed, 0 destroyed."
#: As `apply -json` closes.
STREAM = """\
{"type":"change_summary","changes":{"add":2,"change":0,"import":0,"remove":0,"operation":"plan"}}
{"type":"change_summary","changes":{"add":1,"change":0,"import":3,"remove":2,"operation":"apply"}}
{"type":"outputs","outputs":{"a":{"value":"\\"change_summary\\""}}}
"""


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        ("Plan: 1 to add, 2 to change, 3 to destroy.", PlannedChanges(1, 2, 3, has_changes=True)),
        ("Plan: 4 to import, 1 to add, 0 to change, 0 to destroy.", PlannedChanges(1, 0, 0, 4, has_changes=True)),
        ("No changes. Your infrastructure matches the configuration.", PlannedChanges()),
        (
            "Apply complete! Resources: 1 added, 2 changed, 3 destroyed.",
            PlannedChanges(1, 2, 3, has_changes=True, is_done=True),
        ),
        (
            "Apply complete! Resources: 9 imported, 1 added, 0 changed, 0 destroyed.",
            PlannedChanges(1, 0, 0, 9, has_changes=True, is_done=True),
        ),
        (
            f"{DONE}\n\nOutputs:\n\na = <<EOT\nApply complete! Resources: 7 added, 7 changed, 7 destroyed.\nEOT",
            PlannedChanges(1, 0, 0, has_changes=True, is_done=True),
        ),
        (f"Apply complete! Resources: {'9' * 5000} added, 0 changed, 0 destroyed.", None),
        (
            STREAM,
            PlannedChanges(1, 0, 2, 3, has_changes=True, is_done=True),
        ),
        ("Destroy complete! Resources: 3 destroyed.", PlannedChanges(0, 0, 3, has_changes=True, is_done=True)),
        ("echo Apply complete! Resources: 1 added, 2 changed, 3 destroyed.", None),
        ("", None),
    ],
)
def test_without_a_saved_plan_terraforms_closing_line_counts(line: str, changes: PlannedChanges | None) -> None:
    assert read_closing(f"some text\n{line}\n") == changes


def test_of_a_plan_and_its_apply_the_apply_counts() -> None:
    text = (
        "Plan: 2 to add, 0 to change, 0 to destroy.\n…\nApply complete! Resources: 1 added, 0 changed, 0 destroyed.\n"
    )

    assert read_closing(text) == PlannedChanges(1, 0, 0, has_changes=True, is_done=True)


# --- what a reviewer has to know ------------------------------------------------------------------------------------

#: A plan as Terraform 1.11 prints it, with what reviewers must not miss.
PLANNED = """Note: Objects have changed outside of Terraform

  # terraform_data.drifted has changed
  ~ resource "terraform_data" "drifted" {
      ~ input = "a" -> "b"
    }

Terraform used the selected providers to generate the following execution plan.

Terraform will perform the following actions:

  # terraform_data.gone will be destroyed
  # (because terraform_data.gone is not in configuration)
  - resource "terraform_data" "gone" {
      - id    = "1" -> null
      - input = (sensitive value) -> null
    }

  # terraform_data.it["a b"] must be replaced
-/+ resource "terraform_data" "it" {
      ~ id               = "2" -> (known after apply)
      ~ triggers_replace = "```" -> "x" # forces replacement
    }

  # terraform_data.new will be created
  + resource "terraform_data" "new" {
      + id = (known after apply)
    }

Plan: 2 to add, 0 to change, 2 to destroy.
"""
ROWS = (("create", "terraform_data.new"), ("replace", 'terraform_data.it["a b"]'), ("delete", "terraform_data.gone"))
PLAN = PlannedChanges(add=2, destroy=2, has_changes=True, rows=ROWS)


GROUPS = ["To destroy", "To replace", "To create", "Changed outside Terraform"]


def test_a_plan_shows_what_is_lost_first_and_each_resource_opens_to_its_diff() -> None:
    found = shown(Page("prod", "succeeded", exit_code=2, command="plan", changes=PLAN, text=PLANNED))

    assert found.outline[0][1] == "📋 Plan: prod"
    assert found.all("strong") == ["2 to destroy (1 of them to be replaced)", *GROUPS]
    folded = ["terraform_data.gone", 'terraform_data.it["a b"]', "terraform_data.new", "terraform_data.drifted"]
    assert found.all("summary") == [*folded, "Terraform's output"]
    gone, replaced, new, drifted, _ = found.all("pre", within="details")
    assert '-   resource "terraform_data" "gone" {\n-       id    = "1" -> null\n' in gone
    assert "(sensitive value)" in gone
    assert '!       triggers_replace = "```" -> "x" # forces replacement' in replaced
    assert '+   resource "terraform_data" "new" {' in new and "Plan:" not in new
    assert "drifted" not in gone + replaced + new
    assert '!       input = "a" -> "b"' in drifted
    assert found.broken == []


@pytest.mark.parametrize(
    ("command", "changes", "head"),
    [
        ("plan", PLAN, "📋 Plan: prod"),
        ("plan", PlannedChanges(), "✅ Plan: prod: no changes"),
        ("plan -destroy", PLAN, "📋 Plan to destroy: prod"),
        ("apply", msgspec.structs.replace(PLAN, is_done=True), "✅ Applied: prod"),
        ("apply", PlannedChanges(is_done=True), "✅ Applied: prod: no changes"),
        ("destroy", PlannedChanges(destroy=3, has_changes=True, is_done=True), "✅ Destroyed: prod"),
        ("import", None, "✅ Imported: prod"),
        ("state mv", None, "✅ State mv: prod: done"),
    ],
)
def test_the_head_says_what_it_was_in_the_right_tense(command: str, changes: PlannedChanges | None, head: str) -> None:
    found = shown(Page("prod", "succeeded", exit_code=0, command=command, changes=changes))

    assert found.outline[0][1] == head
    if changes is not None and not changes.has_changes:
        assert len(found.outline) == 1


def test_what_was_destroyed_is_told_as_done() -> None:
    text = "terraform_data.gone: Destruction complete after 0s\nDestroy complete! Resources: 1 destroyed.\n"

    found = shown(Page("prod", "succeeded", command="destroy", changes=read_closing(text), text=text))

    assert [text for _, text in found.outline][1:4] == ["1 destroyed.", "Destroyed", "terraform_data.gone"]


@pytest.mark.parametrize("is_json", [False, True])
def test_a_failed_apply_says_what_had_been_done_by_then(is_json: bool) -> None:
    done = [("delete", "Destruction", "terraform_data.gone"), ("create", "Creation", 'terraform_data.it["a b"]')]
    lines = [
        json.dumps({"type": "apply_complete", "hook": {"resource": {"addr": address}, "action": action}})
        if is_json
        else f"{address}: {noun} complete after 1s [id=x]"
        for action, noun, address in done
    ]

    found = shown(Page("prod", "failed", 1, command="apply", changes=PLAN, text="\n".join([*lines, FAILED])))

    assert found.outline[0][1] == "❌ Apply: prod: failed (exit 1)"
    told = [text for _, text in found.outline]
    assert told[1] == (
        "Done before it ended: 1 destroyed, 1 added. Planned: 2 to destroy (1 of them to be replaced), 2 to add."
    )
    assert told[2].startswith("Error: it broke")
    assert told[3:7] == ["Destroyed", "terraform_data.gone", "Created", 'terraform_data.it["a b"]']
    assert told[7:11] == [
        "To destroy, not finished",
        'terraform_data.it["a b"]',
        "To create, not finished",
        "terraform_data.new",
    ]


def test_what_stands_in_a_diff_gets_out_of_its_fence_nowhere(secrets: None) -> None:
    text = f"Terraform will perform the following actions:\n\n  # a.b will be created\n{HOSTILE}``````\n</details>\n"
    changes = PlannedChanges(add=1, has_changes=True, rows=(("create", "a.b"),))

    found = shown(Page("prod", "succeeded", command="plan", changes=changes, text=text))

    assert found.tags <= {"h3", "code", "p", "pre", "strong", "details", "summary"}
    assert found.broken == []
