"""One request and its answer, over real sockets: what is kept, what is given up, what is believed."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.eventually import patience
from tests.support.middle import Middle, middle
from tests.support.serving import Request as Asked
from tests.support.serving import serving
from tfguard.backends.aws import sessions
from tfguard.backends.aws.spec import AwsAccess
from tfguard.backends.http import client as http_client
from tfguard.backends.http.spec import HttpAccess
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.proxies import Proxies
from tfguard.backends.net.times import Times
from tfguard.backends.net.transport import Request, Transport
from tfguard.backends.net.trust import Trust
from tfguard.errors import StoreMisconfigured

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def transport(environ: dict[str, str] | None = None, read_seconds: float | None = None, bundle: str = "") -> Transport:
    environ = environ or {}
    seconds = read_seconds or patience(10)
    return Transport(Proxies(environ), Trust(environ, bundle), Times(patience(10), seconds))


def ask(through: Transport, url: str, max_bytes: int = 100) -> tuple[int, bytes]:
    response = through.send(Request("GET", url, {"Host": "x"}), max_bytes)
    return response.status, response.body


@pytest.fixture
def scripted() -> Iterator[Callable[..., tuple[str, list[int]]]]:
    """A server that gives one text a request, and ends a connection where the text is None; counts connections."""
    listeners = []

    def serve(*texts: bytes | None) -> tuple[str, list[int]]:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        connections: list[int] = []
        left = list(texts)

        def run() -> None:
            while left:
                try:
                    made, _ = listener.accept()
                except OSError:
                    return
                connections.append(1)
                with made:
                    made.settimeout(patience(30))
                    while left and made.recv(65536):
                        text = left.pop(0)
                        if text is None:
                            break
                        made.sendall(text)
                        if b"Content-Length" not in text:
                            break

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/", connections

    yield serve
    for listener in listeners:
        listener.close()


def test_a_connection_is_kept_for_the_next_request(scripted: Callable[..., tuple[str, list[int]]]) -> None:
    url, connections = scripted(OK, OK, OK)

    with closing(transport()) as through:
        answers = [ask(through, url) for _ in range(3)]

    assert answers == [(200, b"ok")] * 3
    assert len(connections) == 1


def test_nothing_is_kept_once_it_is_closed(scripted: Callable[..., tuple[str, list[int]]]) -> None:
    """A request of another thread may have been under way: nobody would close its connection."""
    url, connections = scripted(OK, OK)
    through = transport()
    through.close()

    answers = [ask(through, url) for _ in range(2)]

    assert answers == [(200, b"ok")] * 2
    assert len(connections) == 2


def test_a_connection_that_has_ended_is_not_used_again(scripted: Callable[..., tuple[str, list[int]]]) -> None:
    url, connections = scripted(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), OK)

    with closing(transport()) as through:
        assert [ask(through, url) for _ in range(2)] == [(200, b"ok")] * 2

    assert len(connections) <= 2


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
    ids=lambda text: text[:40].decode(),
)
def test_half_an_answer_is_none(scripted: Callable[..., tuple[str, list[int]]], text: bytes) -> None:
    url, _ = scripted(text.replace(b"Content-Length", b"content-length") or None)

    with closing(transport()) as through, pytest.raises(NoAnswer):
        ask(through, url)


def test_what_comes_too_late_is_no_answer() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        closing(transport(read_seconds=0.05)) as through,
        pytest.raises(NoAnswer, match="it took too long"),
    ):
        ask(through, f"http://127.0.0.1:{silent.getsockname()[1]}/")


def test_nobody_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]

    with closing(transport()) as through, pytest.raises(NoAnswer, match=f"cannot connect: .*, http://127.0.0.1:{port}"):
        ask(through, f"http://127.0.0.1:{port}/")


def test_no_more_is_read_than_was_asked_for() -> None:
    with serving(lambda _: (200, b"x" * 100_000)) as url, closing(transport()) as through:
        response = through.send(Request("GET", f"{url}/", {}), 10)

    assert (response.body, response.is_whole) == (b"x" * 10, False)


def test_of_a_refusal_enough_is_read_to_understand_it() -> None:
    with serving(lambda _: (404, b"x" * 1000)) as url, closing(transport()) as through:
        assert through.send(Request("GET", f"{url}/", {}), 1).body == b"x" * 1000


def test_no_redirect_is_followed() -> None:
    asked: list[Asked] = []

    def answer(request: Asked) -> tuple[int, bytes]:
        asked.append(request)
        return 307, b""

    with serving(answer) as url, closing(transport()) as through:
        assert ask(through, f"{url}/") == (307, b"")

    assert len(asked) == 1


# --- certificates and proxies -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Middle]:
    with middle(tmp_path_factory.mktemp("middle")) as made:
        yield made


def test_a_bundle_that_cannot_be_read_is_named(tmp_path: Path, server: Middle) -> None:
    (tmp_path / "empty.pem").write_text("no certificate\n")

    for bundle in ("empty.pem", "none.pem", "."):
        with closing(transport(bundle=str(tmp_path / bundle))) as through, pytest.raises(StoreMisconfigured) as caught:
            ask(through, f"https://localhost:{server.tls_port}/")

        assert "cannot be read" in str(caught.value) and "Correct SSL_CERT_FILE." in str(caught.value)


def test_a_certificate_of_another_name_is_not_believed(server: Middle) -> None:
    environ = {"HTTPS_PROXY": f"http://127.0.0.1:{server.port}"}

    through = transport(environ, bundle=str(server.authority))
    with closing(through), pytest.raises(StoreMisconfigured, match="is not trusted") as caught:
        ask(through, "https://s3.elsewhere.test/")

    assert caught.value.advice == ("If the server is the right one, name who has signed it: SSL_CERT_FILE.",)


def test_once_it_was_believed_another_certificate_is_an_outage(server: Middle) -> None:
    """Something stands between us and the server, for now: who holds a lock tries on."""
    environ = {"HTTPS_PROXY": f"http://127.0.0.1:{server.port}"}

    with closing(transport(environ, bundle=str(server.authority))) as through:
        ask(through, "https://s3.example.test/")
        with pytest.raises(NoAnswer, match="its certificate is not trusted"):
            ask(through, "https://s3.elsewhere.test/")


AWS = "`custom_ca_bundle` in the backend, AWS_CA_BUNDLE, or `ca_bundle` of the profile"
HTTP = "`client_ca_certificate_pem` in the backend, or TF_HTTP_CLIENT_CA_CERTIFICATE_PEM"


@pytest.mark.parametrize(
    ("trust", "setting"),
    [
        (sessions.trust(AwsAccess()), AWS),
        (http_client._trust(HttpAccess(), "", {}), HTTP),
        (Trust({}), "SSL_CERT_FILE"),
    ],
    ids=["s3, dynamodb", "http", "gcs, azurerm, hcp"],
)
def test_each_backend_names_its_own_setting(trust: Trust, setting: str) -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_message = "self-signed certificate"

    found = trust.distrust(error, "https://x")

    assert str(found).endswith(f": {setting}.")


def test_a_proxy_learns_who_asks_and_nobody_else_does(server: Middle) -> None:
    server.seen.clear()
    proxy = f"http://ann:secret@127.0.0.1:{server.port}"
    environ = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}

    with closing(transport(environ, bundle=str(server.authority))) as through:
        for url in ("http://s3.example.test/", "https://s3.example.test/"):
            ask(through, url)

    assert [(seen.via, seen.proxy_user) for seen in server.seen] == [
        ("proxy", "Basic YW5uOnNlY3JldA=="),
        ("tunnel", "Basic YW5uOnNlY3JldA=="),
    ]


@pytest.fixture
def tls_proxy(server: Middle) -> Iterator[str]:
    """The server's proxy behind TLS, as another program would put it there."""
    context = server.context
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = listener.accept()
                outer = context.wrap_socket(accepted, server_side=True)
                inner = socket.create_connection(("127.0.0.1", server.port))
                opened.extend([outer, inner])
                threading.Thread(target=pump, args=(inner, outer), daemon=True).start()
                threading.Thread(target=pump, args=(outer, inner), daemon=True).start()

    opened: list[socket.socket] = []
    threading.Thread(target=run, daemon=True).start()
    yield f"https://localhost:{listener.getsockname()[1]}"
    listener.close()
    for each in opened:
        each.close()


def test_a_proxy_may_be_reached_over_tls(server: Middle, tls_proxy: str) -> None:
    server.seen.clear()
    environ = {"HTTP_PROXY": tls_proxy, "HTTPS_PROXY": tls_proxy}

    with closing(transport(environ, bundle=str(server.authority))) as through:
        for url in ("http://s3.example.test/", "https://s3.example.test/"):
            assert ask(through, url, 1000)[0] == 200

    assert [seen.via for seen in server.seen] == ["proxy", "tunnel"]


def test_a_proxy_that_refuses_is_no_answer() -> None:
    with (
        serving(lambda _: (407, b"")) as proxy,
        closing(transport({"HTTPS_PROXY": proxy})) as through,
        pytest.raises(NoAnswer, match="the proxy answered"),
    ):
        ask(through, "https://s3.example.test/")


def test_a_proxy_of_another_kind_is_said_to_be() -> None:
    with closing(transport({"HTTP_PROXY": "socks5://x"})) as through, pytest.raises(StoreMisconfigured, match="socks5"):
        ask(through, "http://s3.example.test/")
