"""Azure's clouds: where storage is in each, who signs in there, and who manages it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.times import SIGN_IN
from tfguard.backends.net.transport import Request, Transport
from tfguard.backends.net.trust import Trust
from tfguard.errors import ConfigError, StoreUnavailable
from tfguard.text import printable
from tfguard.wire import parse

_MAX_BYTES = 1024 * 1024
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?")


class Cloud(NamedTuple):
    """The suffix of storage (`core.windows.net`), and two addresses."""

    suffix: str
    login: str
    management: str


_CLOUDS = {
    "public": Cloud("core.windows.net", "https://login.microsoftonline.com", "https://management.azure.com"),
    "usgovernment": Cloud(
        "core.usgovcloudapi.net", "https://login.microsoftonline.us", "https://management.usgovcloudapi.net"
    ),
    "china": Cloud("core.chinacloudapi.cn", "https://login.chinacloudapi.cn", "https://management.chinacloudapi.cn"),
}
#: What the same clouds are called as well (go-azure-sdk's `FromName`): of what we need, nothing differs.
_ALSO = {
    "global": "public",
    "usgovernmentl4": "usgovernment",
    "usgovernmentl5": "usgovernment",
    "dod": "usgovernment",
}


class _Suffixes(msgspec.Struct, frozen=True):
    storage: str


class _Authentication(msgspec.Struct, frozen=True, rename="camel"):
    login_endpoint: str


class _Endpoints(msgspec.Struct, frozen=True, rename="camel"):
    """What Terraform reads of a cloud's own description, as far as we need it (its `sdk/internal/metadata`)."""

    authentication: _Authentication
    suffixes: _Suffixes
    resource_manager: str


def cloud_of(name: str, metadata_host: str, environ: Mapping[str, str]) -> Cloud:
    """
    Return the cloud of this name, or, before that, the one that a host describes: as Terraform has it.

    Raises:
        ConfigError: Nobody knows such a cloud, or the host is none.

        StoreUnavailable: The host does not describe a cloud just now.
    """
    if metadata_host:
        return _described_by(metadata_host, environ)
    known = _ALSO.get(name.lower(), name.lower())
    if known in _CLOUDS:
        return _CLOUDS[known]
    raise ConfigError(
        f"`environment` {printable(name.lower(), 40)!r} is no cloud of Azure's that tfguard knows.",
        f"One of: {', '.join(_CLOUDS)}. For another one set `metadata_host`.",
    )


def _described_by(host: str, environ: Mapping[str, str]) -> Cloud:
    if not _HOST.fullmatch(host):
        raise ConfigError(f"`metadata_host` {printable(host, 60)!r} is no host.", "Set it to a name without https://.")
    trust = Trust(environ)
    transport = Transport(Proxies(environ), trust, SIGN_IN, kept=0)
    url = f"https://{host}/metadata/endpoints?api-version=2022-09-01"
    try:
        response = transport.send(Request("GET", url, {"Accept": "application/json"}), _MAX_BYTES)
        if response.status != 200:
            raise _silent(host, str(response.status))
        found = parse(response.body.removeprefix(b"\xef\xbb\xbf"), _Endpoints)
    except (NoAnswer, ssl.SSLError) as error:
        raise _silent(host, printable(str(error), 60)) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _silent(host, "what came is something else") from error
    finally:
        transport.close()
    login, management = found.authentication.login_endpoint.rstrip("/"), found.resource_manager.rstrip("/")
    # A token is sent to both: never in clear.
    is_safe = login.startswith("https://") and management.startswith("https://")
    if not is_safe or not _HOST.fullmatch(found.suffixes.storage):
        raise _silent(host, "what came is something else")
    return Cloud(found.suffixes.storage, login, management)


def _silent(host: str, why: str) -> StoreUnavailable:
    return StoreUnavailable(f"`metadata_host` {printable(host, 60)} describes no cloud of Azure's ({why}).")
