"""
`tfguard config`: what holds and where it comes from, whether the file is right, and the file's JSON Schema.

None of it needs Terraform, a backend or credentials.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfguard import redaction
from tfguard.config.changed import changed_since, is_concerned, names_no_commit
from tfguard.config.document import KeyPath, Problem, dotted
from tfguard.config.file import HOW_TO_HAVE_ONE, UNSHOWN, Config, Leaf, find_config, inspect, load
from tfguard.config.named_files import missing_files
from tfguard.config.schema import schema
from tfguard.config.settings import resolved
from tfguard.config.variables import UnsetVariable, expand
from tfguard.errors import NAMED, ConfigError
from tfguard.outlet import write_answer
from tfguard.report.table import print_table
from tfguard.run.call import Call
from tfguard.terraform.modules import local_modules
from tfguard.wire import printable_json, publish

_HIDDEN = "(not shown)"


def show(call: Call, *, has_origins: bool, is_json: bool) -> int:
    """
    Print every value that holds for the pipeline, or for this directory; never one that may be a secret.

    Raises:
        ConfigError, UsageError: The file, the pipeline or a value is wrong.
    """
    options, environ = call.options, call.environ
    path = find_config(Path.cwd() / (options.chdir or ""), options.config, environ)
    config = load(path, environ) if path else None
    leaves = resolved(config, options.pipeline, environ=environ, flags=options.flags)
    found = {dotted(path): (_shown(path, leaf.value), leaf.origin) for path, leaf in sorted(leaves.items())}
    if is_json:
        facts = {key: {"value": value, "origin": origin} for key, (value, origin) in found.items()}
        _print_json(facts)
    elif has_origins:
        print_table(("KEY", "VALUE", "FROM"), [(key, _text(value), origin) for key, (value, origin) in found.items()])
    else:
        print_table(("KEY", "VALUE"), [(key, _text(value)) for key, (value, _) in found.items()])
    return 0


def validate(call: Call) -> int:
    """
    Check tfguard.yml, whole, with the files that it names, and tell of everything that is wrong.

    Raises:
        ConfigError: Something is; each problem has been said. Or there is no file.
    """
    options, environ = call.options, call.environ
    path = _the_file(call)
    config, problems = inspect(path, environ)
    for problem in problems:
        call.report.say("error", "config.refused", str(problem))
    for missing in () if problems else missing_files(config, environ):
        call.report.say("error" if missing.is_certain else "warning", "config.file_missing", str(missing.problem))
        problems += [missing.problem] if missing.is_certain else []
    for problem in wrong_stores(config, environ) if not problems else ():
        call.report.say("error", "config.refused", str(problem))
        problems.append(problem)
    shown = config.document.shown
    if problems:
        raise ConfigError(f"{shown}: {_counted(len(problems), 'problem')}.", about=NAMED)
    if options.pipeline:
        config.require(options.pipeline)
        resolved(config, options.pipeline, environ=environ)
    write_answer(f"{shown} is valid: {_counted(len(config.names), 'pipeline')}.")
    return 0


def wrong_stores(config: Config, environ: Mapping[str, str]) -> list[Problem]:
    """Return what is wrong with each pipeline's `lock.store` and `lock.name`; what variables leave open is not."""
    from tfguard.backends.urls import WrongStore, is_lock_name, parse_store_url

    found: dict[Problem, None] = {}
    for pipeline in config.names:
        leaves = config.merged(pipeline)
        name = _expanded(leaves.get(("lock", "name")), environ) or "name"
        for key in ("name", "store"):
            leaf = leaves.get(("lock", key))
            value = _expanded(leaf, environ)
            if leaf is None or leaf.at is None or not value or (key == "store" and not is_lock_name(name)):
                continue
            with contextlib.suppress(ConfigError):  # What this environment lacks, another may have.
                try:
                    parse_store_url(value if key == "store" else "file:///", name, environ)
                except WrongStore as error:
                    problem = Problem(config.document.where(leaf.at), dotted(leaf.at), *str(error).split("\n", 1))
                    found[problem] = None
    return list(found)


def _expanded(leaf: Leaf | None, environ: Mapping[str, str]) -> str:
    with contextlib.suppress(UnsetVariable):
        return expand(leaf.value, environ) if leaf is not None and isinstance(leaf.value, str) else ""
    return ""


def list_pipelines(call: Call, *, since: str, is_json: bool) -> int:
    """
    Print the pipelines' names; with `since`, only of those whose directory or `paths` have changed since that commit.

    Raises:
        ConfigError: There is no file, or git cannot compare with that commit.
    """
    environ = call.environ
    path = _the_file(call)
    config = load(path, environ)
    names = config.names
    if names_no_commit(since):
        call.report.say(
            "info", "config.all_listed", "tfguard: --changed-since names no commit, as a first push does: all."
        )
    elif since:
        files = changed_since(config.root, since)
        names = [name for name in names if is_concerned(config, name, files, environ, folders_read=local_modules)]
    write_answer(printable_json(names, is_compact=True) if is_json else "\n".join(names))
    return 0


def print_schema() -> int:
    """Print the JSON Schema of tfguard.yml, the same as `tfguard.schema.json` in the package."""
    write_answer(printable_json(schema()))
    return 0


def _the_file(call: Call) -> Path:
    """Return the tfguard.yml that the call is about. Raises ConfigError: There is none."""
    options = call.options
    path = find_config(Path.cwd() / (options.chdir or ""), options.config, call.environ)
    if path is None:
        raise ConfigError("there is no tfguard.yml here or above.", HOW_TO_HAVE_ONE)
    return path


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _shown(path: KeyPath, value: Any) -> Any:
    return _HIDDEN if path[0] in UNSHOWN else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else publish(value).decode()


def _print_json(facts: Any) -> None:
    write_answer(redaction.redact(printable_json(facts)))
