"""
Making sure that a pipeline's directory is initialised *for this pipeline*.

Otherwise the production's variables hit the development's state: a directory remembers the backend it was last
initialised for, and plain Terraform goes on with it silently.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tfguard import files, git, outlet, programs
from tfguard.clock import SystemClock
from tfguard.config.settings import backend_config_text
from tfguard.errors import ConfigError, Outcome, TfguardCommand, TfguardError
from tfguard.process import searcher
from tfguard.process.front import Front
from tfguard.report.messages import starting
from tfguard.run import implicit_lock
from tfguard.run.cache_turn import cache_turn
from tfguard.run.context import Context
from tfguard.run.exit_status import shell_status, signal_to_die_of
from tfguard.run.intended_backend import wanted_values
from tfguard.run.look import private_folder
from tfguard.terraform import command_line, plugin_cache
from tfguard.terraform.backend_values import differing_backend_config
from tfguard.text import as_bytes, printable, valid
from tfguard.wire import publish

#: Errors of a network, a registry or a database that another try may cure. `retry.init.patterns` adds to them.
TRANSIENT = (
    r"connection (?:reset|refused|timed out)",
    r"(?:i/o|TLS handshake|Client\.)\s*timeout",
    r"Client\.Timeout exceeded",
    r"context deadline exceeded",
    r"no such host|temporary failure in name resolution|server misbehaving",
    r"unexpected EOF|: EOF\b",
    r"\b(?:429 Too Many Requests|50[0234] [A-Z][a-z]+)",
    r"Failed to (?:request discovery document|query available provider packages)",
    r"could not (?:connect to|query provider) registry",
    # PostgreSQL says so of two who make the same schema or table at once, also with IF NOT EXISTS.
    r'violates unique constraint \\?"pg_\w+_index|tuple concurrently updated',
)


_FRAME = re.compile(r"(?:\x1b\[[0-9;]*m|[\s│╷╵])+")


#: An exit status, and the last of what was said.
Done = tuple[int, str]


class InitFailed(TfguardError):
    """`terraform init` failed. Its `status` is ours too (-n: signal n)."""

    outcome = Outcome.FAILED

    def __init__(self, status: int, *, about: str) -> None:
        self.status = status
        self.signal_number = signal_to_die_of(status)
        super().__init__(f"init failed (exit {self.exit_code}); what it said stands above.", about=about)

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # Of other errors it is the class's own.
        return shell_status(self.status)


def ensure_initialised(front: Front, context: Context, *, stdout: int = 2) -> float:
    """
    Run `init` if the pipeline's directory needs it. Without a pipeline nothing is done: that is the user's own.

    Return for how long it had to wait for somebody else's lock, in seconds.

    Raises:
        LockBusy: It has waited as long as it may.

        ConfigError: `init: never`, and it is not initialised for this pipeline.

        InitFailed: Terraform said no.
    """
    why = why_init(context) if context.settings.pipeline else ""
    if not why:
        return 0.0
    label = context.label()
    if context.settings.init == "never":
        raise ConfigError(f"{why}, and init is never.", TfguardCommand("init"), about=label)
    context.report.say("info", "init.started", starting.initialising(label, why), label=label)
    return initialise(front, context, pinned(context), stdout=stdout)


def pinned(context: Context) -> tuple[str, ...]:
    """
    In CI, keep to the providers of the lock file that the repository has: those are the ones that were reviewed.

    Not where the user's own arguments say what is to become of that file. It pins providers, and is no state lock.
    """
    if not context.identity.is_ci or not git.is_tracked(context.settings.directory, ".terraform.lock.hcl"):
        return ()
    given = command_line.given_by_environment(("init",), context.environ)
    if given is None:
        return ()
    words = [*context.settings.args.get("init", ()), *given]
    names = {word.lstrip("-").partition("=")[0] for word in words if word.startswith("-")}
    return () if names & {"lockfile", "upgrade"} else ("-lockfile=readonly",)


def initialise(front: Front, context: Context, words: Sequence[str], *, stdout: int) -> float:
    """
    Run `init` for this pipeline, with `words` after our own, again after a transient error.

    Return for how long it had to wait, in seconds. Raises InitFailed, LockBusy.
    """
    import tenacity  # Slow to import, and rarely needed.

    attempts = context.settings.retry.attempts
    cache = plugin_cache.find_plugin_cache(context.environ, context.directory)
    known = TRANSIENT if cache is None else (*TRANSIENT, *plugin_cache.TRANSIENT)
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_result(
            lambda done: done[0] != 0 and not _is_refused(done) and _is_transient(front, context, known, done[1])
        ),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_random_exponential(multiplier=1, max=15),
        sleep=lambda seconds: implicit_lock.rest(front, seconds),
        before_sleep=lambda state: context.report.say(
            "warning", "init.retried", starting.init_retried(context.label())
        ),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )

    def run(argv: list[str], environ: Mapping[str, str]) -> tuple[Done, float]:
        done = retrying(_try_init, front, context, argv, environ, stdout, cache)
        if not _is_refused(done):
            return done, 0.0
        quietly = functools.partial(retrying, _try_quietly, front, context, argv, environ, cache)
        done, seconds = _wait_for_lock(front, context, quietly)
        with _fenced(context, stdout):
            outlet.outlet(stdout).say(as_bytes(done[1]))
        return done, seconds

    with _init_arguments(front, context) as flags:
        argv = [*context.terraform, "init", *flags, *words]
        done, waited_seconds = run(argv, context.environ)
        missing = _missing_workspace(context, done)
        if missing:
            label = context.label()
            context.report.say("info", "init.in_default", starting.initialising_in_default(label, missing), label=label)
            done, more_seconds = run(argv, {**context.environ, "TF_WORKSPACE": "default"})
            waited_seconds += more_seconds
    if done[0] != 0:
        raise InitFailed(done[0], about=context.label())
    return waited_seconds


def _missing_workspace(context: Context, done: Done) -> str:
    """
    The workspace that `init` was told to work in and that is not there, while others are; empty if it is no such thing.

    Terraform makes it under a lock of its own, but in an initialised directory.
    """
    asked = context.environ.get("TF_WORKSPACE", "")
    is_it = done[0] == 1 and any(f"workspace {quote}{asked}{quote} does not exist" in done[1] for quote in ('"', '\\"'))
    return asked if is_it else ""


def _wait_for_lock(front: Front, context: Context, again: Callable[[], Done]) -> tuple[Done, float]:
    """Wait until nobody has the lock that `init` takes by itself. Return how init ended then, and the seconds."""
    clock, label, seconds = SystemClock(), context.label(), context.settings.terms.timeout_seconds
    began = clock.boottime()
    done = implicit_lock.wait(front, context.report, label, seconds, again, _is_refused)
    return done, clock.boottime() - began


def _is_refused(done: Done) -> bool:
    return done[0] == 1 and implicit_lock.is_refused(done[1])


def _is_transient(front: Front, context: Context, known: Sequence[str], said: str) -> bool:
    """
    Whether what `init` has said is of the kind that another try may cure: `known`, or a pattern of the user's.

    It is looked for also across the lines of the frame in which Terraform sets an error.
    """
    texts = [said, _FRAME.sub(" ", said)]
    if any(re.search("|".join(known), text, re.IGNORECASE) for text in texts):
        return True
    if not context.settings.retry.patterns:
        return False
    folder = private_folder(front)
    files.write(Path(folder, "said"), publish([context.settings.retry.patterns, [valid(text) for text in texts]]))
    argv, ours = searcher.command(os.path.join(folder, "said")), programs.environment(os.environ)
    status, _ = front.run_captured(argv, directory=folder, environ=ours)
    front.wait(lambda: True)  # It ended early if a signal came: that is no answer.
    if status not in (searcher.FOUND, searcher.NOT_FOUND):
        label = context.label()
        context.report.say("warning", "init.patterns_left_out", starting.patterns_left_out(label), label=label)
    return status == searcher.FOUND


def _try_init(
    front: Front, context: Context, argv: list[str], environ: Mapping[str, str], stdout: int, cache: Path | None
) -> Done:
    page = context.report.page
    # Kept even from a terminal: its last words tell whether to try again.
    keep = page.begin(context.label(), directory=context.work_directory).write if page is not None else len
    with cache_turn(front, context, cache), _fenced(context, stdout):
        status = front.run(argv, directory=str(context.directory), environ=environ, stdout=stdout, keep=keep)
    return status, front.last_words


def _fenced(context: Context, stdout: int) -> contextlib.AbstractContextManager[None]:
    page = context.report.page
    return page.fenced(["init"], to=stdout) if page is not None else contextlib.nullcontext()


def _try_quietly(
    front: Front, context: Context, argv: list[str], environ: Mapping[str, str], cache: Path | None
) -> Done:
    """Without showing what it prints: who has the lock has been shown."""
    with cache_turn(front, context, cache):
        return front.run_captured(argv, directory=str(context.directory), environ=environ)


@contextlib.contextmanager
def _init_arguments(front: Front, context: Context) -> Iterator[list[str]]:
    """The flags for init; values of `backend_config` travel in a file of our own, for they may be secrets."""
    found = context.settings
    flags = ["-input=false"]
    cache = context.workdir().backend
    if cache is not None and _differences(context):
        flags.append("-reconfigure")
    flags += [f"-backend-config={path}" for path in found.backend_config_files]
    with tempfile.TemporaryDirectory(prefix="init-", dir=private_folder(front)) as folder:
        text = backend_config_text(found)
        if text:
            path = Path(folder, "backend.tfbackend")
            files.write(path, as_bytes(text))
            flags.append(f"-backend-config={path}")
        yield [*flags, *found.args.get("init", ())]


def why_init(context: Context) -> str:
    """Say why init has to run for this pipeline, empty if it has not."""
    workdir = context.workdir()
    if not workdir.is_terraform_directory:
        return ""  # Finding the lock says so better.
    differences = _differences(context)
    if workdir.backend is not None and differences:
        key, cached, wanted = differences[0]
        return f"initialised for another backend ({key} is {printable(cached, 30)}, wanted {printable(wanted, 30)})"
    return "" if workdir.is_initialised and not differences else "not initialised"


def _differences(context: Context) -> list[tuple[str, str, str]]:
    return differing_backend_config(context.workdir().backend, wanted_values(context))
