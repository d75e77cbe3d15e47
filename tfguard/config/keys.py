"""
The keys of tfguard.yml, each declared once: its type, what it is for, and whatever else sets it apart.

Validation, the JSON Schema, the precedence of flag and environment, and what `tfguard config` shows all follow from
here; `settings` reads the value. A key with a flag has its option and its line of help from here, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tfguard.config import values
from tfguard.config.document import KeyPath
from tfguard.config.values import Rule
from tfguard.lock.protocol import Order, TakeoverPolicy
from tfguard.terraform.commands import TAKING_ARGUMENTS

Duration = Annotated[
    str,
    Meta(
        pattern=r"^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$",
        extra={"is_duration": True},
        extra_json_schema={"examples": ["90s", "10m", "1h30m"]},  # no description: it would stand in front of the key's
    ),
]
Step = Literal["init", "plan", "apply"]
#: A command of Terraform's, whose arguments may be given under `args`.
CommandName = Annotated[str, Meta(extra={"known": TAKING_ARGUMENTS})]


class Flag(msgspec.Struct, frozen=True):
    """
    An option of the command line for a key: `--lock-timeout DURATION`.

    `example` is a value, for messages. `is_terraforms`: Terraform has a flag of this name, too.
    """

    name: str
    metavar: str
    example: str
    help: str
    is_terraforms: bool = False


class Key(msgspec.Struct, frozen=True):
    """
    What sets a key apart beyond its type.

    environment: The variable that beats the file. flag: the option that beats them all.
    rule: What the value must be. item_rule, name_rule: what each item of a list, each key of a map must be.
    holds_everywhere: Among `defaults` it holds for a directory that was not named as a pipeline too: it says how to
        lock and run, never what with.
    is_secret: No message and no command shows what is written there.
    is_one_value: A map that is replaced as a whole below its first keys, never merged.
    """

    default: Any = None
    environment: str = ""
    flag: Flag | None = None
    rule: Rule | None = None
    item_rule: Rule | None = None
    name_rule: Rule | None = None
    holds_everywhere: bool = False
    is_secret: bool = False
    is_one_value: bool = False


def key(description: str = "", **apart: Any) -> Meta:
    """Declare a key, in its type's `Annotated`: `description` for people and editors, and what `Key` has."""
    in_schema = {"default": apart["default"]} if "default" in apart else {}
    return Meta(description=description or None, extra={"key": Key(**apart)}, extra_json_schema=in_schema)


class _Keys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A map of the file. UNSET: not written there."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"  # values may be secrets


class LockKeys(_Keys, frozen=True, kw_only=True):
    mode: Annotated[
        Literal["state", "named"] | UnsetType,
        key("state: Terraform's own lock. named: a lock of your own `name` in your own `store`.", default="state"),
    ] = UNSET
    store: Annotated[
        str | UnsetType,
        key(
            "Where a named lock lives, or the lease of a lock that has no room for one: dynamodb://table, s3://bucket.",
            rule=values.not_empty,
        ),
    ] = UNSET
    name: Annotated[str | UnsetType, key("The name of a named lock.", rule=values.not_empty)] = UNSET
    timeout: Annotated[
        Duration | UnsetType,
        key(
            "How long to wait for the lock; 0 is one try.",
            default="10m",
            environment="TFGUARD_LOCK_TIMEOUT",
            flag=Flag("--lock-timeout", "DURATION", "10m", "how long to wait for the lock (10m)", is_terraforms=True),
            rule=values.not_negative,
        ),
    ] = UNSET
    lease: Annotated[
        Duration | UnsetType,
        key(
            "The silence after which a holder counts as dead; from 30s to 1h.",
            default="180s",
            environment="TFGUARD_LOCK_LEASE",
        ),
    ] = UNSET
    freeze_timeout: Annotated[
        Duration | UnsetType,
        key(
            "How long Terraform is kept frozen while nobody can tell whose the lock is; then it is killed.",
            default="30m",
            environment="TFGUARD_LOCK_FREEZE_TIMEOUT",
            rule=values.positive,
        ),
    ] = UNSET
    takeover: Annotated[
        TakeoverPolicy | UnsetType,
        key(
            "Whether a dead run's lock is taken over. plan-only: only that of a run which could not change anything.",
            default="always",
            environment="TFGUARD_LOCK_TAKEOVER",
        ),
    ] = UNSET
    plan: Annotated[
        Literal["wait", "skip"] | UnsetType,
        key("skip: plan without the lock and without waiting.", default="wait", environment="TFGUARD_LOCK_PLAN"),
    ] = UNSET
    order: Annotated[
        Order | UnsetType,
        key(
            "fifo: a line, first come, first served. none: the quickest gets it.",
            default="fifo",
            environment="TFGUARD_LOCK_ORDER",
        ),
    ] = UNSET


