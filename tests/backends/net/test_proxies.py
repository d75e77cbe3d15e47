"""Which proxy, as Go's `httpproxy` decides; `test_where` has the rows that Terraform itself was asked."""

from __future__ import annotations

import pytest

from tfguard.backends.net.proxies import Proxies, Proxy

DIRECT = None
PROXY = Proxy("http", "proxy", 3128)


def chosen(url: str, exempt: str = "", **settings: str) -> Proxy | None:
    environ = {"HTTP_PROXY": "http://proxy:3128", "HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": exempt}
    return Proxies(environ, **settings).proxy_for(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "https://localhost:8443",
        "http://LOCALHOST",
        "http://127.0.0.1",
        "http://127.8.9.10:8000",
        "https://[::1]",
    ],
)
def test_this_machine_is_reached_directly(url: str) -> None:
    assert chosen(url) is DIRECT


@pytest.mark.parametrize(
    ("exempt", "url", "expected"),
    [
        ("", "https://x.example.com", PROXY),
        ("*", "https://x.example.com", DIRECT),
        ("other, *", "https://x.example.com", DIRECT),
        # A domain covers itself and what is in it; with a dot, or a star, only what is in it.
        ("example.com", "https://example.com", DIRECT),
        ("example.com", "https://x.y.example.com", DIRECT),
        ("EXAMPLE.com", "https://x.Example.COM", DIRECT),
        ("ample.com", "https://example.com", PROXY),
        (".example.com", "https://x.example.com", DIRECT),
        (".example.com", "https://example.com", PROXY),
        ("*.example.com", "https://x.example.com", DIRECT),
        ("*.example.com", "https://example.com", PROXY),
        ("*.example.com:8443", "https://x.example.com:8443", DIRECT),
        # A port has to be the request's, said or not.
        ("example.com:443", "https://example.com", DIRECT),
        ("example.com:443", "http://example.com", PROXY),
        ("example.com:80", "http://example.com", DIRECT),
        ("example.com:", "http://example.com", DIRECT),
        ("example.com:x", "http://example.com", PROXY),
        (":443", "https://example.com", PROXY),
        # Addresses and networks.
        ("10.0.0.0/8", "https://10.1.2.3", DIRECT),
        ("10.9.9.9/8", "https://10.1.2.3", DIRECT),
        ("10.0.0.0/255.0.0.0", "https://10.1.2.3", PROXY),
        ("10.0.0.0/8", "https://11.1.2.3", PROXY),
        ("10.0.0.0/8", "https://ten.example.com", PROXY),
        ("10.1.2.3", "https://10.1.2.3:8443", DIRECT),
        ("10.1.2.3:8443", "https://10.1.2.3:8443", DIRECT),
        ("10.1.2.3:8443", "https://10.1.2.3", PROXY),
        ("2001:db8::/32", "https://[2001:db8::1]", DIRECT),
        ("2001:db8::1", "https://[2001:db8::1]:8443", DIRECT),
        ("[2001:db8::1]:443", "https://[2001:db8::1]", DIRECT),
        ("[2001:db8::1]:443", "https://[2001:db8::1]:8443", PROXY),
        ("localhost,,  ,example.com ", "https://example.com", DIRECT),
    ],
)
def test_what_is_exempt_is_reached_directly(exempt: str, url: str, expected: Proxy | None) -> None:
    assert chosen(url, exempt) == expected


@pytest.mark.parametrize(
    ("environ", "settings", "url", "expected"),
    [
        ({}, {}, "http://x", ""),
        ({"HTTP_PROXY": "http://upper", "http_proxy": "http://lower"}, {}, "http://x", "upper"),
        ({"HTTP_PROXY": "", "http_proxy": "http://lower"}, {}, "http://x", "lower"),
        ({"HTTP_PROXY": "http://upper"}, {}, "https://x", ""),
        ({"HTTPS_PROXY": "http://upper"}, {}, "http://x", ""),
        ({"HTTP_PROXY": "http://upper"}, {"http": "http://own"}, "http://x", "own"),
        ({}, {"http": "http://own"}, "https://x", "own"),
        ({"HTTPS_PROXY": "http://upper"}, {"http": "http://own"}, "https://x", "upper"),
        ({"HTTPS_PROXY": "http://upper"}, {"https": "http://own"}, "https://x", "own"),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "x"}, {"exempt": "y"}, "http://x", "p"),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "x"}, {"exempt": "y"}, "http://y", ""),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "y", "no_proxy": "x"}, {}, "http://x", "p"),
        ({"ALL_PROXY": "http://p"}, {}, "http://x", ""),
        ({"HTTP_PROXY": "http://[half"}, {}, "http://x", ""),
        ({"HTTP_PROXY": "http://p:port"}, {}, "http://x", ""),
    ],
)
def test_attributes_go_before_variables_and_upper_case_before_lower(
    environ: dict[str, str], settings: dict[str, str], url: str, expected: str
) -> None:
    proxy = Proxies(environ, **settings).proxy_for(url)

    assert (proxy.host if proxy else "") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("proxy", Proxy("http", "proxy", 80)),
        ("proxy:3128", PROXY),
        ("https://proxy", Proxy("https", "proxy", 443)),
        ("socks5://proxy", Proxy("socks5", "proxy", 1080)),
        ("http://ann:p%40ss@proxy:3128", Proxy("http", "proxy", 3128, "Basic YW5uOnBAc3M=")),
    ],
)
def test_a_proxy_is_a_url_or_a_host(text: str, expected: Proxy) -> None:
    assert Proxies({"HTTP_PROXY": text}).proxy_for("http://x") == expected


def test_a_proxys_password_is_not_shown() -> None:
    assert "YW5u" not in repr(Proxies({"HTTP_PROXY": "http://ann:secret@proxy"}).proxy_for("http://x"))
