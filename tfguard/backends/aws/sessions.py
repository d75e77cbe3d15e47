"""
botocore sessions and clients that are told everything: region, endpoints, certificates, proxies.

Connect 2 s, read 3 s. A request to a store is made once, and whoever asked decides; one for credentials up to three
times, since a run should not fail for a hiccup of STS.
"""

from __future__ import annotations

import functools
import gzip
import ipaddress
import os
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.session
import msgspec
import urllib3
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConstantProvider
from botocore.utils import create_nested_client
from urllib3.exceptions import InsecureRequestWarning

if TYPE_CHECKING:
    from tfguard.backends.aws.spec import AwsAccess

CONNECT_SECONDS = 2
READ_SECONDS = 3

#: What botocore would otherwise read from the environment or ~/.aws. All else keeps its default.
_SETTINGS: Mapping[str, Any] = {
    "config_file": os.devnull,
    "credentials_file": os.devnull,
    "ignore_configured_endpoint_urls": True,
}
#: Sections of ~/.aws/config that it looks for besides.
_SECTIONS = ("s3", "proxies_config")

_loader: Any = None


def new_session(access: AwsAccess) -> Any:
    """
    A botocore session that decides nothing by itself: it reads no variable and no shared file.

    Whose credentials and which endpoint is decided before (`order`, `where`). All sessions share what was loaded of
    AWS's models.
    """
    global _loader
    session = botocore.session.Session()
    store = session.get_component("config_store")
    for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items():
        store.set_config_provider(name, ConstantProvider(_SETTINGS.get(name, default)))
    for name in _SECTIONS:
        store.set_config_provider(name, ConstantProvider({}))
    if _loader is None:
        _loader = _lighter(session.get_component("data_loader"))
    session.register_component("data_loader", _loader)
    proxies = _proxies(access)
    session.set_default_client_config(_config(access, {"proxies": proxies} if proxies else {}, attempts=3))
    return session


class _Models:
    """Reads AWS's models, megabytes of JSON, in two thirds of the time that `json` takes for them."""

    def exists(self, file_path: str) -> bool:
        return any(os.path.isfile(file_path + suffix) for suffix in (".json", ".json.gz"))

    def load_file(self, file_path: str) -> Any:
        if os.path.isfile(f"{file_path}.json"):
            with open(f"{file_path}.json", "rb") as file:
                return msgspec.json.decode(file.read())
        if os.path.isfile(f"{file_path}.json.gz"):
            with gzip.open(f"{file_path}.json.gz") as file:
                return msgspec.json.decode(file.read())
        return None


def _lighter(loader: Any) -> Any:
    """
    Make botocore's loader of models cheaper: without this it takes a fifth of a run's overhead.

    To know a service's name botocore looks through the folders of all four hundred; their names are enough, since a
    model that is missing is noticed when it is loaded.
    """

    @functools.cache
    def names(_: str) -> list[str]:
        return sorted({name for path in loader.search_paths if os.path.isdir(path) for name in os.listdir(path)})

    loader.file_loader = _Models()
    loader.list_available_services = names
    return loader


def create_client(
    session: Any, service: str, access: AwsAccess, region: str, endpoint: str, config: Mapping[str, Any], **signing: Any
) -> Any:
    """Make a client; without `endpoint` it asks AWS's own. `config` and `signing` are botocore's."""

    def create(proxies: Mapping[str, str] | None) -> Any:
        settings = {**config} if proxies is None else {**config, "proxies": dict(proxies)}
        # "Nested": no plugins, which a variable may name, and botocore would import.
        return create_nested_client(
            session,
            service,
            region_name=region,
            endpoint_url=endpoint or None,
            verify=False if access.insecure else (access.ca_bundle or None),
            config=_config(access, settings, attempts=3 if service == "sts" else 1),
            **signing,
        )

    if access.insecure:
        # The backend says so itself; urllib3 would say it again for every request.
        urllib3.disable_warnings(InsecureRequestWarning)
    proxies = _proxies(access)
    client = create(proxies)
    if proxies and _is_exempt(client.meta.endpoint_url, access):
        client.close()
        client = create({})
    return client


def _config(access: AwsAccess, settings: Mapping[str, Any], attempts: int) -> Any:
    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        tcp_keepalive=True,
        max_pool_connections=2,
        user_agent_extra="tfguard",
        use_fips_endpoint=access.use_fips or None,
        use_dualstack_endpoint=access.use_dualstack or None,
        # S3 look-alikes do not know botocore's newer default checksums; we send Terraform's own.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **settings,
    )


def _proxies(access: AwsAccess) -> dict[str, str] | None:
    """The proxies to use, None where the environment alone decides (botocore then reads it, NO_PROXY included)."""
    if not (access.http_proxy or access.https_proxy or access.no_proxy):
        return None
    found = urllib.request.getproxies()
    configured = {"http": access.http_proxy, "https": access.https_proxy}
    found.update({scheme: proxy for scheme, proxy in configured.items() if proxy})
    return {scheme: proxy for scheme, proxy in found.items() if scheme in configured}


def _is_exempt(url: str, access: AwsAccess) -> bool:
    """Whether `no_proxy` names the host: itself, a domain that it is in, its network, or everything (`*`)."""
    host = urlsplit(url).hostname or ""
    exempt = access.no_proxy or urllib.request.getproxies().get("no", "")
    return any(_names(entry.strip().lower(), host) for entry in exempt.split(",") if entry.strip())


def _names(entry: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        domain = entry.rpartition(":")[0] or entry
        return entry == "*" or f".{host}".endswith(f".{domain.lstrip('*').lstrip('.')}")