class InitRetryKeys(_Keys, frozen=True, kw_only=True):
    attempts: Annotated[
        Annotated[int, Meta(ge=1, le=10)] | UnsetType,
        key("How often `init` is tried: again after errors of the network, a registry or a plugin cache.", default=3),
    ] = UNSET
    patterns: Annotated[
        list[str] | UnsetType,
        key(
            "More regular expressions of errors that another try may cure.",
            rule=values.regular_expressions,
            item_rule=values.regular_expression,
        ),
    ] = UNSET


class RetryKeys(_Keys, frozen=True, kw_only=True):
    init: InitRetryKeys | UnsetType = UNSET


class PipelineKeys(_Keys, frozen=True, kw_only=True):
    dir: Annotated[
        str | UnsetType,
        key("Terraform's directory, relative to this file.", default=".", rule=values.not_empty),
    ] = UNSET
    workspace: Annotated[str | UnsetType, key("Terraform's workspace.", rule=values.workspace)] = UNSET
    binary: Annotated[
        Literal["terraform", "tofu"] | UnsetType, key("Which program to run, from PATH.", holds_everywhere=True)
    ] = UNSET
    init: Annotated[
        Literal["auto", "never"] | UnsetType,
        key(
            "auto: initialise the directory where it is needed. never: one that is not initialised is an error.",
            default="auto",
            environment="TFGUARD_INIT",
            holds_everywhere=True,
        ),
    ] = UNSET
    backend_config: Annotated[
        dict[str, Any] | list[str] | UnsetType,
        key(
            "Values for the backend, or files that hold them.",
            item_rule=values.path,
            is_secret=True,
            is_one_value=True,
        ),
    ] = UNSET
    var_files: Annotated[
        list[str] | UnsetType, key("Files for -var-file, relative to this file.", item_rule=values.path)
    ] = UNSET
    vars: Annotated[
        dict[str, Any] | UnsetType,
        key(
            "Terraform variables; they travel as TF_VAR_*, never on a command line.",
            name_rule=values.variable_name,
            is_secret=True,
            is_one_value=True,
        ),
    ] = UNSET
    args: Annotated[
        dict[CommandName, list[str]] | UnsetType, key("More arguments for Terraform, by command.", is_secret=True)
    ] = UNSET
    env: Annotated[
        dict[str, str] | UnsetType,
        key("More environment variables for Terraform.", name_rule=values.environment_name, is_secret=True),
    ] = UNSET
    steps: Annotated[
        list[Step] | UnsetType,
        key("What `tfguard run` does.", default=["init", "plan", "apply"], rule=values.steps),
    ] = UNSET
    approve: Annotated[
        Literal["prompt", "auto"] | UnsetType,
        key(
            "prompt: `tfguard run` asks before it applies. auto: it does not.",
            default="prompt",
            environment="TFGUARD_APPROVE",
            holds_everywhere=True,
        ),
    ] = UNSET
    run_timeout: Annotated[
        Duration | UnsetType,
        key(
            "How long a run may take, without waiting.",
            environment="TFGUARD_RUN_TIMEOUT",
            rule=values.positive,
            holds_everywhere=True,
        ),
    ] = UNSET
    paths: Annotated[
        list[str] | UnsetType,
        key("Globs of further files whose change concerns this pipeline.", item_rule=values.path),
    ] = UNSET
    retry: Annotated[RetryKeys | UnsetType, key(holds_everywhere=True)] = UNSET
    lock: Annotated[LockKeys | UnsetType, key(holds_everywhere=True)] = UNSET


class FileKeys(_Keys, frozen=True, kw_only=True):
    version: Annotated[Literal[1], Meta(description="The version of this format.")]
    defaults: Annotated[PipelineKeys | UnsetType, Meta(description="What holds for every pipeline.")] = UNSET
    pipelines: Annotated[
        dict[str, PipelineKeys] | UnsetType,
        Meta(description="One directory, workspace, backend and lock each, by name."),
    ] = UNSET


@cache
def type_of(struct: type[msgspec.Struct]) -> Any:
    """Return the type of a map of the file, as msgspec describes it."""
    return msgspec.inspect.type_info(struct)


@cache
def keys() -> dict[KeyPath, Key]:
    """Return every key that a pipeline may have, by its path; maps of keys included."""
    return dict(_declared(type_of(PipelineKeys), ()))


def top_level(trait: str) -> frozenset[str]:
    """Return the keys right below a pipeline for which `trait` of `Key` is true."""
    return frozenset(str(path[0]) for path, found in keys().items() if len(path) == 1 and getattr(found, trait))


def _declared(kind: Any, above: KeyPath) -> Iterator[tuple[KeyPath, Key]]:
    for field in kind.fields:
        path, kind_of_value, found = (*above, field.encode_name), field.type, Key()
        while isinstance(kind_of_value, msgspec.inspect.Metadata):
            found = (kind_of_value.extra or {}).get("key", found)
            kind_of_value = kind_of_value.type
        yield path, found
        if isinstance(kind_of_value, msgspec.inspect.StructType):
            yield from _declared(kind_of_value, path)
