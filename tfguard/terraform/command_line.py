"""
The command line of Terraform: which calls need the lock, and how to say that we hold it.

Terraform reads three sources as one line: `command <TF_CLI_ARGS_command> <TF_CLI_ARGS> <argv>`, in Go's flag syntax,
the last flag winning and the first positional ending the flags. Wherever we are not certain to read it as Terraform
does, the verdict is `pass`: Terraform runs untouched under its own locking, which is always safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tfguard.durations import parse_duration
from tfguard.terraform import shell_words
from tfguard.terraform.commands import NAMES, SUBCOMMANDS, Command, find


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Flags whose value may be the next word. Bools never take one.
_VALUED = _names(
    "backend-config backup backup-out concurrency config exclude exclude-file filter from-module generate-config-out"
    " invoke json-into junit-xml lock-timeout out parallelism plan platform plugin-dir replace state state-out target"
    " target-file test-directory type var var-file"
)
_BOOLS = _names(
    "allow-deferral allow-missing allow-missing-config auto-approve compact-warnings concise consolidate-errors"
    " consolidate-warnings create-before-destroy destroy detailed-exitcode dry-run force ignore-remote-version input"
    " json lock no-color raw reconfigure refresh refresh-only show-sensitive suppress-forget-errors upgrade verbose"
)
#: These make Terraform lock other files than the backend's state.
_STATE_PATHS = frozenset({"state", "state-out", "backup", "backup-out"})
#: In two dashes these are still Terraform's own.
_THEIRS: Mapping[tuple[str, ...], frozenset[str]] = {
    ("import",): frozenset({"--config"}),
    ("test",): frozenset({"--verbose"}),
}

#: Terraform looks for these anywhere, before it parses flags: also as a flag's value and after a positional.
_HELP = frozenset({"-v", "-version", "--version", "-h", "-help", "--help"})
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})

Verdict = Literal["lock", "pass", "unlocked"]
Role = Literal["word", "flag", "value", "end", "positional"]


@dataclass(frozen=True)
class Token:
    """One word of the line. `source` is the variable it came from, empty for argv; `name` the flag it belongs to."""

    word: str
    source: str = ""
    role: Role = "positional"
    name: str = ""


@dataclass(frozen=True)
class Invocation:
    """
    One call of Terraform, understood.

    `argv` is everything after `terraform` as given, without `-chdir`. `verdict`: *lock* (we lock, the child runs with
    `-lock=false`), *unlocked* (the user said `-lock=false`), *pass* (not ours). `reason` says why it is not *lock*.
    `command` is its row in the table, None for an unknown one. `is_unread`: it would be ours, were we certain to read
    its arguments as Terraform does. `flags` and `positionals` count all three sources; `lock_timeout_seconds` is None
    where the user named none.
    """

    argv: tuple[str, ...] = field(repr=False)  # `-var password=…`
    words: tuple[str, ...] = ()
    chdir: str | None = None
    verdict: Verdict = "pass"
    reason: str = ""
    command: Command | None = None
    is_unread: bool = False
    flags: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    positionals: tuple[str, ...] = ()
    user_lock: bool | None = None
    lock_timeout_seconds: float | None = None
    tokens: tuple[Token, ...] = field(default=(), repr=False)

    def flag(self, name: str) -> str | None:
        """Return the value of a flag, the last one winning; `true` for a bare bool, None where it is absent."""
        return next((value for flag, value in reversed(self.flags) if flag == name), None)

    def is_set(self, name: str) -> bool:
        """Whether a bool flag is given and true."""
        return self.flag(name) in _TRUE

    @property
    def plan_file(self) -> str | None:
        """The saved plan that an `apply` names, as written (relative to the working directory)."""
        return self.positionals[0] if self.words == ("apply",) and self.positionals else None

    @property
    def reads_backend(self) -> bool:
        """Whether it needs the backend initialised, with a lock of ours or without: not to print its help."""
        row = find(self.words)
        return row is not None and row.reads_backend and _HELP.isdisjoint(self.argv)

    @property
    def display(self) -> str:
        """The command for people and lock records: `apply`, `state mv`. Never the arguments: they may hold secrets."""
        return " ".join(self.words)


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Invocation:
    """Understand what follows `terraform` on the command line. Never fails: what is odd is left to Terraform."""
    chdir, rest = take_chdir(argv)
    words = _words(rest)
    command, found = find(words), Invocation(argv=rest, words=words, chdir=chdir)
    if chdir == "" or (chdir and not words):
        # Never without it: that would be a run in another directory.
        return replace(found, argv=tuple(argv), words=(), chdir=None, reason="Terraform has to judge this -chdir")
    if command is None or not command.takes_lock:
        return replace(found, command=command, reason="this command takes no lock that tfguard could hold")
    extra, doubts = _from_environment(found.words, environ)
    own = [Token(word, role="word") for word in words]
    tokens = (*own, *_scan((*extra, *(Token(word) for word in rest[len(words) :]))))
    found = replace(found, command=command, tokens=tokens)
    return _judge(replace(found, flags=tuple(_flags(tokens)), positionals=_positionals(tokens)), doubts)


def take_chdir(argv: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Take a leading `-chdir=DIR` off, as Terraform does: the first one, before the command, in this form only."""
    for at, word in enumerate(argv):
        if not word.startswith("-"):
            break
        if word == "-chdir" or word.startswith("-chdir="):
            return word[len("-chdir=") :], (*argv[:at], *argv[at + 1 :])
    return None, tuple(argv)


