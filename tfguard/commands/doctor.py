"""
`tfguard doctor --prove-lock`: shows, on the user's own backend, that our lock is Terraform's.
"""

from __future__ import annotations

from collections.abc import Mapping

from tfguard import arguments, messages, wire
from tfguard.backend import Unlockable
from tfguard.context import Context, find_target, make_context, make_task
from tfguard.errors import ConfigError
from tfguard.front import Front
from tfguard.initialise import ensure_initialised
from tfguard.narrator import Narrator
from tfguard.options import Options
from tfguard.report import Report, write
from tfguard.runner import Runner

#: Takes the lock, reads neither configuration nor providers, and changes nothing even where it gets in.
_PROBE = ("state", "rm", "-dry-run", "-lock=true", "-lock-timeout=0s", "terraform_data.tfguard_prove_lock")


def prove_lock(options: Options, environ: Mapping[str, str], report: Report) -> int:
    """
    Hold the lock, let the real Terraform try to take it, and expect it to be refused with our lock ID.

    Gives 0 if it was, 1 if it was not.
    """
    narrator = Narrator(report, messages.Subject(options.pipeline or "tfguard"))
    front = Front(narrator.hear, environ)
    try:
        context = make_context(options, environ, report)
        ensure_initialised(front, context)
        return _prove(front, narrator, context)
    finally:
        front.close()


def _prove(front: Front, narrator: Narrator, context: Context) -> int:
    invocation = arguments.parse(("plan",), {})
    target = find_target(context, invocation)
    if isinstance(target, Unlockable):
        raise ConfigError(messages.about(context.label(), target.reason))
    if target.backend == "named":
        raise ConfigError(
            f"{context.label()}: a named lock is not Terraform's: there is nothing to prove.\n"
            "Terraform's own locking stays on in named mode."
        )
    verdict = ""

    def body(held: wire.Held, environ: dict[str, str]) -> int:
        nonlocal verdict
        bare = {name: value for name, value in environ.items() if not name.startswith("TF_CLI_ARGS")}
        status, output = front.run_captured(
            [*context.terraform, *_PROBE], directory=str(context.directory), environ=bare
        )
        is_refused = status != 0 and held.lock_id in output and "Error acquiring the state lock" in output
        label = context.label(target)
        verdict = messages.proved(label, held.lock_id) if is_refused else messages.not_proved(label, output)
        return 0 if is_refused else 1

    status = Runner(front, context.report, narrator).run(make_task(context, target, invocation, command="doctor"), body)
    write(verdict + "\n")
    return status
