"""
From the attributes of a cloud block, or of the remote backend, to the lock of a workspace.

Where its runs are executed is asked first. If by HCP Terraform or an agent of its own, they stand in a line there, and
a workspace that we had locked would let none of them begin, not even ours: nothing is held then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing

from tfguard.backends.attributes import Attributes, MissingAttribute
from tfguard.backends.hcp.cli_config import comparable
from tfguard.backends.hcp.client import Client
from tfguard.backends.hcp.spec import HcpAccess, HcpSpec
from tfguard.backends.target import Target, Unlockable
from tfguard.errors import ConfigError
from tfguard.text import printable

_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?")
_DEFAULT_HOST = "app.terraform.io"


def hcp_lock(settings: Attributes, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:
    """
    Find the lock of a workspace, called so here.

    Raises StoreUnavailable, StoreDenied, StoreMisconfigured too: where its runs are executed cannot be learnt.
    """
    host = comparable(settings.text("hostname") or environ.get("TF_CLOUD_HOSTNAME", "") or _DEFAULT_HOST)
    organization = settings.text("organization") or environ.get("TF_CLOUD_ORGANIZATION", "")
    if not _HOST.fullmatch(host):
        raise ConfigError(f"{printable(host, 60)!r} is no host of HCP Terraform.", "Correct `hostname`.")
    if not organization:
        raise MissingAttribute("HCP Terraform needs an organization.", "Set `organization`, or TF_CLOUD_ORGANIZATION.")
    block = settings.block("workspaces")
    name = block.text("name") if block else ""
    if not name and workspace == "default":  # Terraform has none of that name where workspaces are chosen.
        raise MissingAttribute("HCP Terraform needs a workspace.", "Name it: TF_WORKSPACE, or tfguard workspace select")
    name = name or (block.text("prefix") if block else "") + workspace
    access = HcpAccess(host=host, token=settings.text("token"))
    if not _is_executed_here(access, organization, name, environ):
        return Unlockable(
            "HCP Terraform executes these runs, one after the other: tfguard holds no lock.", is_told=True
        )
    return Target(
        label=printable(f"{organization}/{name}"),
        path=f"https://{host}/{organization}/{name}",
        backend="cloud",
        workspace=workspace,
        stores=(HcpSpec(organization=organization, workspace=name, hcp=access),),
    )


def _is_executed_here(access: HcpAccess, organization: str, name: str, environ: Mapping[str, str]) -> bool:
    if environ.get("TF_FORCE_LOCAL_BACKEND"):
        return True
    with closing(Client(access, environ)) as client:
        mode = client.workspace(organization, name).attributes.execution_mode
        return mode == "local" or not client.may_run(organization)