def _words(argv: Sequence[str]) -> tuple[str, ...]:
    if not argv or argv[0].startswith("-"):
        return ()
    has_second = argv[0] in SUBCOMMANDS and len(argv) > 1 and not argv[1].startswith("-")
    return tuple(argv[: 2 if has_second else 1])


def variables(words: Sequence[str]) -> tuple[str, str]:
    """Name the two variables Terraform adds to a command's arguments, in the order in which it reads them."""
    return "TF_CLI_ARGS_" + "_".join(words).replace("-", "_"), "TF_CLI_ARGS"


def given_by_environment(words: Sequence[str], environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return what the variables add to a command's arguments; None where only Terraform can split it into words."""
    tokens, doubts = _from_environment(words, environ)
    return None if doubts else tuple(token.word for token in tokens)


def values_of(flag: str, words: Sequence[str]) -> list[str]:
    """Return the values of a flag that takes one, in either form: `-flag=VALUE`, `-flag VALUE`."""
    return [value for name, value in _flags(tuple(_scan(Token(word) for word in words))) if name == flag]


def _from_environment(words: Sequence[str], environ: Mapping[str, str]) -> tuple[list[Token], str]:
    """Return what the variables add, as well as we can read it, and the name of one that we are not certain of."""
    tokens, doubtful = [], ""
    for variable in variables(words):
        said = shell_words.split(environ.get(variable, ""))
        tokens += [Token(word, source=variable) for word in said.words]
        doubtful = doubtful or ("" if said.is_certain else variable)
    return tokens, doubtful


def _scan(tokens: Iterable[Token]) -> Iterator[Token]:
    """Yield each word with its role, as Go's flag package would."""
    pending, over = "", False
    for token in tokens:
        if pending:
            yield replace(token, role="value", name=pending)
            pending = ""
        elif over or len(token.word) < 2 or token.word[0] != "-":
            over = True
            yield token
        elif token.word == "--":
            over = True
            yield replace(token, role="end")
        else:
            name, equals, _ = _bare(token.word).partition("=")
            pending = name if name in _VALUED and not equals else ""
            yield replace(token, role="flag", name=name)


def _bare(word: str) -> str:
    return word[2:] if word.startswith("--") else word[1:]


def _judge(found: Invocation, doubtful: str) -> Invocation:
    unread = _why_unread(found, doubtful)
    reason = _why_not(found) or unread
    if reason:
        return replace(found, reason=reason, is_unread=reason == unread)
    lock, timeout = found.flag("lock"), found.flag("lock-timeout")
    found = replace(
        found,
        user_lock=None if lock is None else lock in _TRUE,
        lock_timeout_seconds=None if timeout is None else max(0.0, parse_duration(timeout)),
    )
    if found.user_lock is False:
        return replace(found, verdict="unlocked", reason="-lock=false was asked for: running without the lock")
    return replace(found, verdict="lock")


def _flags(tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    for at, token in enumerate(tokens):
        if token.role != "flag":
            continue
        _, equals, value = token.word.partition("=")
        following = tokens[at + 1] if at + 1 < len(tokens) else None
        if not equals and token.name in _VALUED:
            # A missing value is left to Terraform; `_why_not` sees it.
            yield token.name, following.word if following else ""
        else:
            yield token.name, value if equals else "true"


def _positionals(tokens: Sequence[Token]) -> tuple[str, ...]:
    return tuple(token.word for token in tokens if token.role == "positional")


def _why_not(found: Invocation) -> str:
    """Return why a command that takes a lock is left to Terraform after all; empty if it is ours."""
    if not _HELP.isdisjoint(token.word for token in found.tokens):
        return "help or version was asked for"
    names = {name for name, _ in found.flags}
    if names & _STATE_PATHS:
        return "-state, -state-out and -backup name files that Terraform locks itself"
    if any(name == "lock" and value not in _TRUE | _FALSE for name, value in found.flags):
        return "-lock has no boolean value"
    if not all(_is_duration(value) for name, value in found.flags if name == "lock-timeout"):
        return "-lock-timeout has no valid duration"
    return ""


def _why_unread(found: Invocation, doubtful: str) -> str:
    """Return why we are not certain to read it as Terraform does; empty if we are."""
    if doubtful:
        return f"only Terraform can be certain how it reads {doubtful}"
    if not _is_readable(found.tokens):
        return "only Terraform knows how to read these arguments"
    if any(token.source and token.role in ("positional", "end") for token in found.tokens):
        return "TF_CLI_ARGS holds a positional argument, so no flag can follow it"
    return ""


def _is_readable(tokens: Sequence[Token]) -> bool:
    for at, token in enumerate(tokens):
        if token.role != "flag":
            continue
        if not token.name or token.name.startswith("-"):
            return False
        following = tokens[at + 1].role if at + 1 < len(tokens) else None
        if "=" in token.word or token.name in _BOOLS:
            continue
        if token.name in _VALUED:
            if following != "value":
                return False
        elif following == "positional":
            # A flag of a later Terraform: is the next word its value, or a plan file?
            return False
    return True


def _is_duration(text: str) -> bool:
    try:
        parse_duration(text)
    except ValueError:
        return False
    return True


def child_arguments(found: Invocation, environ: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """
    Return argv and environment for a Terraform that runs under our lock.

    The user's `-lock` and `-lock-timeout` go, wherever they stand; `-lock=false` comes in as the last flag before the
    first positional. Every other argument stays as it is, in its order. Only for the verdict *lock*.
    """
    import shlex

    kept = [token for token in found.tokens if not _is_lock_flag(token)]
    changed = dict(environ)
    for variable in {token.source for token in found.tokens if token.source and _is_lock_flag(token)}:
        words = [token.word for token in kept if token.source == variable]
        changed[variable] = shlex.join(words)
    return _insert("-lock=false", kept), changed


def _is_lock_flag(token: Token) -> bool:
    return token.name in ("lock", "lock-timeout")


def native_arguments(found: Invocation, lock_timeout_seconds: float) -> list[str]:
    """
    Return argv for a Terraform that locks by itself (`named` mode): with `-lock-timeout=<seconds>s`.

    What the user said about either flag stands. Only for the verdicts *lock* and *unlocked*.
    """
    if found.verdict != "lock" or found.lock_timeout_seconds is not None:
        return list(found.argv)
    return _insert(f"-lock-timeout={max(0, int(lock_timeout_seconds))}s", found.tokens)


def with_plan_file(found: Invocation, path: str) -> Invocation:
    """Let the call apply the plan at `path`, in place of the one that it names. Only for the verdict *lock*."""
    at = next(n for n, token in enumerate(found.tokens) if token.role == "positional")
    tokens = (*found.tokens[:at], replace(found.tokens[at], word=path), *found.tokens[at + 1 :])
    return replace(found, tokens=tokens, positionals=_positionals(tokens))


def with_flags(found: Invocation, flags: Sequence[str], environ: Mapping[str, str]) -> Invocation:
    """Parse anew with our flags first after the command, so that whatever the user wrote still wins."""
    at = len(found.words)
    argv = (*found.argv[:at], *flags, *found.argv[at:])
    return replace(parse(argv, environ), chdir=found.chdir)


def _insert(flag: str, tokens: Sequence[Token]) -> list[str]:
    own = [token for token in tokens if not token.source]
    at = next((n for n, token in enumerate(own) if token.role in ("end", "positional")), len(own))
    words = [token.word for token in own]
    return [*words[:at], flag, *words[at:]]


def misplaced_option(argv: Sequence[str], ours: frozenset[str]) -> str | None:
    """
    Find one of `ours`, tfguard's own options, behind a Terraform command, where Terraform would get it.

    Not after `--`, and not where it is another flag's value. Only for commands known to be Terraform's: what future
    ones accept is not for us to say.
    """
    words = _words(argv)
    if not words or words[0] not in NAMES:
        return None
    theirs = _THEIRS.get(words, frozenset())
    pending = False
    for word in argv[len(words) :]:
        if word == "--":
            return None
        name = word.partition("=")[0]
        if not pending and name in ours - theirs:
            return name
        pending = not pending and word.startswith("-") and "=" not in word and _bare(word) in _VALUED
    return None
