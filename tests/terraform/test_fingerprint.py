"""What a plan's fingerprint tells apart, what it passes over, and what cannot be guessed from it."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfguard import redaction
from tfguard.terraform.fingerprint import PATTERN, Fingerprint, read_fingerprint
from tfguard.terraform.plan_file import read_lineage

LINEAGE = "03c58a20-7b00-5ebc-d34e-c77880ba07fd"


def resource(address: str, *actions: str, **more: Any) -> dict[str, Any]:
    change = {"actions": list(actions), "before": None, "after": {"size": 1}, "after_sensitive": {}}
    return {"address": address, "mode": "managed", "type": "t", "provider_name": "p", "change": change | more}


BASE: dict[str, Any] = {
    "format_version": "1.2",
    "terraform_version": "1.11.4",
    "resource_changes": [
        resource("t.new", "create"),
        resource("t.secret", "update", after={"password": "hunter2"}, after_sensitive={"password": True}),
        resource('module.m["a"].t.each["x]"]', "delete", "create"),
        resource("t.quiet", "no-op"),
    ],
    "output_changes": {"url": {"actions": ["create"], "after": "https://a"}, "old": {"actions": ["no-op"]}},
    "resource_drift": [],
    "configuration": {
        "provider_config": {
            "p": {"expressions": {"region": {"constant_value": "eu"}}},
            "q": {"expressions": {"region": {"constant_value": "eu"}}},
        },
        "root_module": {
            "resources": [
                {"address": "t.new", "provider_config_key": "p"},
                {"address": "t.quiet", "provider_config_key": "q", "provisioners": [{"type": "local-exec"}]},
            ],
            "module_calls": {
                "m": {"module": {"resources": [{"address": "t.each", "provisioners": [{"type": "local-exec"}]}]}}
            },
        },
    },
    "timestamp": "2026-11-29T04:23:28Z",
}

Edit = Callable[[dict[str, Any]], object]


def made(edit: Edit = lambda plan: None, lineage: str = LINEAGE) -> Fingerprint:
    plan = copy.deepcopy(BASE)
    edit(plan)
    found = read_fingerprint(json.dumps(plan).encode(), lineage)
    assert found is not None
    return found


def at(plan: dict[str, Any], number: int) -> dict[str, Any]:
    return plan["resource_changes"][number]["change"]


def written(plan: dict[str, Any]) -> dict[str, Any]:
    return plan["configuration"]["root_module"]


OTHERWISE: dict[str, tuple[Edit, str]] = {
    "another value": (lambda plan: at(plan, 0)["after"].update(size=2), "t.new"),
    "a number by a digit": (lambda plan: at(plan, 0)["after"].update(size=12345678901234567891), "t.new"),
    "another action": (lambda plan: at(plan, 0).update(actions=["delete"]), "t.new"),
    "from another value": (lambda plan: at(plan, 0).update(before={"size": 9}), "t.new"),
    "a secret": (lambda plan: at(plan, 1)["after"].update(password="hunter3"), "t.secret"),
    "an output": (lambda plan: plan["output_changes"]["url"].update(after="https://b"), "output.url"),
    "a move": (lambda plan: plan["resource_changes"][0].update(previous_address="t.was"), "t.new"),
    "an import": (lambda plan: at(plan, 0).update(importing={"id": "i-1"}), "t.new"),
    "another provider": (lambda plan: plan["resource_changes"][0].update(provider_name="evil"), "t.new"),
    "where the provider works": (
        lambda plan: plan["configuration"]["provider_config"]["p"].update(expressions={"region": "us"}),
        "provider p",
    ),
    "a provisioner": (
        lambda plan: written(plan)["module_calls"]["m"]["module"]["resources"][0].update(provisioners=[1]),
        "provisioners of module.m.t.each",
    ),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_will_be_done_otherwise_has_another_fingerprint_and_is_named(name: str) -> None:
    edit, changed = OTHERWISE[name]

    difference = made(edit).difference(made().parts)

    assert made(edit).text != made().text
    assert (difference.changed, difference.new, difference.gone) == ((changed,), (), ())


def naming(*names: str, inside: str = "") -> Edit:
    """A plan whose provider `p`, or a provisioner inside the module `m`, names these."""

    def edit(plan: dict[str, Any]) -> None:
        plan["variables"] = {"region": {"value": "eu"}, "key": {"value": "hunter2"}}
        written(plan)["variables"] = {"region": {}, "key": {"sensitive": True}}
        expressions = [{"role": {"arn": {"references": list(names)}}}]
        if inside:
            written(plan)["module_calls"]["m"]["module"]["resources"][0]["provisioners"] = expressions
        else:
            plan["configuration"]["provider_config"]["p"]["expressions"] = {"assume": expressions}

    return edit


@pytest.mark.parametrize(
    ("names", "inside", "counting"),
    [
        (["var.region"], "", {"region"}),
        (["var.key.name", "var.key"], "", {"key"}),
        (['var.region["a"]', "data.a.b"], "", {"region"}),
        (["local.region"], "", {"region", "key"}),
        (["module.m.region"], "", {"region", "key"}),
        (["var.region"], "m", {"region", "key"}),
        (["self.id", "path.module", "each.value"], "m", set()),
    ],
)
def test_a_variable_counts_where_a_provider_or_a_provisioner_may_be_made_of_it(
    names: list[str], inside: str, counting: set[str]
) -> None:
    before = made(naming(*names, inside=inside))
    for name in ("region", "key"):

        def edit(plan: dict[str, Any], name: str = name) -> None:
            naming(*names, inside=inside)(plan)
            plan["variables"][name]["value"] = "other"

        assert (made(edit).text != before.text) is (name in counting)
        assert made(edit).difference(before.parts).changed == ((f"variable {name}",) if name in counting else ())
        assert (made(edit, lineage="") != made(naming(*names, inside=inside), lineage="")) is (
            name in counting and name != "key"
        ), "a secret counts only under a key"


def test_a_resource_that_is_called_as_an_output_counts_beside_it() -> None:
    def edit(plan: dict[str, Any]) -> None:
        plan["resource_changes"].append(resource("output.url", "delete"))

    assert made(edit).difference(made().parts).changed == ("output.url",)
    assert list(made().parts)[:2] == ["t.new", "t.secret"], "in the plan's order"


def test_a_secret_that_is_a_key_stands_in_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", frozenset())
    monkeypatch.setattr(redaction, "_forms", ())
    redaction.register_secrets(["hunter2"])

    def edit(plan: dict[str, Any]) -> None:
        plan["resource_changes"][0]["address"] = 't.new["hunter2"]'

    assert list(made(edit).parts)[:2] == ['t.new["[redacted]"]', "t.secret"]


SAME: dict[str, Edit] = {
    "another time": lambda plan: plan.update(timestamp="2027-01-01T00:00:00Z"),
    "another version": lambda plan: plan.update(terraform_version="1.12.0", format_version="1.3"),
    "drift": lambda plan: plan["resource_drift"].append(resource("t.new", "update")),
    "the order of the changes": lambda plan: plan["resource_changes"].reverse(),
    "the order of providers": lambda plan: plan["configuration"].update(
        provider_config=dict(reversed(plan["configuration"]["provider_config"].items()))
    ),
    "what stays as it is": lambda plan: at(plan, 3).update(before={"size": 5}),
    "a provisioner of what stays": lambda plan: written(plan)["resources"][1].update(provisioners=[2]),
    "an output that stays": lambda plan: plan["output_changes"].pop("old"),
}


@pytest.mark.parametrize("name", SAME)
def test_what_changes_nothing_of_what_will_be_done_has_the_same_fingerprint(name: str) -> None:
    assert made(SAME[name]) == made()


def test_of_a_plan_that_only_refreshes_the_drift_is_what_counts() -> None:
    def refresh(size: int, *, applyable: bool = True) -> Edit:
        def edit(plan: dict[str, Any]) -> None:
            drift = [resource("t.new", "update", after={"size": size})]
            plan.update(resource_changes=[], output_changes={}, resource_drift=drift, applyable=applyable)

        return edit

    assert made(refresh(1)) != made(refresh(2))
    assert list(made(refresh(1)).parts) == ["drift of t.new"]
    assert made(refresh(1, applyable=False)) == made(refresh(2, applyable=False))


def test_what_is_gone_and_what_is_new_is_named() -> None:
    def edit(plan: dict[str, Any]) -> None:
        plan["resource_changes"][0]["address"] = "t.newer"

    difference = made(edit).difference(made().parts)

    assert (difference.gone, difference.new) == (("provider p", "t.new"), ("t.newer",))


def test_a_secret_cannot_be_guessed_without_the_states_lineage() -> None:
    """The key is what only the state and its plans hold; where there is none yet, a secret does not count."""

    def guess(plan: dict[str, Any]) -> None:
        at(plan, 1)["after"]["password"] = "guessed"

    assert made().parts["t.new"] != made(lineage="another").parts["t.new"]
    assert made(guess, lineage="") == made(lineage="")
    assert "hunter2" not in repr(made())


def test_a_plan_without_changes_has_a_fingerprint_of_its_own() -> None:
    found = read_fingerprint(b'{"format_version": "1.2", "configuration": {}, "errored": false}', LINEAGE)

    assert found is not None and PATTERN.fullmatch(found.text)
    assert found.parts == {} and found.text != made().text


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[]", b"\xff", b"[" * 9999, b'{"format_version": "1.0", "values": {}}']
    + [
        b'{"format_version": "1.2", "configuration": {}, "resource_changes": %s}' % changes
        for changes in (b"null", b"[1]", b"[{}]", b'[{"address": "a", "change": 3}]')
    ],
)
def test_what_is_no_plan_has_none(text: bytes) -> None:
    assert read_fingerprint(text, LINEAGE) is None


@pytest.mark.parametrize(
    ("content", "lineage"),
    [
        (b'{"serial": 1, "lineage": "L"}', "L"),
        (b'{"lineage": ""}', ""),
        (b"{", ""),
        (b'{"lineage": 3}', ""),
        (None, ""),
    ],
)
def test_the_lineage_is_read_from_the_plan(tmp_path: Path, content: bytes | None, lineage: str) -> None:
    with zipfile.ZipFile(tmp_path / "p", "w") as archive:
        archive.writestr("tfplan", b"")
        if content is not None:
            archive.writestr("tfstate", content)

    assert read_lineage(tmp_path / "p") == lineage
    assert read_lineage(tmp_path / "none") == ""
