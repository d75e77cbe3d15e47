"""
`tfguard bootstrap`: what the backend needs, created; what is there already, checked and left as it is.

It works before `init`, which cannot succeed without them. It can be interrupted anywhere and run again.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from tfguard import colour, redaction
from tfguard.backends.environ import extend_environment
from tfguard.bootstrap.blueprint import KIND, Blueprint, draw, wrong_backend
from tfguard.bootstrap.nothing import nothing_to_make
from tfguard.errors import ConfigError, UsageError
from tfguard.outlet import write_answer, write_to_stderr
from tfguard.run.call import Call
from tfguard.run.context import Context, make_context
from tfguard.run.intended_backend import intended_backend, require_plain

if TYPE_CHECKING:
    from tfguard.bootstrap.site import Site
    from tfguard.findings import Finding

Form = Literal["terraform", "iam", "acl", "rbac", "grants"]


def run_bootstrap(call: Call, *, given: Sequence[str] = (), is_sure: bool) -> int:
    """
    Show what is there and what would be created; create that once it is confirmed.

    Return 0 where all is there afterwards, 1 where something that is there cannot be used, or the answer was no.

    Raises:
        ConfigError: The backend is of another type, or names no bucket, or an impossible one.

        UsageError: There is something to create, and nobody to ask.

        StoreDenied, StoreUnavailable: The cloud says no, or nothing.
    """
    context = make_context(call)
    if nothing := nothing_to_make(_declared(context)):
        write_answer(nothing)
        return 0
    plan = _plan(context, given)
    from tfguard.bootstrap.site import visited

    with visited(plan) as site:
        findings = list(site.findings())
        _print(findings)
        if any(finding.mark == "failure" for finding in findings):
            text = f"{_label(context, plan)}: nothing was created, because of what is marked with ✗."
            call.report.say("error", "bootstrap.refused", text)
            return 1
        if site.is_complete:
            return 0
        site.check_names()
        again = shlex.join(word for each in given for word in ("--backend-config", each))
        if not is_sure and not _is_confirmed(context, plan, again):
            return 1
        try:
            _build(context, site)
        except BaseException:
            # Also where a person has lost patience: what was begun says so itself, and the next call finds it.
            text = f"{_label(context, plan)}: not finished. Run it again, and it goes on."
            call.report.say("warning", "bootstrap.unfinished", text)
            raise
        next_step = f"{context.options.again} init {again}".rstrip()
        call.report.say("info", "bootstrap.finished", f"{_label(context, plan)}: all is there. Next: {next_step}")
    return 0


def print_as(form: Form, call: Call, *, given: Sequence[str] = ()) -> int:
    """
    Print the same as Terraform code, or the rights that runs need: IAM, Consul, Kubernetes, PostgreSQL. Asks nobody.

    Raises:
        ConfigError: As for `run_bootstrap`.
    """
    context = make_context(call)
    if form == "acl":
        return _print_acl(context, given)
    if form == "rbac":
        return _print_rbac(context, given)
    if form == "grants":
        return _print_grants(context, given)
    if form == "iam" and (roles := _roles(context, given)) is not None:
        write_answer(json.dumps(roles, indent=2))
        return 0
    plan = _plan(context, given)
    if form == "terraform":
        from tfguard.bootstrap.as_terraform import as_terraform

        write_answer(as_terraform(plan), end="")
        return 0
    from tfguard.bootstrap.iam import WITHOUT, policies

    write_answer(json.dumps(policies(plan), indent=2))
    lines = [f"{_label(context, plan)}: one policy for those who plan, and one for those who apply."]
    lines += [f"Without {sid}: {lost}." for sid, lost in WITHOUT.items()]
    call.report.say("info", "iam.printed", "\n".join(lines))
    return 0


def _print_rbac(context: Context, given: Sequence[str]) -> int:
    from tfguard.bootstrap import rbac

    found = intended_backend(context, given, otherwise=rbac.wrong_backend)
    redaction.register_secrets(redaction.secrets_among(found.config))
    if found.type != rbac.KIND:
        raise ConfigError(rbac.wrong_backend(found.type))
    require_plain(found)
    write_answer(json.dumps(rbac.roles(found.config, context.environ), indent=2))
    return 0


def _print_acl(context: Context, given: Sequence[str]) -> int:
    from tfguard.bootstrap import acl

    found = intended_backend(context, given, otherwise=acl.wrong_backend)
    redaction.register_secrets(redaction.secrets_among(found.config))
    if found.type != acl.KIND:
        raise ConfigError(acl.wrong_backend(found.type))
    require_plain(found)
    write_answer(acl.rules(found.config), end="")
    return 0


def _print_grants(context: Context, given: Sequence[str]) -> int:
    from tfguard.bootstrap import grants

    found = intended_backend(context, given, otherwise=grants.wrong_backend)
    redaction.register_secrets(redaction.secrets_among(found.config))
    if found.type != grants.KIND:
        raise ConfigError(grants.wrong_backend(found.type))
    require_plain(found)
    write_answer(grants.grants(found.config, context.environ), end="")
    return 0


def _roles(context: Context, given: Sequence[str]) -> dict[str, Any] | None:
    """Return what to allow on a gcs or azurerm backend, None for another."""
    from tfguard.bootstrap import azure_roles, roles

    found = intended_backend(context, given, otherwise=wrong_backend)
    known = {roles.KIND: roles.roles, azure_roles.KIND: azure_roles.roles}
    if found.type not in known:
        return None
    redaction.register_secrets(redaction.secrets_among(found.config))
    require_plain(found)
    return known[found.type](found.config)


def _declared(context: Context) -> str:
    """The type of backend that the configuration names, or the directory's cache; empty where neither names one."""
    workdir = context.workdir()
    return workdir.declared[0] if workdir.declared else workdir.backend.type if workdir.backend else ""


def _label(context: Context, plan: Blueprint) -> str:
    return context.settings.pipeline or plan.label


def _plan(context: Context, given: Sequence[str]) -> Blueprint:
    found = intended_backend(context, given, otherwise=wrong_backend)
    redaction.register_secrets(redaction.secrets_among(found.config))
    if found.type != KIND:
        raise ConfigError(wrong_backend(found.type))
    require_plain(found)
    # Like its Terraform, this process is to find credentials where the pipeline says.
    extend_environment(context.environ)
    return draw(found.config, context.directory, context.workdir().workspace(), context.environ)


def _print(findings: Sequence[Finding]) -> None:
    from tfguard.findings import as_lines

    width = max(len(finding.check) for finding in findings)
    is_coloured = colour.is_wanted(sys.stdout)
    lines = [line for finding in findings for line in as_lines(finding, width, is_coloured=is_coloured)]
    write_answer("\n".join(lines), is_awaited=True)


def _is_confirmed(context: Context, plan: Blueprint, again: str) -> bool:
    if not sys.stdin.isatty():
        command = f"{context.options.again} bootstrap {again}".rstrip()
        raise UsageError("nothing was created: there is no terminal to ask on.", f"To go without: {command} --yes")
    write_to_stderr("Create what is marked with +? Only 'yes' is accepted: ")
    if sys.stdin.readline().strip() == "yes":
        return True
    context.report.say("warning", "bootstrap.refused", f"{_label(context, plan)}: not confirmed: nothing was created.")
    return False


def _build(context: Context, site: Site) -> None:
    label = _label(context, site.plan)

    def tell(kind: str, name: str, missing: str) -> None:
        without = f", without {missing}, which this server does not know" if missing else ""
        context.report.say("info", f"{kind}.created", f"{label}: created {kind} {name}{without}.")

    site.build(tell)
