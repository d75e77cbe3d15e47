from __future__ import annotations

import pytest

from tfguard.config.variables import UnsetVariable, expand, has_variables, malformed_reference


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${HOME_DIR}/x", "/home/x"),
        ("a-${HOME_DIR}-${HOME_DIR}", "a-/home-/home"),
        ("${MISSING:-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${MISSING:-}", ""),
        ("${EMPTY}", ""),
        ("${MISSING:-a:-b $ c}", "a:-b $ c"),
        ("$$", "$"),
        ("$${HOME_DIR}", "${HOME_DIR}"),
        ("$$${HOME_DIR}", "$/home"),
        ("$HOME_DIR costs 5$", "$HOME_DIR costs 5$"),
        ("${TRICKY}", "${HOME_DIR} $$"),
    ],
)
def test_variables_are_put_in_once(text: str, value: str) -> None:
    environ = {"HOME_DIR": "/home", "EMPTY": "", "TRICKY": "${HOME_DIR} $$"}

    assert expand(text, environ) == value


def test_variables_are_found_inside_lists_and_maps_but_not_in_keys() -> None:
    value = {"${A}": ["${A}", 1, None, True]}

    assert expand(value, {"A": "x"}) == {"${A}": ["x", 1, None, True]}


def test_an_unset_variable_is_named() -> None:
    with pytest.raises(UnsetVariable) as caught:
        expand("${A}${B}", {"A": "x"})

    assert caught.value.name == "B"


@pytest.mark.parametrize(
    "text", ["${", "${}", "${1A}", "${A-x}", "${A:?x}", "${A B}", "${A:-${B}}", "x${aws:username}"]
)
def test_what_is_no_reference_is_malformed(text: str) -> None:
    assert malformed_reference(text) is not None


@pytest.mark.parametrize(
    ("text", "claim"), [("$${A}", False), ("${A}", True), ("$$${A}", True), ("$A", False), (1, False)]
)
def test_only_real_references_make_a_text_depend_on_the_environment(text: object, claim: bool) -> None:
    assert has_variables(text) is claim
