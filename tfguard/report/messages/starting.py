"""What is said before a program starts."""

from __future__ import annotations

from collections.abc import Sequence

from tfguard.report.messages.phrases import COLUMNS, first_line, fit, say, shortened, word
from tfguard.terraform.fingerprint import Difference
from tfguard.text import printable


def own_commands(names: Sequence[str]) -> str:
    """To who has asked Terraform for help: ours are not among what it shows."""
    return fit(f"tfguard: its own commands: {', '.join(names)}.", "See: tfguard --help")


def did_you_mean(word: str, likely: str) -> str:
    """A word that is no command of Terraform's that we know, and nearly one of ours."""
    return fit(f"tfguard: {printable(word, 40)} is no command of its own: did you mean `tfguard {likely}`?")


def unlocked(label: str) -> str:
    """The user said -lock=false."""
    return say(label, "-lock=false was asked for: running without the lock.")


def unread(label: str, reason: str) -> str:
    """Terraform runs under its own lock, because its command line is not certain to be read as it reads it."""
    return say(label, f"{reason}.", "So it takes its own lock, and waits in no line.")


def plan_unlocked(label: str) -> str:
    """The configuration said so."""
    return say(label, "lock.plan is skip: planning without the lock, on a state that may be changing.")


def denied_during_plan(message: str) -> str:
    """A plan was refused its lock: say how to plan without one."""
    first, *rest = message.splitlines()
    return fit(first, *rest[-1:], "Or plan without the lock: set lock.plan: skip in tfguard.yml.")


def initialising(label: str, why: str) -> str:
    """Init comes first."""
    return say(label, f"{why}.", "Running init first. To forbid that: init: never in tfguard.yml.")


def initialising_in_default(label: str, workspace: str) -> str:
    """`init` takes no workspace that is not there, once others are."""
    what = f"workspace {word(workspace)} does not exist yet, and init takes only one that does."
    return say(label, what, "Running init in the default workspace; Terraform then creates the other.")


def creating_workspace(label: str, workspace: str) -> str:
    """Terraform would create it under a lock of its own, in our way."""
    return say(label, f"workspace {word(workspace)} does not exist yet: Terraform creates it first.")


def unlisted_workspaces(label: str, error: str, *, action: str) -> str:
    """Terraform would take its implicit lock each time: exit 77."""
    return say(
        label,
        first_line(error),
        "Terraform then locks a non-default workspace by itself each time, which collides with our lock.",
        f"Allow {printable(action, 40)} there, or use lock.mode: named in tfguard.yml.",
    )


def starting_over(label: str, changed: str) -> str:
    """What the lock was chosen by is not as it was: said before the lock is given back."""
    return say(label, f"{changed}: giving back the lock and starting over.")


def initialised_meanwhile(label: str) -> str:
    """Found when Terraform has ended: it may have read the backend before that, or after."""
    return say(
        label,
        "the directory was initialised for another backend while Terraform ran.",
        "If that was while it started, it may have written that backend's state: compare both states.",
    )


def always_changing(label: str, changed: str) -> str:
    """Again and again: exit 78."""
    return say(
        label,
        f"{changed}, and something was each time that the lock was had: nothing was started.",
        "Run it again when nobody else works in this directory.",
    )


def workspace_not_found(label: str, workspace: str) -> str:
    """Terraform says that it has created it, and the backend does not list it: exit 78."""
    return say(
        label,
        f"workspace {word(workspace)} was created, and still is not there.",
        "Somebody may be deleting it. Look: terraform workspace list",
    )


def init_retried(label: str) -> str:
    """A network or a registry did not answer, or a cache or a database was in use; the next try may cure that."""
    return say(label, "init failed for what another try may cure: trying again.")


def init_delayed(label: str, cache: str) -> str:
    """The plugin cache is safe for one at a time."""
    return say(label, "another init of tfguard's works in the plugin cache: waiting for it.", f"It is {word(cache)}")


def init_without_turn(label: str, cache: str) -> str:
    """It took longer than this run waits."""
    return say(label, "another init still works in the plugin cache: going on beside it.", f"It is {word(cache)}")


def patterns_left_out(label: str) -> str:
    """An expression of the user's took longer than it may."""
    return say(
        label, "retry.init.patterns take too long to be looked for, and were left out.\nWrite them without `(a+)+`."
    )


def approval_question(label: str) -> str:
    """Asked at a terminal, under what Terraform has printed of the plan."""
    return f"\n{label}: apply this plan? Only 'yes' is accepted: "


def nothing_to_apply(label: str) -> str:
    """`tfguard run` ends here."""
    return say(label, "the plan has no changes: nothing to apply.")


def plan_unreadable(label: str) -> str:
    """Whether it is the reviewed plan cannot be said: exit 78."""
    return say(
        label,
        "Terraform does not show what the plan will do, so it cannot be compared: nothing was applied.",
        "What it said is above, if anything. The directory may have to be initialised: init",
    )


def plan_changed(label: str, found: str, difference: Difference | None, planned: Sequence[str]) -> str:
    """`--expect` names another plan: exit 78. Without its report nobody knows what was in that one."""
    groups = [("now", tuple(planned))]
    if difference is not None:
        groups = [("new", difference.new), ("no longer", difference.gone), ("otherwise", difference.changed)]
    told = _named([(how, names) for how, names in groups if names]) or "Planned: no changes now."
    return say(
        label,
        "the plan is not the one that was reviewed: nothing was applied.",
        told,
        f"Review it again. The fingerprint of this one: {found}",
    )


#: How many names are told of each kind, and how long each may be: the first of these for which a line has room.
_FORMS = ((2, 90), (2, 60), (2, 40), (1, 60), (1, 40), (1, 28), (1, 24), (1, 20), (1, 16), (1, 12))


def _named(groups: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Name what is planned, kind by kind, in one line; nothing where there is none."""

    def kind(how: str, names: Sequence[str], most: int, width: int) -> str:
        shown = ", ".join(shortened(printable(name, len(name) + 1), width) for name in names[:most])
        return f"{how} {shown}" + (f" and {len(names) - most} more" if len(names) > most else "")

    lines = [f"Planned: {'; '.join(kind(*group, *form) for group in groups)}." for form in _FORMS] if groups else [""]
    return next((line for line in lines if len(line) <= COLUMNS), lines[-1])


def not_approved(label: str) -> str:
    """The answer was not yes."""
    return say(label, "not approved: nothing was applied.")


def unexpected(error: BaseException) -> str:
    """A defect of ours: exit 70."""
    return fit(
        f"tfguard: unexpected {type(error).__name__}: {printable(str(error), 200)}",
        "This is a defect in tfguard. A lock that it held is released, or left to its lease.",
        "To see where, run it again with TFGUARD_TRACEBACK=1.",
    )
