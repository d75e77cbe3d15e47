"""From the consul backend's attributes to the lock that Terraform itself would take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tfguard.backends.attributes import Attributes
from tfguard.backends.consul.spec import ConsulAccess, ConsulSpec, ConsulState
from tfguard.backends.target import Target, Unlockable
from tfguard.text import printable

_DEFAULT_ADDRESS = "127.0.0.1:8500"
#: What Go's strconv.ParseBool takes for true, and for false.
_TRUE, _FALSE = {"1", "t", "T", "TRUE", "true", "True"}, {"0", "f", "F", "FALSE", "false", "False"}


def consul_lock(
    settings: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]
) -> Target | Unlockable:
    """Find the lock of a workspace."""
    path = settings.required("path")
    if settings.flag("lock") is False:
        return Unlockable(
            "the consul backend has lock = false, so nobody can be kept out.\n"
            "Take it out of its backend block and run: tfguard init -reconfigure\n"
            "To run without a lock nevertheless: -lock=false",
            needs_lock=True,
        )
    if path.startswith("/"):
        return Unlockable(
            "the consul backend's path starts with a slash, and there Terraform itself gets no lock.\n"
            "Take it off in its backend block and run: tfguard init -migrate-state",
            needs_lock=True,
        )
    is_default = workspace == "default"
    if not is_default:
        path += f"-env:{workspace}"
    access = access_of(settings, environ, directory)
    return Target(
        label=printable(path),
        path=path,
        backend="consul",
        workspace=workspace,
        # Terraform takes the slash off the end before it adds `/.lock`; the state's own key keeps it.
        stores=(ConsulSpec(path=path.rstrip("/"), consul=access, child_always_locks=not is_default),),
        state=ConsulState(path=path, consul=access),
    )


def access_of(settings: Attributes, environ: Mapping[str, str], directory: Path) -> ConsulAccess:
    """Say how Consul is reached: by the backend, then by the environment, as Consul's own client reads it."""
    scheme, address = address_of(settings.text("address"), settings.text("scheme"), environ)

    def file(name: str, variable: str) -> str:
        found = settings.text(name) or environ.get(variable, "")
        return os.path.join(directory, found) if found else ""

    return ConsulAccess(
        address=address,
        scheme=scheme,
        datacenter=settings.text("datacenter"),
        namespace=environ.get("CONSUL_NAMESPACE", ""),
        token=settings.text("access_token"),
        token_file=_in(directory, environ.get("CONSUL_HTTP_TOKEN_FILE", "")),
        http_auth=settings.text("http_auth"),
        ca_file=file("ca_file", "CONSUL_CACERT"),
        ca_path=_in(directory, environ.get("CONSUL_CAPATH", "")),
        cert_file=file("cert_file", "CONSUL_CLIENT_CERT"),
        key_file=file("key_file", "CONSUL_CLIENT_KEY"),
        server_name=environ.get("CONSUL_TLS_SERVER_NAME", ""),
        insecure=environ.get("CONSUL_HTTP_SSL_VERIFY", "") in _FALSE,
    )


def address_of(address: str, scheme: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return scheme and `host:port`. A scheme within the address goes before all else, but never back to http."""
    address = address or environ.get("CONSUL_HTTP_ADDR", "") or _DEFAULT_ADDRESS
    scheme = scheme or ("https" if environ.get("CONSUL_HTTP_SSL", "") in _TRUE else "http")
    before, found, after = address.partition("://")
    if not found:
        return scheme, address
    return (scheme if before == "http" else before), after


def _in(directory: Path, path: str) -> str:
    """A relative path counts from where Terraform runs."""
    return os.path.join(directory, path) if path else ""
