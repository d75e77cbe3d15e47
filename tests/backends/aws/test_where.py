"""
Where a question goes, and how: what Terraform 1.11.4 was seen to do, row by row, and what tfguard does.

Each row is a backend and an environment; both list a bucket, as they do for a workspace. tfguard is asked in every run,
Terraform itself in `make soak`, where `TFGUARD_TEST_ASK` names the program to be asked.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.eventually import patience
from tests.support.middle import Middle, Seen, middle
from tfguard.backends.attributes import Attributes
from tfguard.backends.aws.credentials import Credentials
from tfguard.backends.aws.locate import lock_object
from tfguard.backends.aws.s3 import S3Store
from tfguard.errors import StoreMisconfigured, StoreUnavailable

#: Read now: tests see no variable of tfguard's.
PROGRAM = os.environ.get("TFGUARD_TEST_ASK", "")
S3 = "http://s3.example.test"
TLS = "https://s3.example.test"
NOBODY = "no answer"


@dataclass(frozen=True)
class Row:
    """A backend and an environment, and how the request comes. {proxy}, {port}, {tls} and {ca} are the server's."""

    name: str
    backend: Mapping[str, object]
    environ: Mapping[str, str]
    expected: tuple[str, str, str] | str
    files: Mapping[str, str] = field(default_factory=dict)
    #: Terraform itself cannot ask here, so that nobody is there whom we could fail to exclude.
    is_beyond_terraform: bool = False


def over(name: str, endpoint: str, expected: tuple[str, str, str] | str, **more: str) -> Row:
    """A row in which only the environment says something, and the bucket is part of the path."""
    backend = {"endpoints": {"s3": endpoint}, "use_path_style": True}
    return Row(name, backend, {variable: value for variable, value in more.items() if value}, expected)


