"""A cluster that is reached by TLS, with certificates from texts, files and base64."""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.contract.kinds import lease, record
from tests.support import kubernetes_server
from tests.support.authority import Authority
from tests.support.eventually import eventually, patience
from tfguard.backends.kubernetes.spec import KubernetesAccess, KubernetesSpec
from tfguard.backends.kubernetes.store import KubernetesStore
from tfguard.errors import StoreDenied, StoreMisconfigured

VERSION = "client.authentication.k8s.io/v1"
#: Whose certificate each request has shown, in whose name it asked, and whom the server knows no more.
SHOWN: list[str] = []
NAMED: list[list[tuple[str, str]]] = []
REFUSED: set[str] = set()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[str]:
    """One that wants a certificate of its own authority, and to which that is enough."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.chain("cluster.example"))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED

    class Handler(kubernetes_server._Handler):
        def _allow(self, *_: str) -> None:
            subject: Any = self.connection.getpeercert()["subject"]  # type: ignore[attr-defined]
            SHOWN.append(subject[0][0][1])
            said = [(name, value.encode("latin-1").decode()) for name, value in self.headers.items()]
            NAMED.append([each for each in said if each[0].startswith("Impersonate-")])
            if SHOWN[-1] in REFUSED:
                raise kubernetes_server._RefusedError(401, "Unauthorized", "Unauthorized")

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.socket = context.wrap_socket(served.socket, server_side=True)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()
    thread.join()


def kubeconfig(path: Path, server: str, authority: Authority, form: str) -> Path:
    chain = authority.chain("ci")

    def given(field: str, file: Path) -> dict[str, str]:
        if form == "files":
            return {field: file.name}
        return {f"{field}-data": base64.b64encode(file.read_bytes()).decode()}

    cluster = {"server": server, "tls-server-name": "cluster.example", **given("certificate-authority", authority.file)}
    user = {**given("client-certificate", chain), **given("client-key", chain)}
    config: dict[str, Any] = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(config))
    return path


def opened(namespace: str, path: Path, **more: Any) -> closing[KubernetesStore]:
    access = KubernetesAccess(config_paths=(str(path),), **more)
    return closing(KubernetesStore(KubernetesSpec(namespace=namespace, name="lock-x", kubernetes=access)))


@pytest.mark.parametrize("form", ["files", "data"])
def test_a_client_certificate_opens_the_lock_and_its_watch(server: str, authority: Authority, form: str) -> None:
    path = kubeconfig(authority.file.with_name(f"{form}.json"), server, authority, form)

    with opened(form, path) as holder, opened(form, path) as waiter:
        held = holder.create(record(lease=lease()))
        assert waiter.read() == held
        release = threading.Timer(0.2, lambda: holder.delete(held))
        release.start()
        waiter.await_change(patience(20), lambda: False)
        release.join()
        assert waiter.read() is None


def test_a_program_may_print_the_certificate_and_another_when_that_is_refused(
    server: str, authority: Authority, tmp_path: Path
) -> None:
    """The connections that show the former one are not used again: the server would know it for ever."""
    path = kubeconfig(tmp_path / "config", server, authority, "data")
    config = json.loads(path.read_text())
    config["users"][0]["user"] = {"exec": {"apiVersion": VERSION, "command": str(tmp_path / "program")}}
    path.write_text(json.dumps(config))
    prints(tmp_path / "program", authority.chain("once"))

    with opened("printed", path) as holder:
        held = holder.create(record(lease=lease()))
        assert holder.read() == held
        prints(tmp_path / "program", authority.chain("again"))
        REFUSED.add("once")
        with pytest.raises(StoreDenied, match="have expired"):
            holder.read()
        eventually(lambda: quietly(holder.read) == held, what="an answer to the next certificate")
        assert SHOWN[-1] == "again"


def prints(program: Path, chain: Path) -> None:
    """Make a program that prints a certificate and its key."""
    key, _, certificate = chain.read_text().partition("-----BEGIN CERTIFICATE-----")
    status = {"clientCertificateData": "-----BEGIN CERTIFICATE-----" + certificate, "clientKeyData": key}
    said = {"kind": "ExecCredential", "apiVersion": VERSION, "status": status}
    beside = program.with_name("next")
    beside.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(said)}\nEND\n")
    beside.chmod(0o755)
    beside.replace(program)


def quietly(read: Callable[[], Any]) -> Any:
    with suppress(StoreDenied):
        return read()
    return None


def test_in_whose_name_we_ask_stands_in_every_request(server: str, authority: Authority, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", server, authority, "data")
    config = json.loads(path.read_text())
    config["users"][0]["user"] |= {"as": "ana", "as-groups": ["g1", "g2 é"]}
    path.write_text(json.dumps(config))

    with opened("impersonated", path) as store:
        store.create(record(lease=lease()))

    assert NAMED[-1] == [("Impersonate-User", "ana"), ("Impersonate-Group", "g1"), ("Impersonate-Group", "g2 é")]


def test_insecure_is_the_backends_alone_and_a_wrong_certificate_is_said(
    server: str, authority: Authority, tmp_path: Path
) -> None:
    path = kubeconfig(authority.file.with_name("insecure.json"), server, authority, "data")
    config = json.loads(path.read_text())
    config["clusters"][0]["cluster"] = {"server": server, "insecure-skip-tls-verify": True}
    path.write_text(json.dumps(config))

    with (
        opened("insecure", path) as store,
        pytest.raises(StoreMisconfigured, match=r"(?s)is not trusted.*`cluster_ca_certificate`"),
    ):
        store.read()
    with opened("insecure", path, insecure=True) as store:
        assert store.read() is None
    with pytest.raises(StoreMisconfigured, match="certificate"), opened("insecure", path, ca_certificate="none"):
        pass
