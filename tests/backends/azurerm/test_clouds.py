"""A cloud that a host describes, as Terraform asks for it, before any that has a name."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.authority import Authority
from tfguard.backends.azurerm.clouds import Cloud, cloud_of
from tfguard.errors import ConfigError, StoreUnavailable

_SAID = {
    "name": "AzureStackCloud",
    "authentication": {"loginEndpoint": "https://login.stack.example/", "audiences": ["https://management"]},
    "resourceManager": "https://management.stack.example/",
    "suffixes": {"storage": "stack.example", "keyVaultDns": "vault.stack.example"},
}


class Described:
    """A host that describes a cloud; `says` is its next answer."""

    def __init__(self, server: HTTPServer) -> None:
        self.host = f"localhost:{server.server_port}"
        self.says: tuple[int, bytes] = (200, b"\xef\xbb\xbf" + json.dumps(_SAID).encode())
        self.asked: list[str] = []


@pytest.fixture
def described(tmp_path: Path) -> Iterator[Described]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            self.send_response(found.says[0])
            self.send_header("Content-Length", str(len(found.says[1])))
            self.end_headers()
            self.wfile.write(found.says[1])

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Described(server)
        server.socket = Authority(tmp_path).context("localhost").wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"SSL_CERT_FILE": str(tmp_path / "authority.pem")}


def test_a_host_describes_its_cloud_and_counts_before_a_name(described: Described, environ: dict[str, str]) -> None:
    found = cloud_of("mars", described.host, environ)

    assert found == Cloud("stack.example", "https://login.stack.example", "https://management.stack.example")
    assert described.asked == ["/metadata/endpoints?api-version=2022-09-01"]


def _without(**changes: Any) -> bytes:
    return json.dumps({**_SAID, **changes}).encode()


@pytest.mark.parametrize(
    "says",
    [
        (503, b""),
        (200, b"<html>Welcome</html>"),
        (200, _without(suffixes={"storage": "evil/path"})),
        (200, _without(authentication={"loginEndpoint": "http://login.stack.example"})),
        (200, _without(resourceManager="http://management.stack.example")),
        (200, _without(resourceManager=None)),
    ],
)
def test_what_describes_no_cloud_is_believed_in_nothing(
    described: Described, environ: dict[str, str], says: tuple[int, bytes]
) -> None:
    described.says = says

    with pytest.raises(StoreUnavailable, match="describes no cloud of Azure"):
        cloud_of("public", described.host, environ)


def test_a_name_is_one_of_three_or_another_for_one_of_them() -> None:
    assert cloud_of("China", "", {}).suffix == "core.chinacloudapi.cn"
    assert cloud_of("Global", "", {}) == cloud_of("public", "", {})
    assert {cloud_of(name, "", {}) for name in ("dod", "USGovernmentL4", "usgovernmentl5", "usgovernment")} == {
        cloud_of("usgovernment", "", {})
    }
    with pytest.raises(ConfigError, match="no cloud of Azure's"):
        cloud_of("mars", "", {})
