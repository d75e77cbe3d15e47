"""From the http backend's attributes to the lock that Terraform itself would take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from tfguard.backends.attributes import Attributes, MissingAttribute
from tfguard.backends.http.addresses import shown
from tfguard.backends.http.spec import GitLabGuardSpec, HttpAccess, HttpSpec
from tfguard.backends.target import Target, Unlockable
from tfguard.errors import ConfigError
from tfguard.text import printable

#: The address of a state that GitLab manages, wherever that GitLab is.
_GITLAB = re.compile(r".*/api/v4/projects/[^/]+/terraform/state/([^/]+)")
_METHOD = re.compile(r"[A-Za-z]{1,20}")


def http_lock(settings: Attributes, workspace: str, environ: Mapping[str, str]) -> Target | Unlockable:
    """
    Find the lock of a state at an address.

    On GitLab the guard is a state beside it; elsewhere the lock is alone, and has to be given one.
    """

    def text(name: str, default: str = "") -> str:
        return settings.text(name) or environ.get(f"TF_HTTP_{name.upper()}", "") or default

    address = _address(text("address"), "address")
    if not text("lock_address"):
        return Unlockable(
            "the http backend has no lock_address, so Terraform itself takes no lock: nobody can be kept out.\n"
            "Set `lock_address` and `unlock_address` in its block, or TF_HTTP_LOCK_ADDRESS and TF_HTTP_UNLOCK_ADDRESS",
            needs_lock=True,
        )
    if not text("unlock_address"):
        return Unlockable(
            "the http backend has no unlock_address, so no lock could be let go.\n"
            "Set `unlock_address` in its block, or TF_HTTP_UNLOCK_ADDRESS",
            needs_lock=True,
        )
    access = HttpAccess(
        username=text("username"),
        password=settings.text("password"),
        ca=text("client_ca_certificate_pem"),
        certificate=text("client_certificate_pem"),
        key=settings.text("client_private_key_pem"),
        insecure=settings.flag("skip_cert_verification") is True,
    )
    path = urlsplit(address).path
    gitlab = _GITLAB.fullmatch(path)
    lock = HttpSpec(
        address=address,
        http=access,
        lock_address=_address(text("lock_address"), "lock_address"),
        unlock_address=_address(text("unlock_address"), "unlock_address"),
        lock_method=_method(text("lock_method", "LOCK"), "lock_method"),
        unlock_method=_method(text("unlock_method", "UNLOCK"), "unlock_method"),
        is_gitlab=gitlab is not None,
    )
    guard = GitLabGuardSpec(address=address.partition("?")[0], http=access)
    label = gitlab[1] if gitlab else shown(address).partition("://")[2]
    return Target(
        label=printable(label, 60),
        path=shown(address),
        backend="http",
        workspace=workspace,
        stores=(guard, lock) if gitlab else (lock,),
    )


def _address(value: str, name: str) -> str:
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and value.isprintable()
    except ValueError:
        is_good = False
    if not is_good or " " in value or not value.isascii():
        what = f"`{name}` of the http backend is no address for http or https."
        kind = ConfigError if value else MissingAttribute
        raise kind(what, f"Set it in the backend's block, or TF_HTTP_{name.upper()}.")
    return value


def _method(value: str, name: str) -> str:
    if not _METHOD.fullmatch(value):
        raise ConfigError(f"`{name}` of the http backend is no HTTP method.", "Set it to LOCK, POST or the like.")
    return value
