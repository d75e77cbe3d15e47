"""
botocore sessions and clients, set up as Terraform's configuration says: files, region, endpoints, proxies.

Connect 2 s, read 3 s. A request to a store is made once, and whoever asked decides; one for credentials up to three
times, since a run should not fail for a hiccup of STS.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import ipaddress
import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.session
import msgspec
import urllib3
from botocore.config import Config
from urllib3.exceptions import InsecureRequestWarning

from tfguard.backends.aws.answers import lines_of
from tfguard.errors import StoreMisconfigured
from tfguard.text import printable

if TYPE_CHECKING:
    from tfguard.backends.aws.spec import AwsAccess

CONNECT_SECONDS = 2
READ_SECONDS = 3

#: Terraform's older names for AWS_ENDPOINT_URL_<SERVICE>.
_LEGACY_ENDPOINTS = {"dynamodb": "AWS_DYNAMODB_ENDPOINT", "s3": "AWS_S3_ENDPOINT", "sts": "AWS_STS_ENDPOINT"}

_loader: Any = None


def new_session(access: AwsAccess) -> Any:
    """
    A botocore session that reads what this AwsAccess names. All sessions share what was loaded of AWS's models.

    Raises:
        StoreMisconfigured: A file of the checkout names a program to get credentials from.
    """
    global _loader
    _refuse_programs(access)
    session = botocore.session.Session(profile=access.profile or None)
    if _loader is None:
        _loader = _lighter(session.get_component("data_loader"))
    session.register_component("data_loader", _loader)
    profile = access.profile or os.environ.get("AWS_PROFILE") or "default"
    section = profile if profile == "default" else f"profile {profile}"
    variables = {
        "config_file": _file_with(access.shared_config_files, section),
        "credentials_file": _file_with(access.shared_credentials_files, profile),
        "ca_bundle": access.ca_bundle,
        "ec2_metadata_service_endpoint": access.metadata_endpoint,
        "ec2_metadata_service_endpoint_mode": access.metadata_endpoint_mode.lower(),
    }
    for name, value in variables.items():
        if value:
            session.set_config_variable(name, value)
    proxies = _proxies(access)
    session.set_default_client_config(_config(access, {"proxies": proxies} if proxies else {}, attempts=3))
    if access.skip_metadata_api_check:
        session.get_component("credential_provider").remove("iam-role")
    return session


def _refuse_programs(access: AwsAccess) -> None:
    """
    Run no program that a checkout names: these files are the backend's choice, so whoever wrote the branch chose them.

    The user's own files, and those of AWS_CONFIG_FILE, are the user's choice wherever they are.
    """
    for path in (*access.shared_config_files, *access.shared_credentials_files):
        with contextlib.suppress(OSError):
            content = Path(path).expanduser().read_bytes()
            if b"credential_process" in content and _is_in_checkout(Path(path).expanduser().resolve()):
                raise StoreMisconfigured(
                    lines_of(
                        f"{printable(path, 60)} names a program (credential_process), and is part of this checkout.",
                        "tfguard does not run it: move that profile to ~/.aws/config, or set AWS_CONFIG_FILE.",
                    )
                )


def _is_in_checkout(path: Path) -> bool:
    return any((folder / ".git").exists() or folder == Path.cwd() for folder in path.parents)


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


def _file_with(paths: tuple[str, ...], section: str) -> str:
    """Of several shared files, the last that has the profile's section: later ones win. botocore takes only one."""
    import configparser

    expanded = [os.path.expanduser(path) for path in paths]
    for path in reversed(expanded):
        parser = configparser.RawConfigParser()
        with contextlib.suppress(configparser.Error, UnicodeDecodeError):
            parser.read(path, encoding="utf-8")
            if parser.has_section(section):
                return path
    return expanded[-1] if expanded else ""


def create_client(
    session: Any, service: str, access: AwsAccess, region: str, endpoint: str, config: Mapping[str, Any], **signing: Any
) -> Any:
    """Make a client; `endpoint` is what the backend's configuration says, `config` and `signing` are botocore's."""

    def create(proxies: Mapping[str, str] | None) -> Any:
        settings = {**config} if proxies is None else {**config, "proxies": dict(proxies)}
        return session.create_client(
            service,
            region_name=region,
            endpoint_url=endpoint or _endpoint_from_environment(service),
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
    fips = access.use_fips or _is_set("AWS_USE_FIPS_ENDPOINT")
    dualstack = access.use_dualstack or _is_set("AWS_USE_DUALSTACK_ENDPOINT")
    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        tcp_keepalive=True,
        max_pool_connections=2,
        user_agent_extra="tfguard",
        use_fips_endpoint=fips or None,
        use_dualstack_endpoint=dualstack or None,
        # S3 look-alikes do not know botocore's newer default checksums; we send Terraform's own.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **settings,
    )


def _is_set(name: str) -> bool:
    """Terraform up to 1.14 takes any value for true; nobody who writes `false` means it."""
    return os.environ.get(name, "").lower() not in {"", "false", "0"}


def _endpoint_from_environment(service: str) -> str | None:
    """Only what botocore would not find by itself: AWS_ENDPOINT_URL_<SERVICE> goes first, its older name second."""
    if os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}"):
        return None
    return os.environ.get(_LEGACY_ENDPOINTS[service]) or None


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
