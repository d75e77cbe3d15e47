"""
Which proxy a request goes through, as Go's `httpproxy` decides, because Terraform asks that one.

It differs from what Python's libraries do: upper case goes before lower case, this machine itself is never reached
through a proxy, and NO_PROXY has networks, ports and `*.domain`.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from tfguard.text import as_bytes

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Proxy:
    """A proxy. `authorization` is its header's value, empty where it wants none; `scheme` is how one speaks to it."""

    scheme: str
    host: str
    port: int
    authorization: str = field(default="", repr=False)


class _Exempt(msgspec.Struct, frozen=True):
    """An entry of NO_PROXY: a network, an address, or a domain; `port` is 0 where it is for all of them."""

    port: int = 0
    network: _Network | None = None
    domain: str = ""
    has_host: bool = False

    def covers(self, host: str, port: int, address: _Address | None) -> bool:
        if self.port not in (0, port):
            return False
        if self.network is not None:
            return address is not None and address.version == self.network.version and address in self.network
        return host.endswith(self.domain) or (self.has_host and host == self.domain[1:])


class Proxies:
    """The proxies of an environment. Each of the three goes before the variable of its name."""

    def __init__(self, environ: Mapping[str, str], http: str = "", https: str = "", exempt: str = "") -> None:
        self._proxies = {
            "http": _proxy(http or _either(environ, "HTTP_PROXY")),
            # Terraform's backend takes its http_proxy for both, unless the environment or itself has one for https.
            "https": _proxy(https or _either(environ, "HTTPS_PROXY") or http),
        }
        self._exempt = tuple(_entries(exempt or _either(environ, "NO_PROXY")))

    def proxy_for(self, url: str) -> Proxy | None:
        """Return the proxy that a request to `url` goes through; None where it goes there directly."""
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme)
        return None if proxy is None or self._is_exempt(parts) else proxy

    def _is_exempt(self, parts: SplitResult) -> bool:
        host = (parts.hostname or "").lower()
        port = parts.port or _PORTS[parts.scheme]
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return True
        return any(entry.covers(host, port, address) for entry in self._exempt)


def _either(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.lower()) or ""


def _proxy(text: str) -> Proxy | None:
    """What is no URL is a host; what is neither is no proxy, as for Go."""
    try:
        parts = urlsplit(text if "://" in text and urlsplit(text).netloc else f"http://{text}")
        port = parts.port or _PORTS.get(parts.scheme, 80)
    except ValueError:
        return None
    if not text or not parts.hostname:
        return None
    authorization = ""
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(as_bytes(user)).decode()
    return Proxy(parts.scheme, parts.hostname, port, authorization)


def _entries(text: str) -> Iterator[_Exempt]:
    for entry in (part.strip().lower() for part in text.split(",")):
        if entry == "*":
            yield _Exempt()
        elif network := _network(entry):
            yield _Exempt(network=network)
        elif entry:
            host, port = _split_port(entry)
            if host and port is not None:
                yield _host_entry(host, port)


def _host_entry(host: str, port: int) -> _Exempt:
    if address := _address(host):
        return _Exempt(port, network=ipaddress.ip_network(address))
    domain = host[1:] if host.startswith("*.") else host
    if domain.startswith("."):
        return _Exempt(port, domain=domain)
    return _Exempt(port, domain=f".{domain}", has_host=True)


def _network(entry: str) -> _Network | None:
    _, slash, bits = entry.partition("/")
    try:
        return ipaddress.ip_network(entry, strict=False) if slash and bits.isdecimal() else None
    except ValueError:
        return None


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _split_port(entry: str) -> tuple[str, int | None]:
    """`host:port` or `[v6]:port`; all of it is the host where it is neither, and the port None where it names none."""
    if entry.startswith("["):
        host, closed, port = entry[1:].partition("]")
        return (host, _port(port[1:])) if closed and port.startswith(":") else (entry, 0)
    host, colon, port = entry.partition(":")
    return (host, _port(port)) if colon and ":" not in port else (entry, 0)


def _port(text: str) -> int | None:
    """A port that no request can have exempts nothing; none at all, everything."""
    return int(text) if text.isdecimal() else (None if text else 0)
