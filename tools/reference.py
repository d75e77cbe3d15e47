"""
The tables of docs/reference, made from what they are about: `make reference` writes each between its marks.

A page has `<!-- made: NAME -->` and `<!-- /made -->` where a table of `TABLES` belongs; the words around it are its
own. What a table says is changed where it comes from: the commands' help, the keys of tfguard.yml, action.yml.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import yaml
from msgspec import inspect

from tfguard.cli import helping, own_commands
from tfguard.config.keys import Key, PipelineKeys, type_of
from tfguard.errors import TfguardError
from tools.own_commands import each

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_MADE = re.compile(r"(<!-- made: (?P<name>[\w-]+) -->\n).*?(<!-- /made -->)", re.DOTALL)
_EXAMPLE = re.compile(r"For example: (?P<line>[^\n]+)\s*$")
_OPTION = re.compile(r"  (?P<what>-\S.*?)  +(?P<says>\S.*)")
#: An option in action.yml's program that is not the long one.
_LONG = {"-p": "--pipeline"}

#: A value of each key, as it is written in tfguard.yml.
EXAMPLES = {
    "dir": "stacks/network",
    "workspace": "prod",
    "binary": "tofu",
    "init": "never",
    "backend_config": "{bucket: acme-prod-state, key: network.tfstate}",
    "var_files": "[env/prod.tfvars]",
    "vars": '{owner: "${TEAM:-platform}"}',
    "args": "{plan: [-parallelism=5]}",
    "env": "{AWS_PROFILE: prod}",
    "steps": "[init, plan]",
    "approve": "auto",
    "run_timeout": "45m",
    "paths": '["templates/*.json"]',
    "retry.init.attempts": "5",
    "retry.init.patterns": '["registry is busy"]',
    "lock.mode": "named",
    "lock.store": "dynamodb://locks",
    "lock.name": "network",
    "lock.timeout": "20m",
    "lock.lease": "60s",
    "lock.freeze_timeout": "10m",
    "lock.takeover": "plan-only",
    "lock.plan": "skip",
    "lock.order": "none",
}


def current(text: str) -> str:
    """Return a page with each of its tables made anew."""
    return _MADE.sub(lambda found: f"{found[1]}{TABLES[found['name']]()}{found[3]}", text)


def names(text: str) -> list[str]:
    """Return the names of a page's tables."""
    return [found["name"] for found in _MADE.finditer(text)]


def main() -> None:
    """Write those pages anew whose tables are not current."""
    for page in sorted(DOCS.rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        if (after := current(before)) != before:
            page.write_text(after, encoding="utf-8")


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, *rows]
    assert not any("|" in cell for line in lines for cell in line), lines
    written = [" | ".join(line) for line in lines]
    return (
        "\n".join([f"| {written[0]} |", "|---" * len(headings) + "|", *(f"| {line} |" for line in written[1:])]) + "\n"
    )


def _code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


# --- commands -------------------------------------------------------------------------------------------------------


def _options() -> str:
    rows = (_OPTION.fullmatch(line) for line in (own_commands.group.help or "").splitlines())
    return _table(["option", "what it does"], [[_code(row["what"]), row["says"]] for row in rows if row])


def _commands() -> str:
    return "\n".join(_told())


def _told() -> Iterator[str]:
    for command, inside in each():
        yield f"### {inside.command_path}\n"
        text = command.help or ""
        example = _EXAMPLE.search(text)
        yield f"{_code(' '.join([inside.command_path, *command.collect_usage_pieces(inside)]))}\n"
        if example:
            yield f"```\n{example['line'].partition(', as ')[0]}\n```\n"
        yield from (f"{' '.join(part.split())}\n" for part in _EXAMPLE.sub("", text).split("\n\n") if part.strip())
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        records = [record for option in options if (record := option.get_help_record(inside))]
        if records:
            yield _table(["option", "what it does"], [_option(*record) for record in records])


def _option(what: str, says: str) -> list[str]:
    """A choice is told in words: a | in a table is read differently by GitHub and by mkdocs."""
    option, _, choice = what.partition(" [")
    return (
        [_code(f"{option} WORD"), f"{says} WORD: {', '.join(choice[:-1].split('|'))}."]
        if choice
        else [_code(what), says]
    )


def _variables() -> str:
    return _table(["variable", "meaning"], [[_code(name), says] for name, says in helping.environment().items()])


