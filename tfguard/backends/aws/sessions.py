"""
botocore sessions and clients that are told everything, and whose requests go through our own transport.

Connect 2 s, read 3 s. A request to a store is made once, and whoever asked decides; one for credentials up to three
times, since a run should not fail for a hiccup of STS.
"""

from __future__ import annotations

import functools
import gzip
import io
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.times import Times
from tfguard.backends.net.transport import Request, Transport
from tfguard.backends.net.trust import Trust

if TYPE_CHECKING:
    from tfguard.backends.aws.spec import AwsAccess

#: Of an answer to botocore: a page of a listing, at most.
_MAX_BYTES = 16 * 1024 * 1024

#: What botocore would otherwise read from the environment or ~/.aws. All else keeps its default.
_SETTINGS: Mapping[str, Any] = {
    "config_file": os.devnull,
    "credentials_file": os.devnull,
    "ignore_configured_endpoint_urls": True,
}
#: Sections of ~/.aws/config that it looks for besides.
_AUTHORITY = "`custom_ca_bundle` in the backend, AWS_CA_BUNDLE, or `ca_bundle` of the profile"
_SECTIONS = ("s3", "proxies_config")

_loader: Any = None


def new_session(access: AwsAccess) -> Any:
    """
    A botocore session that decides nothing by itself: it reads no variable and no shared file.

    Whose credentials and which endpoint is decided before (`order`, `where`). All sessions share what was loaded of
    AWS's models.
    """
    import botocore.session
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConstantProvider

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
    session.set_default_client_config(_config(access, {}, attempts=3))
    session.get_component("event_emitter").register_last("before-send", _through(access))
    return session


def transport(access: AwsAccess, believed: Trust, kept: int = 2) -> Transport:
    """Return what this access's requests go through; `kept` as `Transport` has it."""
    proxies = Proxies(os.environ, access.http_proxy, access.https_proxy, access.no_proxy)
    return Transport(proxies, believed, kept=kept)


def trust(access: AwsAccess) -> Trust:
    """Return the certificates that this access believes; `where` has added the environment's and the profile's."""
    return Trust(os.environ, access.ca_bundle, insecure=access.insecure, authority=_AUTHORITY)


def _through(access: AwsAccess) -> Callable[..., Any]:
    """Give botocore's requests to our transport: its own knows other proxies and other certificates than Terraform."""
    # Nobody closes a session.
    ours = transport(access, trust(access), kept=0)

    def send(request: Any, **_: Any) -> Any:
        from botocore.exceptions import HTTPClientError

        try:
            return _sent(ours, request)
        except NoAnswer as error:
            raise HTTPClientError(request=request, error=error) from error

    return send


class MetadataSession:
    """
    What botocore's readers of a metadata service take for their session, which would know only its own proxies.

    With an `access`, requests go through the backend's proxies, as those to an EC2 instance's service do; without one
    through the environment's, as those to a container's: Terraform asks it with a client of the SDK's own, to which
    the backend's settings do not apply. `seconds` is for one step of a request.
    """

    def __init__(self, access: AwsAccess | None, seconds: float) -> None:
        backends = (access.http_proxy, access.https_proxy, access.no_proxy) if access else ()
        believed = trust(access) if access else Trust(os.environ)
        self._ours = Transport(Proxies(os.environ, *backends), believed, Times(seconds, seconds), kept=0)

    def send(self, request: Any) -> Any:
        """Send a request of botocore's, once."""
        from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

        try:
            return _sent(self._ours, request)
        except NoAnswer as error:
            kind = ReadTimeoutError if isinstance(error.__cause__, TimeoutError) else EndpointConnectionError
            raise kind(endpoint_url=request.url, error=error) from error


def _sent(ours: Transport, request: Any) -> Any:
    """Send a request of botocore's by our transport, and give the answer as botocore has it. Raises NoAnswer."""
    from botocore.awsrequest import AWSResponse

    texts = {name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()}
    body = request.body or b""
    headers = {name: value for name, value in texts.items() if name.lower() != "content-length"}
    sent = Request(request.method, request.url, headers, body.encode() if isinstance(body, str) else bytes(body))
    response = ours.send(sent, _MAX_BYTES)
    return AWSResponse(request.url, response.status, dict(response.headers), _Raw(response.body))


class _Raw(io.BytesIO):
    """A body that has been read, as botocore reads it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        """Give all of it."""
        yield self.read()


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

    from botocore.utils import create_nested_client

    # "Nested": no plugins, which a variable may name, and botocore would import.
    return create_nested_client(
        session,
        service,
        region_name=region,
        endpoint_url=endpoint or None,
        config=_config(access, config, attempts=3 if service == "sts" else 1),
        **signing,
    )


def _config(access: AwsAccess, settings: Mapping[str, Any], attempts: int) -> Any:
    from botocore.config import Config

    return Config(
        retries={"total_max_attempts": attempts, "mode": "standard"},
        user_agent_extra="tfguard",
        use_fips_endpoint=access.use_fips or None,
        use_dualstack_endpoint=access.use_dualstack or None,
        # S3 look-alikes do not know botocore's newer default checksums; we send Terraform's own.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **settings,
    )
