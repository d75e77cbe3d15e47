"""
`tfguard bootstrap`: what the backend needs, created; what is there already, checked and left as it is.

It works before `init`, which cannot succeed without a bucket. It can be interrupted anywhere and run again: what it
has begun is marked until it is finished, see `construction`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tfguard import redaction
from tfguard.bootstrap.blueprint import Blueprint, check_bucket_name, check_table_name, draw
from tfguard.config.options import Options
from tfguard.errors import ActionDenied, ConfigError, UsageError
from tfguard.files import write_to_stderr
from tfguard.report.reporter import Reporter
from tfguard.run.context import Context, make_context
from tfguard.run.intended_backend import intended_backend, require_plain, wrong_backend
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.backends.aws.credentials import Client
    from tfguard.backends.aws.facts import BucketFacts, TableFacts
    from tfguard.findings import Finding

Form = Literal["terraform", "iam"]

#: What was to be set, and a server that is not AWS's does not know.
_SPOKEN = {
    "update_continuous_backups": "point-in-time recovery",
    "put_bucket_encryption": "encryption",
    "put_public_access_block": "a public access block",
    "put_bucket_policy": "a policy",
    "put_bucket_versioning": "versioning",
    "put_bucket_lifecycle_configuration": "a lifecycle",
}


@dataclass(frozen=True)
class Site:
    """What is there: None for what is not. `region` is the one that is asked, `elsewhere` another with such a table."""

    plan: Blueprint
    region: str
    is_over_tls: bool
    bucket: BucketFacts | None
    table: TableFacts | None
    elsewhere: str

    @property
    def needs_bucket(self) -> bool:
        """Whether it is missing, or was begun and not finished."""
        return self.bucket is None or self.bucket.is_unfinished is True

    @property
    def needs_table(self) -> bool:
        """The same of the table."""
        return self.plan.table is not None and (self.table is None or self.table.is_unfinished is True)


def run_bootstrap(
    options: Options,
    environ: Mapping[str, str],
    report: Reporter,
    *,
    given: Sequence[str] = (),
    is_sure: bool,
) -> int:
    """
    Show what is there and what would be created; create that once it is confirmed.

    Gives 0 where all is there afterwards, 1 where something that is there cannot be used, or the answer was no.

    Raises:
        ConfigError: The backend is not s3, or names no bucket, or an impossible one.

        UsageError: There is something to create, and nobody to ask.

        StoreDenied, StoreUnavailable: AWS says no, or nothing.
    """
    context = make_context(options, environ, report)
    plan = _plan(context, given)
    with _clients(plan) as (s3, dynamodb):
        site = _survey(plan, s3, dynamodb)
        findings = list(_findings(site))
        _print(findings)
        if any(finding.mark == "failure" for finding in findings):
            text = f"{_label(context, plan)}: nothing was created, because of what is marked with ✗."
            report.say("error", "bootstrap.refused", text)
            return 1
        if not site.needs_bucket and not site.needs_table:
            return 0
        _check_names(site)
        again = shlex.join(word for each in given for word in ("--backend-config", each))
        if not is_sure and not _is_confirmed(context, plan, again):
            return 1
        try:
            _build(context, site, s3, dynamodb)
        except BaseException:
            # Also where a person has lost patience: what was begun says so itself, and the next call finds it.
            text = f"{_label(context, plan)}: not finished. Run it again, and it goes on."
            report.say("warning", "bootstrap.unfinished", text)
            raise
        next_step = f"{context.options.again} init {again}".rstrip()
        report.say("info", "bootstrap.finished", f"{_label(context, plan)}: all is there. Next: {next_step}")
    return 0


def print_as(
    form: Form, options: Options, environ: Mapping[str, str], report: Reporter, *, given: Sequence[str] = ()
) -> int:
    """
    Print the same as Terraform code, or the IAM policies that runs need. Asks AWS nothing.

    Raises:
        ConfigError: As for `run_bootstrap`.
    """
    context = make_context(options, environ, report)
    plan = _plan(context, given)
    if form == "terraform":
        from tfguard.bootstrap.as_terraform import as_terraform

        print(as_terraform(plan), end="")  # noqa: T201 - asked for
        return 0
    from tfguard.bootstrap.iam import WITHOUT, policies

    print(json.dumps(policies(plan), indent=2))  # noqa: T201 - asked for
    lines = [f"{_label(context, plan)}: one policy for those who plan, and one for those who apply."]
    lines += [f"Without {sid}: {lost}." for sid, lost in WITHOUT.items()]
    report.say("info", "iam.printed", "\n".join(lines))
    return 0


def _label(context: Context, plan: Blueprint) -> str:
    return context.settings.pipeline or printable(f"{plan.state.bucket}/{plan.state.key}", 80)


def _plan(context: Context, given: Sequence[str]) -> Blueprint:
    found = intended_backend(context, given)
    redaction.register_secrets(redaction.secrets_among(found.config))
    if found.type != "s3":
        raise ConfigError(wrong_backend(found.type))
    require_plain(found)
    # Like its Terraform, this process is to find credentials where the pipeline says.
    os.environ.update(context.environ)
    return draw(found.config, context.workdir().workspace(), context.environ)


@contextlib.contextmanager
def _clients(plan: Blueprint) -> Iterator[tuple[Client, Client | None]]:
    from tfguard.backends.aws.facts import bucket_client, table_client

    with contextlib.ExitStack() as stack:
        s3 = stack.enter_context(bucket_client(plan.state))
        dynamodb = stack.enter_context(table_client(plan.table)) if plan.table else None
        yield s3, dynamodb


def _survey(plan: Blueprint, s3: Client, dynamodb: Client | None) -> Site:
    from tfguard.backends.aws.facts import read_bucket, read_table
    from tfguard.backends.aws.tables import where_else
    from tfguard.bootstrap.build import speaks_tls

    try:
        bucket = read_bucket(s3, plan.state.bucket)
    except ActionDenied as error:
        # S3 says no more of a stranger's bucket than of one that we lack a permission for.
        text = f"{error}\nIf the bucket is another account's: choose another name."
        raise ActionDenied(text, action=error.action, resource=error.resource) from error
    table, elsewhere = None, ""
    if dynamodb is not None and plan.table is not None:
        table = read_table(dynamodb, plan.table.table)
        elsewhere = where_else(plan.table, s3.region) if table is None else ""
    return Site(plan, s3.region, speaks_tls(s3), bucket, table, elsewhere)


def _findings(site: Site) -> Iterator[Finding]:
    from tfguard.bootstrap.judge import inspect_bucket, inspect_table, planned_bucket, planned_table
    from tfguard.findings import Finding as Found

    plan, is_over_tls = site.plan, site.is_over_tls
    if site.bucket is None or site.needs_bucket:
        is_begun = site.bucket is not None
        yield from planned_bucket(plan, site.region, is_begun=is_begun, is_over_tls=is_over_tls)
    else:
        yield from inspect_bucket(site.bucket, site.region, is_over_tls=is_over_tls)
    if plan.table is not None:
        if site.table is None or site.needs_table:
            yield from planned_table(plan.table.table, site.region, is_begun=site.table is not None)
        else:
            yield from inspect_table(site.table)
        if site.elsewhere:
            says = f"there is a table {plan.table.table} in {site.elsewhere}, and the backend says {site.region}"
            yield Found("table region", "warning", says, "If that one is meant: correct `region` and `bucket` there.")
    elif not plan.has_lock_object:
        yield Found("lock", "warning", "the backend takes no lock", "Set use_lockfile = true in its backend block.")


def _print(findings: Sequence[Finding]) -> None:
    from tfguard.findings import as_lines

    width = max(len(finding.check) for finding in findings)
    lines = [line for finding in findings for line in as_lines(finding, width)]
    print("\n".join(lines), flush=True)  # noqa: T201 - asked for


def _check_names(site: Site) -> None:
    if site.bucket is None:
        check_bucket_name(site.plan.state.bucket)
    if site.plan.table is not None and site.table is None:
        check_table_name(site.plan.table.table)


def _is_confirmed(context: Context, plan: Blueprint, again: str) -> bool:
    if not sys.stdin.isatty():
        command = f"{context.options.again} bootstrap {again}".rstrip()
        raise UsageError(f"nothing was created: there is no terminal to ask on.\nTo go without: {command} --yes")
    write_to_stderr("Create what is marked with +? Only 'yes' is accepted: ")
    if sys.stdin.readline().strip() == "yes":
        return True
    context.report.say("warning", "bootstrap.refused", f"{_label(context, plan)}: not confirmed: nothing was created.")
    return False


def _build(context: Context, site: Site, s3: Client, dynamodb: Client | None) -> None:
    """The bucket first: its name may be taken, and then there is no use for a table."""
    from tfguard.bootstrap.build import build_bucket, build_table

    label, plan = _label(context, site.plan), site.plan

    def tell(kind: str, name: str, unknown: Sequence[str]) -> None:
        missing = [_SPOKEN[step] for step in unknown if step in _SPOKEN]
        without = f", without {' and '.join(missing)}, which this server does not know" if missing else ""
        context.report.say("info", f"{kind}.created", f"{label}: created {kind} {name}{without}.")

    if site.needs_bucket:
        tell("bucket", plan.state.bucket, build_bucket(s3, plan, is_begun=site.bucket is not None))
    if site.needs_table and dynamodb is not None and plan.table is not None:
        tell("table", plan.table.table, build_table(dynamodb, plan.table.table))
