"""What Terraform's text tells of resources, read from what a real one has printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfguard.terraform.plan_text import RunText, read_text

#: `terraform plan` of 1.11.4 with a bit of everything that needs no provider.
PLAN = (Path(__file__).parent / "texts" / "plan.txt").read_text()


def test_every_resource_of_a_plan_is_found_with_what_is_done_to_it() -> None:
    found = read_text(PLAN)

    assert found.planned == (
        ("update, move", "terraform_data.both_new"),
        ("delete", 'terraform_data.each["c"]'),
        ("create", 'terraform_data.each["d"]'),
        ("forget", "terraform_data.forgotten"),
        ("delete", "terraform_data.gone"),
        ("move", "terraform_data.moved_new"),
        ("replace", "terraform_data.rep"),
        ("create", "terraform_data.sens"),
    )
    assert set(found.blocks) == {address for _, address in found.planned}
    assert (found.drifted, found.done, found.is_cut) == ((), (), False)


def test_a_block_is_a_resources_own_as_a_diff() -> None:
    found = read_text(PLAN)

    assert found.blocks["terraform_data.moved_new"].startswith("  # terraform_data.moved_old has moved to ")
    assert found.blocks["terraform_data.forgotten"].split("\n") == [
        "  # terraform_data.forgotten will no longer be managed by Terraform, but will not be destroyed",
        "  # (destroy = false is set in the configuration)",
        '    resource "terraform_data" "forgotten" {',
        '         id     = "17164a9d-6c56-859a-2eff-a41c718d0018"',
        "         # (2 unchanged attributes hidden)",
        "     }",
    ]
    assert found.blocks["terraform_data.sens"].endswith("}"), "what follows the last block is no part of it"
    assert found.outputs == "!   o = 1 -> 2"


def test_what_changed_outside_terraform_is_apart_from_what_is_planned() -> None:
    outside = (
        "Note: Objects have changed outside of Terraform\n\n"
        "Terraform detected the following changes made outside of Terraform since the\n"
        'last "terraform apply" which may have affected this plan:\n\n'
        '  # a.gone has been deleted\n  - resource "a" "gone" {\n      - id = "1" -> null\n    }\n\n'
        '  # terraform_data.gone has changed\n  ~ resource "a" "b" {\n      ~ id = "1" -> "2"\n    }\n\n\n'
        "Unless you have made equivalent changes to your configuration, or ignored the\n"
        "relevant attributes using ignore_changes, the following plan may include\n"
        "actions to undo or respond to these changes.\n\n" + "─" * 77 + "\n"
    )

    found, alone = read_text(outside + PLAN), read_text(PLAN)

    assert found.drifted == (("delete", "a.gone"), ("update", "terraform_data.gone"))
    assert found.drift_blocks["terraform_data.gone"].endswith('!       id = "1" -> "2"\n     }')
    assert (found.planned, found.blocks) == (alone.planned, alone.blocks)


def test_a_plan_that_only_takes_drift_over_ends_it_with_a_rule() -> None:
    text = "Note: Objects have changed outside of OpenTofu\n\n  # a.b has changed\n  ~ resource\n\n\nThis is"

    assert read_text(text) == RunText(
        drifted=(("update", "a.b"),), drift_blocks={"a.b": "  # a.b has changed\n!   resource"}
    )


def test_the_stream_of_json_tells_the_same_without_the_blocks() -> None:
    def message(name: str, part: str, action: str, address: str) -> str:
        return json.dumps({"type": name, part: {"resource": {"addr": address}, "action": action}})

    lines = [
        message("resource_drift", "change", "update", "a.drifted"),
        message("planned_change", "change", "remove", "a.forgotten"),
        message("planned_change", "change", "move", "a.moved"),
        message("planned_change", "change", "noop", "a.same"),
        message("apply_complete", "hook", "create", "a.new"),
    ]

    assert read_text("\n".join(lines)) == RunText(
        planned=(("forget", "a.forgotten"), ("move", "a.moved")),
        drifted=(("update", "a.drifted"),),
        done=(("create", "a.new"),),
    )


def test_what_has_been_replaced_with_its_old_object_put_aside_has_one_address() -> None:
    text = "a.b: Creation complete after 0s [id=1]\na.b (deposed object 8d0f2c1a): Destruction complete after 0s\n"

    assert read_text(text).done == (("create", "a.b"), ("delete", "a.b"))


@pytest.mark.parametrize(
    "line",
    [
        'zz.fake (local-exec): Executing: ["printf \'a.b: Destruction complete after 0s"]',
        "zz.fake (local-exec): a.b: Destruction complete after 0s",
        "│ a.b: Destruction complete after 0s",
        '{"@message":"a.b: Destruction complete after 0s","type":"provision_progress"}',
        "Outputs:\n\no = <<EOT\na.b: Destruction complete after 0s\n\n  # a.b has moved to a.c\nEOT",
        "Error: exit status 3\n\nOutput: x\na.b: Destruction complete after 0s\n  # a.b will be destroyed",
    ],
)
def test_what_others_print_is_nothing_that_terraform_has_done(line: str) -> None:
    begun = "Terraform will perform the following actions:\n\na.real: Creation complete after 0s\n"

    assert read_text(begun + line) == RunText(done=(("create", "a.real"),))


@pytest.mark.parametrize(
    "key",
    [
        'x\\"] will be destroyed',
        "x: Destruction complete after 0s",
        "a b",
        'x\\"] has moved to y[\\"',
        "```",
        "@octocat",
        "ä<b>",
        "x\\\\",
    ],
)
def test_a_key_may_look_like_anything(key: str) -> None:
    address = f'module.m["{key}"].terraform_data.d[0].x["{key}"]'
    text = f"  # {address} will be created\n  + resource\n\n{address}: Creation complete after 0s [id=1]\n"

    found = read_text(text)

    assert (found.planned, found.done) == ((("create", address),), (("create", address),))


def test_of_a_key_whose_end_was_cut_out_with_a_secret_the_rest_is_known() -> None:
    found = read_text('  # a.b["password=[redacted] will be created\na.[redacted]: Creation complete after 0s\n')

    assert found.planned == (("create", 'a.b["password=[redacted]'),)
    assert found.done == (("create", "a.[redacted]"),)


def test_lines_of_a_text_look_like_no_marks_and_terraforms_own_among_them_are_ones() -> None:
    new = (
        "  # a.b will be created\n  + resource {\n"
        "      + input = <<-EOT\n            - name: x\n              - y\n        EOT\n"
    )
    old = (
        "  # a.c will be updated in-place\n  ~ resource {\n      ~ input = <<-EOT\n            - same\n"
        "          - - gone\n          + + there\n              ~ y\n        EOT # forces replacement\n      - x = 1\n"
    )

    found = read_text(new + "\n" + old)

    assert found.blocks["a.b"].split("\n")[2:] == [
        "+       input = <<-EOT",
        "             - name: x",
        "               - y",
        "         EOT",
    ]
    assert found.blocks["a.c"].split("\n")[2:] == [
        "!       input = <<-EOT",
        "             - same",
        "-           - gone",
        "+           + there",
        "               ~ y",
        "         EOT # forces replacement",
        "-       x = 1",
    ]


def test_opentofu_has_words_of_its_own_for_what_is_forgotten_and_for_what_is_tainted() -> None:
    text = (
        "  # a.gone[0] will be removed from the OpenTofu state but will not be destroyed\n"
        '  . resource "a" "gone" {\n    id     = "1"\n}\n\n'
        '  # a.bad is tainted, so it must be replaced\n-/+ resource "a" "bad" {\n    }\n\n'
        "Plan: 1 to add, 0 to change, 1 to destroy, 1 to forget.\n"
    )

    found = read_text(text)

    assert found.planned == (("forget", "a.gone[0]"), ("replace", "a.bad"))
    assert found.blocks["a.bad"].split("\n")[1] == '!   resource "a" "bad" {'