def _exit_codes() -> str:
    outcomes: dict[str, list[str]] = {}
    for kind in _kinds(TfguardError):
        outcomes.setdefault(str(kind.exit_code), []).append(kind.outcome.value)
    rows = [
        [code, says, ", ".join(map(_code, dict.fromkeys(outcomes.get(code, []))))]
        for code, says in helping.EXIT_CODES.items()
    ]
    return _table(["code", "meaning", "outcome"], rows)


def _kinds(kind: type[TfguardError]) -> Iterator[type[TfguardError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


# --- configuration --------------------------------------------------------------------------------------------------


def _keys() -> str:
    rows = [
        [_code(path), _code(_written(key.default)), _value(kind, key), _meaning(key, says), _code(EXAMPLES[path])]
        for path, key, kind, says in leaves(type_of(PipelineKeys))
    ]
    return _table(["key", "default", "value", "meaning", "example"], rows)


def leaves(kind: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Key, Any, str]]:
    """Return each key that has a value of its own: path, what is declared of it, its type, its description."""
    for field in kind.fields:
        path, of_value, key, says = (*above, field.encode_name), field.type, Key(), ""
        while isinstance(of_value, inspect.Metadata) and "key" in (of_value.extra or {}):
            key = (of_value.extra or {})["key"]
            says = (of_value.extra_json_schema or {}).get("description", says)
            of_value = of_value.type
        inner = getattr(of_value, "types", (of_value,))
        if isinstance(inner[0], inspect.StructType):
            yield from leaves(inner[0], path)
        else:
            yield ".".join(path), key, inner, says


def _value(kinds: Sequence[Any], key: Key) -> str:
    words = [_kind(kind) for kind in kinds]
    first = _code(key.default)
    if first in (choices := words[0].split(", ")):
        words[0] = ", ".join(sorted(choices, key=lambda word: (word != first, word)))
    return " or ".join(words)


def _kind(kind: Any) -> str:
    while isinstance(kind, inspect.Metadata):
        if (kind.extra or {}).get("is_duration"):
            return "a duration"
        kind = kind.type
    match kind:
        case inspect.LiteralType(values=values):
            return ", ".join(_code(value) for value in sorted(values))
        case inspect.EnumType(cls=cls):
            return ", ".join(_code(each.value) for each in cls)
        case inspect.IntType(ge=low, le=high):
            return f"{low} to {high}" if high is not None else "a number"
        case inspect.ListType(item_type=item):
            return f"a list of {_kind(item).replace('a text', 'texts')}"
        case inspect.DictType():
            return "a map"
        case _:
            return "a text"


def _written(default: object) -> str:
    return f"[{', '.join(default)}]" if isinstance(default, list) else "" if default is None else str(default)


def _meaning(key: Key, says: str) -> str:
    also = [key.environment, key.flag.name if key.flag else ""]
    told = ", ".join(_code(each) for each in also if each)
    return f"{says} ({told})" if told else says


# --- CI -------------------------------------------------------------------------------------------------------------


def _action() -> Any:
    return yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


def _inputs() -> str:
    spec = importlib.util.spec_from_file_location("entry", ROOT / "action" / "entry.py")
    assert spec is not None and spec.loader is not None
    entry = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(entry)
    handed = {name: _LONG.get(option, option) for option, name in entry.FLAGS.items()}
    handed |= {name: variable for variable, name in entry.VARIABLES.items()}
    rows = [
        [_code(name), _code(each.get("default", "")), _code(handed.get(_variable(name), "")), each["description"]]
        for name, each in _action()["inputs"].items()
    ]
    return _table(["input", "default", "handed on as", "meaning"], rows)


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


def _outputs() -> str:
    rows = [[_code(name), each["description"]] for name, each in _action()["outputs"].items()]
    return _table(["output", "meaning"], rows)


def _template() -> str:
    """The variables that the head of the template explains, a comment of one or more lines each."""
    head = (ROOT / ".gitlab-ci-template.yml").read_text(encoding="utf-8").partition("\n\n")[0]
    rows: list[list[str]] = []
    for name, says in re.findall(r"^#   (?:(TFGUARD_\w+) | {10})\s+(\S.*)$", head, re.MULTILINE):
        if name:
            rows.append([_code(name), says])
        elif rows:
            rows[-1][1] += f" {says}"
    return _table(["variable", "meaning"], rows)


#: What stands between the marks of that name.
TABLES: dict[str, Callable[[], str]] = {
    "options": _options,
    "commands": _commands,
    "keys": _keys,
    "inputs": _inputs,
    "outputs": _outputs,
    "gitlab-variables": _template,
    "variables": _variables,
    "exit-codes": _exit_codes,
}


if __name__ == "__main__":
    main()
