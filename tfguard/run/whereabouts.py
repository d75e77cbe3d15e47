"""
Where a directory's lock is, for whoever looks at it or works on it by hand: also in a fresh clone, without Terraform.

Where `init` has been run for what the call is about, its cache says it. Elsewhere it is worked out as the next `init`
would: from the backend's block, what the pipeline adds to it, and the workspace. Where these do not say it, nobody
guesses. Asks nobody but HCP Terraform, runs nothing, writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from tfguard.backends import locate
from tfguard.backends.attributes import MissingAttribute
from tfguard.backends.environ import extend_environment
from tfguard.backends.target import PlannedBackend, Target, Unlockable
from tfguard.errors import NAMED, ConfigError, NotInitialised, TfguardCommand, UsageError
from tfguard.report.messages import operating, phrases
from tfguard.run.call import Call
from tfguard.run.context import Context, find_target, guarded, make_context, named_target
from tfguard.run.initialise import why_init
from tfguard.run.intended_backend import intended_backend
from tfguard.terraform import command_line
from tfguard.terraform.backend_block import Declared, text_of
from tfguard.terraform.workdir import WorkingDirectory
from tfguard.text import printable

_APPLY = command_line.parse(("apply",), {})
_ADVICE = "Correct it in the backend's block, or in backend_config of tfguard.yml."
#: Backends that know no workspaces, or say themselves where one has to be named.
_WITHOUT_WORKSPACES = frozenset({"http", "cloud", "remote"})


@dataclass(frozen=True)
class Whereabouts:
    """
    A lock that can be held, and how far that is known.

    `source`: what it was worked out from, in words; empty where `init` has said it. `doubt`: why another lock may be
    meant; empty where it is certain. What is read may be shown with its doubt; nothing is written with one.
    """

    subject: phrases.Subject
    target: Target
    source: str = ""
    doubt: str = ""

    def require_certain(self) -> Whereabouts:
        """Raise UsageError where another lock may be meant: what is to be done says its doubt."""
        if self.doubt:
            raise UsageError(operating.is_doubtful(self.subject, self.doubt), about=NAMED)
        return self


def operated(call: Call) -> Whereabouts:
    """
    Find the lock that a call is about, and make this process resolve credentials as its Terraform would.

    Raises:
        ConfigError, UsageError: There is no such lock, or none that could be held.

        NotInitialised: Only `init` could tell which it is.
    """
    context = make_context(call, needs_binary=False)
    extend_environment(context.environ)
    found = find(context)
    if isinstance(found, Unlockable):
        raise ConfigError(found.reason, about=context.label())
    return found


def find(context: Context) -> Whereabouts | Unlockable:
    """Find the lock of a call that has been resolved. Raises as `operated` does, for what cannot be held nothing."""
    if context.named is not None:
        target = named_target(context, context.named)
        return Whereabouts(structs.replace(context.subject(target), label=context.named.name), target)
    workdir = context.workdir()
    if context.settings.lock.mode == "named" or _says_init(context, workdir):
        found = find_target(context, _APPLY, workdir)
        return found if isinstance(found, Unlockable) else Whereabouts(context.subject(found), found)
    return _worked_out(context, workdir)


def _says_init(context: Context, workdir: WorkingDirectory) -> bool:
    """Whether what `init` has left here holds for this call; also where there is nothing to work it out from."""
    if workdir.backend is None and (workdir.declared or workdir.doubt):
        return False
    return not why_init(context) if context.settings.pipeline else True


def _worked_out(context: Context, workdir: WorkingDirectory) -> Whereabouts | Unlockable:
    if not workdir.declared and (why := workdir.doubt):
        raise _unknown(why)
    backend = intended_backend(context, otherwise=_unreadable) if workdir.declared else Declared("local", {})
    if backend.unread:
        raise _unknown(f"its backend's `{printable(min(backend.unread), 60)}` is an expression, or said twice")
    workspace = workdir.workspace()
    planned = PlannedBackend(backend.type, _as_texts(backend.config), workspace)
    try:
        found = locate(planned, workdir.directory, workspace, context.environ, source="the backend", advice=_ADVICE)
    except MissingAttribute as error:
        raise _unknown(error.what.rstrip(".")) from error
    if isinstance(found, Unlockable):
        return structs.replace(found, reason=f"not initialised, and by its files {found.reason}")
    target = structs.replace(guarded(context, found), label=context.label(found))
    why = why_init(context) or "not initialised"
    source = f"{why}: worked out from its files (backend {printable(backend.type, 20)}, workspace {workspace})"
    return Whereabouts(context.subject(target), target, source, _doubt(context, workdir, backend))


def _as_texts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as texts: people write either, and no backend says by a number where its lock is."""
    return {name: _as_text(value) for name, value in config.items()}


def _as_text(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _as_texts(value)
    if isinstance(value, list):
        return [_as_text(each) for each in value]
    return text_of(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _unreadable(kind: str) -> str:
    return f"not initialised, and its block of the {printable(kind, 20)} backend cannot be read.\nRun: tfguard init"


def _unknown(why: str) -> NotInitialised:
    return NotInitialised(
        f"not initialised, and only init could tell which lock this is: {why}.",
        "Say it in tfguard.yml, as backend_config or workspace; or initialise the directory.",
        TfguardCommand("init"),
    )


def _doubt(context: Context, workdir: WorkingDirectory, backend: Declared) -> str:
    """Say why `init` might find another lock than we did."""
    kind, environ = backend.type, context.environ
    if why := workdir.doubt:
        return why
    if context.guesses_tofu and workdir.has_tofu_files:
        return "there are .tofu files, and nothing says whether they count: set `binary` in tfguard.yml, or --terraform"
    if kind == "pg" and not (backend.config.get("conn_str") or environ.get("PG_CONN_STR") or environ.get("PGHOST")):
        return "nothing names the database: init is told it elsewhere (conn_str, or PG_CONN_STR)"
    if not (context.settings.pipeline or workdir.names_workspace or kind in _WITHOUT_WORKSPACES):
        return "nothing names the workspace: set TF_WORKSPACE (the usual one is called default)"
    return ""
