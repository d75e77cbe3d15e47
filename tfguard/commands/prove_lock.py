"""`tfguard doctor --prove-lock`: that, on the user's own backend, our lock is Terraform's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tfguard.commands.doctor import DIRECTORY, find, print_findings
from tfguard.errors import ConfigError
from tfguard.lock.opened_lock import opened
from tfguard.report.run_ended import RunEnded
from tfguard.run.call import Call
from tfguard.run.look import Footing, private_folder
from tfguard.run.session import Session, guarded
from tfguard.terraform import command_line
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.findings import Answer, Finding

_NOT_PROVED = (
    "tfguard does not protect this state, so do not use state mode here:"
    " set lock.mode: named in tfguard.yml, and tell us."
)
#: What Terraform says of a lock that is held; the second where it takes Consul's before any command, for a workspace.
_REFUSED = ("Error acquiring the state lock", "failed to lock state in Consul")
#: Takes the lock, reads neither configuration nor providers, and changes nothing even where it gets in.
_PROBE = ("state", "rm", "-dry-run", "-lock=true", "-lock-timeout=0s", "terraform_data.tfguard_prove_lock")


def prove_lock(call: Call, *, is_json: bool) -> RunEnded | int:
    """
    Make every check, and as the last one prove the lock: hold it, let the real Terraform try to take it, and expect
    Terraform to be refused with our lock ID.

    Return 0 if it was and no check has failed, else 1; how the run ended, where the lock could not be had or kept.

    Raises:
        TfguardError: The directory is not initialised, or its lock is not Terraform's.
    """
    broken: RunEnded | None = None
    with guarded(call) as session:
        session.ensure_initialised()

        def findings() -> Iterator[Finding]:
            nonlocal broken
            is_initialised = True
            for finding in find(session.context, call.environ):
                yield finding
                is_initialised &= finding.check != DIRECTORY or finding.mark == "ok"
            if is_initialised:
                proof = _prove(session)
                if isinstance(proof, RunEnded):
                    broken = proof
                else:
                    yield from proof

        code = print_findings(session.context, findings(), is_json=is_json)
        return broken or code


def _prove(session: Session) -> list[Finding] | RunEnded:
    from tfguard.backends import backend_of
    from tfguard.backends.environ import extended_environment
    from tfguard.findings import Finding as Found
    from tfguard.findings import failure, ok

    context = session.context
    invocation = command_line.parse(("plan",), {})
    target = session.find_target(invocation)
    if target.backend == "named":
        raise ConfigError(
            "a named lock is not Terraform's: there is nothing to prove.",
            "Terraform's own locking stays on in named mode.",
            about=context.label(),
        )
    answer: Answer | None = None
    compared = backend_of(target).checks().as_terraform
    log = ""

    def body(footing: Footing) -> int:
        nonlocal answer, log
        if target.child_locks:
            with opened(target) as lock:
                lock.keep_terraform_out()
        bare = {name: value for name, value in footing.environ.items() if not name.startswith("TF_CLI_ARGS")}
        with tempfile.TemporaryDirectory(prefix="log-", dir=private_folder(session.front)) as private:
            path = Path(private) / "log"
            logged = {"TF_LOG": "DEBUG", "TF_LOG_PATH": str(path)} if compared else {}
            status, output = session.front.run_captured(
                [*context.terraform, *_PROBE], directory=str(context.directory), environ={**bare, **logged}
            )
            if path.exists():
                log = path.read_text(encoding="utf-8", errors="replace")
        handle = footing.held.handle
        is_refused = status != 0 and handle in output and any(words in output for words in _REFUSED)
        answer = ok(f"Terraform itself is refused while we hold the lock ({handle})")
        if not is_refused:
            answer = failure(f"Terraform was not refused by our lock; it said: {_last_words(output)}", _NOT_PROVED)
        return 0 if is_refused else 1

    ended = session.run(lambda: session.task(invocation, command="doctor"), body)
    if answer is None:
        return ended
    with extended_environment(context.environ):
        found = {"proof": answer, **{name: compare(target, log) for name, compare in compared.items()}}
    return [Found(name, *each) for name, each in found.items() if each]


def _last_words(output: str) -> str:
    """The last line of what Terraform said, without its frame."""
    lines = (line.strip(" │╵╷") for line in reversed(output.splitlines()))
    return printable(next(filter(None, lines), "nothing"), 100)