PROXIED = {"HTTP_PROXY": "{proxy}"}
SERVICES = f"""\
[default]
services = here
endpoint_url = http://all.example.test
[services here]
s3 =
  endpoint_url = {S3}
"""
HERE, HERE_TLS = "http://127.0.0.1:{port}", "https://localhost:{tls}"
THERE = ("direct", "127.0.0.1:{port}", "/bucket")
THERE_TLS = ("direct", "localhost:{tls}", "/bucket")
ROWS = [
    # Proxies: through which one, if any.
    over("proxied", S3, ("proxy", "s3.example.test", "/bucket"), **PROXIED),
    over("proxied-tls", TLS, ("tunnel", "s3.example.test", "/bucket"), HTTPS_PROXY="{proxy}", AWS_CA_BUNDLE="{ca}"),
    over("loopback", HERE, THERE, **PROXIED),
    over("localhost", "http://localhost:{port}", ("direct", "localhost:{port}", "/bucket"), **PROXIED),
    over(
        "upper-case-first",
        S3,
        ("proxy", "s3.example.test", "/bucket"),
        HTTP_PROXY="{proxy}",
        http_proxy="http://127.0.0.1:1",
    ),
    over("exempt-network", HERE, THERE, NO_PROXY="127.0.0.0/8"),
    over("exempt-other-network", S3, ("proxy", "s3.example.test", "/bucket"), **PROXIED, NO_PROXY="10.0.0.0/8"),
    over("exempt-domain", S3, NOBODY, **PROXIED, NO_PROXY="*.example.test"),
    over("exempt-port", S3, NOBODY, **PROXIED, NO_PROXY="s3.example.test:80"),
    over("exempt-another-port", S3, ("proxy", "s3.example.test", "/bucket"), **PROXIED, NO_PROXY="s3.example.test:81"),
    Row(
        "attribute",
        {"endpoints": {"s3": S3}, "use_path_style": True, "http_proxy": "{proxy}"},
        {"HTTP_PROXY": "http://127.0.0.1:1"},
        ("proxy", "s3.example.test", "/bucket"),
    ),
    Row(
        "attribute-for-tls-too",
        {"endpoints": {"s3": TLS}, "use_path_style": True, "http_proxy": "{proxy}", "custom_ca_bundle": "{ca}"},
        {},
        ("tunnel", "s3.example.test", "/bucket"),
    ),
    Row(
        "attribute-exempts",
        {"endpoints": {"s3": S3}, "use_path_style": True, "no_proxy": "example.com"},
        {**PROXIED, "NO_PROXY": "s3.example.test"},
        ("proxy", "s3.example.test", "/bucket"),
    ),
    # Certificates: whose are believed.
    over("untrusted", HERE_TLS, NOBODY),
    over("ssl-cert-file", HERE_TLS, THERE_TLS, SSL_CERT_FILE="{ca}"),
    over("ssl-cert-dir", HERE_TLS, THERE_TLS, SSL_CERT_DIR="/:{folder}"),
    over("aws-ca-bundle", HERE_TLS, THERE_TLS, AWS_CA_BUNDLE="{ca}"),
    over("bundle-replaces", HERE_TLS, NOBODY, SSL_CERT_FILE="{ca}", AWS_CA_BUNDLE="{other}"),
    Row(
        "attribute-before-variable",
        {"endpoints": {"s3": HERE_TLS}, "use_path_style": True, "custom_ca_bundle": "{ca}"},
        {"AWS_CA_BUNDLE": "{other}"},
        THERE_TLS,
    ),
    Row(
        "bundle-of-the-profile",
        {"endpoints": {"s3": HERE_TLS}, "use_path_style": True},
        {"AWS_CONFIG_FILE": "{folder}/config"},
        THERE_TLS,
        {"config": "[default]\nca_bundle = {ca}\n"},
    ),
    Row(
        "insecure",
        {"endpoints": {"s3": HERE_TLS}, "use_path_style": True, "insecure": True},
        {},
        THERE_TLS,
    ),
    # Where in the address the bucket stands.
    Row("host-style", {"endpoints": {"s3": S3}}, PROXIED, ("proxy", "bucket.s3.example.test", "/")),
    Row("host-style-port", {"endpoints": {"s3": f"{S3}:8080"}}, PROXIED, ("proxy", "bucket.s3.example.test:8080", "/")),
    Row("host-style-path", {"endpoints": {"s3": f"{S3}/a/b"}}, PROXIED, ("proxy", "bucket.s3.example.test", "/a/b")),
    Row(
        "address-has-no-hosts",
        {"endpoints": {"s3": HERE}},
        {},
        THERE,
        is_beyond_terraform=True,  # it looks for a host `bucket.127.0.0.1`; OpenTofu 1.6 asks as we do
    ),
    Row(
        "dots-without-tls",
        {"endpoints": {"s3": S3}, "bucket": "my.bucket"},
        PROXIED,
        ("proxy", "my.bucket.s3.example.test", "/"),
    ),
    Row(
        "dots-with-tls",
        {"endpoints": {"s3": TLS}, "bucket": "my.bucket"},
        {"HTTPS_PROXY": "{proxy}", "AWS_CA_BUNDLE": "{ca}"},
        ("tunnel", "s3.example.test", "/my.bucket"),
    ),
    Row(
        "colon",
        {"endpoints": {"s3": S3}, "bucket": "tenant:name"},
        PROXIED,
        ("proxy", "s3.example.test", "/tenant%3Aname"),
    ),
    Row(
        "upper-case",
        {"endpoints": {"s3": S3}, "bucket": "Bucket"},
        PROXIED,
        ("proxy", "s3.example.test", "/Bucket"),
    ),
    Row(
        "odd-region",
        {"endpoints": {"s3": S3}, "region": "my_zone", "use_path_style": True},
        PROXIED,
        ("proxy", "s3.example.test", "/bucket"),
    ),
    Row(
        "region-of-a-digit",
        {"endpoints": {"s3": S3}, "region": "1"},
        PROXIED,
        ("proxy", "bucket.s3.example.test", "/"),
    ),
    Row(
        "accelerated-profile",
        {"endpoints": {"s3": S3}},
        {**PROXIED, "AWS_CONFIG_FILE": "{folder}/config"},
        ("proxy", "bucket.s3.example.test", "/"),
        {"config": "[default]\ns3 =\n  use_accelerate_endpoint = true\n  addressing_style = path\n"},
    ),
    Row(
        "endpoint-of-the-environment",
        {},
        {**PROXIED, "AWS_ENDPOINT_URL": "http://all.example.test", "AWS_ENDPOINT_URL_S3": S3},
        ("proxy", "bucket.s3.example.test", "/"),
    ),
    Row(
        "endpoint-for-all",
        {},
        {**PROXIED, "AWS_ENDPOINT_URL": "http://all.example.test"},
        ("proxy", "bucket.all.example.test", "/"),
    ),
    Row(
        "endpoints-ignored",
        {},
        {"HTTPS_PROXY": "http://127.0.0.1:1", **PROXIED, "AWS_ENDPOINT_URL": S3}
        | {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
        NOBODY,
    ),
    Row(
        "endpoint-of-the-profile",
        {},
        {**PROXIED, "AWS_CONFIG_FILE": "{folder}/config"},
        ("proxy", "bucket.s3.example.test", "/"),
        {"config": SERVICES},
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Middle]:
    with middle(tmp_path_factory.mktemp("middle")) as made:
        yield made


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """An authority that signed nothing here."""
    return Authority(tmp_path).file


class Stage:
    """One row, its words filled in."""

    def __init__(self, row: Row, server: Middle, folder: Path, other: Path) -> None:
        believed = server.authority.parent
        self._words = {
            "proxy": f"http://127.0.0.1:{server.port}",
            "port": str(server.port),
            "tls": str(server.tls_port),
            "ca": str(server.authority),
            "folder": str(folder if row.files else believed),
            "other": str(other),
        }
        self.row = row
        for name, text in row.files.items():
            (folder / name).write_text(self.filled(text))
        self.environ = {
            "AWS_ACCESS_KEY_ID": "testkey",
            "AWS_SECRET_ACCESS_KEY": "testsecret",
            "AWS_CONFIG_FILE": str(folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
            **{name: self.filled(value) for name, value in row.environ.items()},
        }
        backend = {
            "bucket": "bucket",
            "key": "k",
            "region": "eu-west-1",
            "max_retries": 1,
            **{f"skip_{what}": True for what in ("credentials_validation", "region_validation", "metadata_api_check")},
            "skip_requesting_account_id": True,
            **row.backend,
        }
        self.backend = json.loads(self.filled(json.dumps(backend)))

    def filled(self, text: str) -> str:
        for word, value in self._words.items():
            text = text.replace("{" + word + "}", value)
        return text

    @property
    def expected(self) -> list[str] | str:
        if isinstance(self.row.expected, str):
            return self.row.expected
        return [self.filled(each) for each in self.row.expected]


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def stage(request: pytest.FixtureRequest, server: Middle, tmp_path: Path, other: Path) -> Stage:
    server.seen.clear()
    return Stage(request.param, server, tmp_path, other)


def shown(seen: list[Seen]) -> list[str] | str:
    return [seen[0].via, seen[0].host, seen[0].path.rstrip("/") or "/"] if seen else NOBODY


def test_tfguard_asks_where_terraform_asks(stage: Stage, server: Middle, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in stage.environ.items():
        monkeypatch.setenv(name, value)
    spec = lock_object(Attributes(stage.backend, "the backend"), Path("/"), "k", stage.environ)

    with closing(Credentials(spec.aws)) as access, closing(S3Store(spec, access)) as store:
        try:
            store.list_keys("env:/")
        except (StoreMisconfigured, StoreUnavailable):
            assert stage.expected == NOBODY

    assert shown(server.seen) == stage.expected


@pytest.mark.skipif(not PROGRAM, reason="Terraform is asked in make soak")
def test_terraform_asks_there(stage: Stage, server: Middle, tmp_path: Path) -> None:
    (tmp_path / "main.tf.json").write_text(json.dumps({"terraform": {"backend": {"s3": stage.backend}}}))
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **stage.environ}
    if stage.expected == NOBODY:
        environ["AWS_MAX_ATTEMPTS"] = "1"

    program = [PROGRAM, "init", "-input=false"]
    subprocess.run(program, cwd=tmp_path, env=environ, capture_output=True, timeout=patience(120))

    assert shown(server.seen) == (NOBODY if stage.row.is_beyond_terraform else stage.expected)
