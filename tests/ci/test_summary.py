"""The page of a run: in order, escaped, within its limit."""

from __future__ import annotations

import json

from tfguard.planjson import PlannedChanges, read_changes
from tfguard.summary import Page, first_error, render

FAILED = """terraform says\n\x1b[31m╷\x1b[0m
\x1b[31m│\x1b[0m \x1b[1mError: it broke\x1b[0m
│
│ because <of> this
╵
╷
│ Error: a second one
╵
"""


def plan_of(*changes: tuple[list[str], str]) -> bytes:
    found = [
        {"address": address, "change": {"actions": actions, "after": {"password": "s3cr3t"}}}
        for actions, address in changes
    ]
    return json.dumps({"format_version": "1.2", "resource_changes": found}).encode()


def test_a_page_tells_the_outcome_first_and_terraforms_text_last() -> None:
    changes = PlannedChanges(add=1, has_changes=True, rows=(("create", "a.b"),))
    page = Page(label="prod", outcome="failed", exit_code=1, who="ana@ci", waited=3, changes=changes, text=FAILED)

    text = render(page)

    at = [text.index(words) for words in ("### ❌ prod: failed (exit 1)", "ana@ci", "Waited 3 s", "1 to add", "a.b")]
    assert at == sorted(at)
    assert text.index("<pre>Error: it broke") < text.index("<details>")
    assert "because &lt;of&gt; this" in text
    assert "\x1b" not in text


def test_the_first_error_is_whole_and_alone() -> None:
    assert first_error(FAILED.replace("\x1b[31m", "").replace("\x1b[0m", "").replace("\x1b[1m", "")) == (
        "Error: it broke\n\nbecause <of> this"
    )


def test_what_is_too_long_is_cut_in_its_middle_and_stays_within_the_limit() -> None:
    text = "begin" + "<é>\n" * 100_000 + "end"

    shown = render(Page(label="prod", outcome="succeeded", text=text), 65_000)

    assert len(shown.encode()) <= 65_000
    assert "bytes left out" in shown
    assert "begin" in shown and "end</pre>" in shown


def test_text_cannot_leave_its_fold() -> None:
    shown = render(Page(label="<b>", outcome="failed", text="</pre></details><script>x</script>"))

    assert "<script>" not in shown
    assert "<b>" not in shown
    assert shown.count("</details>") == 1


def test_a_plan_is_counted_as_terraform_counts_it() -> None:
    found = read_changes(
        plan_of((["create"], "a"), (["delete", "create"], "b"), (["update"], "c"), (["no-op"], "d"), (["read"], "e"))
    )

    assert found is not None
    assert (found.add, found.change, found.destroy, found.has_changes) == (2, 1, 1, True)
    assert found.rows == (("create", "a"), ("replace", "b"), ("update", "c"))


def test_a_plan_without_changes_has_none() -> None:
    found = read_changes(plan_of((["no-op"], "a")))

    assert found == PlannedChanges()


def test_rubbish_is_no_plan() -> None:
    assert read_changes(b"rubbish") is None
    assert read_changes(b'{"resource_changes": [{"change": 1}]}') is None
