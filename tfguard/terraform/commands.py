"""
Terraform's commands, one row each: which of them tfguard locks for, and what else differs from one to another.

A command that is not here is run untouched, with Terraform's own locking on. Standard library only: `process.launch`
reads this table before anything else of ours is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """
    One command of Terraform or OpenTofu.

    operation: What Terraform writes as LockInfo.Operation while it runs. Empty where tfguard takes no lock for it.
    is_changing: It may change the state that it locks.
    reads_backend: It needs the backend initialised; for a pipeline tfguard does that first.
    takes_var_files: Terraform accepts `-var-file`. Given to any other command, Terraform refuses to run.
    takes_arguments: It may stand under `args` in tfguard.yml.
    is_for_people: Its output is for people, so a job's page may show it. What the others print may be piped into a
        program, and is never touched.
    """

    name: str
    operation: str = ""
    is_changing: bool = False
    reads_backend: bool = False
    takes_var_files: bool = False
    takes_arguments: bool = False
    is_for_people: bool = False

    @property
    def takes_lock(self) -> bool:
        """Whether it runs under our lock."""
        return bool(self.operation)


def _locked(name: str, operation: str, *, is_changing: bool = True, **others: bool) -> Command:
    return Command(name, operation, is_changing, reads_backend=True, is_for_people=True, **others)


#: What runs under our lock accepts `-lock` and takes exactly one lock: that of the selected workspace, of the workspace
#: named (`workspace delete`), or of the plan file (`apply FILE`).
#: Without a lock of ours, though they accept `-lock`: `init` (takes two locks when it migrates, else none) and
#: `workspace new` (Terraform's implicit lock on the new workspace ignores `-lock=false` and would collide with ours).
#: Nor `console`, which locks and has no flag to say no.
_ROWS = (
    _locked("apply", "OperationTypeApply", takes_var_files=True, takes_arguments=True),
    Command("console", reads_backend=True, takes_var_files=True, takes_arguments=True),
    # Terraform's own name for it.
    _locked("destroy", "OperationTypeApply", takes_var_files=True, takes_arguments=True),
    Command("env"),  # The old name of `workspace`.
    Command("env delete"),
    Command("env list"),
    Command("env new"),
    Command("env select"),
    Command("fmt", takes_arguments=True, is_for_people=True),
    Command("force-unlock", reads_backend=True, is_for_people=True),
    Command("get", takes_arguments=True, is_for_people=True),
    Command("graph", reads_backend=True, takes_arguments=True),
    # Terraform never sets an operation there.
    _locked("import", "OperationTypeInvalid", takes_var_files=True, takes_arguments=True),
    Command("init", takes_arguments=True, is_for_people=True),
    Command("login"),
    Command("logout"),
    Command("metadata"),
    Command("metadata functions"),
    Command("modules"),
    Command("output", reads_backend=True, takes_arguments=True),
    # It reads the state, and must not see half of an apply.
    _locked("plan", "OperationTypePlan", is_changing=False, takes_var_files=True, takes_arguments=True),
    Command("providers", reads_backend=True, takes_arguments=True),
    Command("providers lock", reads_backend=True),
    Command("providers mirror", reads_backend=True),
    Command("providers schema", reads_backend=True),
    Command("query", takes_arguments=True),
    _locked("refresh", "OperationTypeRefresh", takes_var_files=True, takes_arguments=True),
    Command("show", reads_backend=True, takes_arguments=True),
    Command("state", reads_backend=True, takes_arguments=True),
    Command("state list", reads_backend=True),
    _locked("state mv", "state-mv"),
    Command("state pull", reads_backend=True),
    _locked("state push", "state-push"),
    _locked("state replace-provider", "state-replace-provider"),
    _locked("state rm", "state-rm"),
    Command("state show", reads_backend=True),
    _locked("taint", "taint", takes_arguments=True),
    Command("test", takes_arguments=True, is_for_people=True),
    _locked("untaint", "untaint", takes_arguments=True),
    Command("validate", takes_arguments=True, is_for_people=True),
    Command("version"),
    Command("workspace", reads_backend=True, takes_arguments=True),
    # A slip of Terraform's, kept so that records match.
    _locked("workspace delete", "state-replace-provider"),
    Command("workspace list", reads_backend=True),
    Command("workspace new", reads_backend=True, is_for_people=True),
    Command("workspace select", reads_backend=True, is_for_people=True),
    Command("workspace show", reads_backend=True),
)

#: Each command by its words: `("apply",)`, `("state", "mv")`.
COMMANDS: Mapping[tuple[str, ...], Command] = {tuple(row.name.split()): row for row in _ROWS}
#: Their first words.
NAMES = frozenset(words[0] for words in COMMANDS)
#: The commands of two words: `state` → `list`, `mv`, …
SUBCOMMANDS: Mapping[str, tuple[str, ...]] = {
    group: tuple(words[1] for words in COMMANDS if words[0] == group and len(words) > 1)
    for group in sorted({words[0] for words in COMMANDS if len(words) > 1})
}
#: What may stand under `args` in tfguard.yml.
TAKING_ARGUMENTS = tuple(row.name for row in _ROWS if row.takes_arguments)


def find(words: Sequence[str]) -> Command | None:
    """Return a command's row: a subcommand that we do not know is taken for its group, an unknown command for none."""
    return COMMANDS.get(tuple(words[:2])) or COMMANDS.get(tuple(words[:1]))


def may_change(name: str) -> bool:
    """Whether a run of this name may have changed the state, also where it is not a command of Terraform's."""
    row = COMMANDS.get(tuple(name.split()))
    return row is None or row.is_changing
