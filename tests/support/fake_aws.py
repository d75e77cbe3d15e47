"""
A fake AWS that remembers who asked for what, and where.

`middle` writes down how a request came; this one, who asks for what. One loopback port answers STS, SSO, the metadata
services of EC2 and ECS, DynamoDB and S3, just enough for a client to go on: `terraform init`, and one question of ours
to a table and a bucket. It is also a proxy: with HTTPS_PROXY set to it, a client may ask any host of AWS's by its real
name, and it answers in that host's place (with a certificate of its own authority, whose file is `ca_file`). So a test
sees which host a client would have asked, without one that exists.

Keys tell whose they are: `keys_of("role/ci")` is what AssumeRole gives for that role.
"""

from __future__ import annotations

import json
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.authority import Authority

_SCOPE = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/")
_IMDS = "/latest/meta-data/iam/security-credentials/"
ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Asked:
    """One request: `who` is the access key (empty: not signed), `token` its session token, `where` `host region`."""

    service: str
    what: str
    who: str = ""
    token: str = ""
    where: str = ""


def access_key(name: str) -> str:
    """Return the access key that stands for a source: letters and digits of its name."""
    return "AK" + re.sub("[^A-Z0-9]", "", name.upper())


def _ends() -> str:
    return (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _keys_json(name: str, token: str = "Token") -> dict[str, Any]:
    return {
        "Code": "Success",
        "AccessKeyId": access_key(name),
        "SecretAccessKey": f"secret-{name}",
        token: f"token-{name}",
        "Expiration": _ends(),
    }


def _sts(action: str, fields: dict[str, str], who: str, token: str) -> str:
    if action == "GetCallerIdentity":
        name = token.removeprefix("token-")
        arn = f"sts::{ACCOUNT}:assumed-role/{name}/x" if token.startswith("token-") else f"iam::{ACCOUNT}:user/{who}"
        inner = f"<Arn>arn:aws:{arn}</Arn><UserId>{who}</UserId><Account>{ACCOUNT}</Account>"
    else:
        role = fields.get("RoleArn", "").rpartition("/")[2]
        keys = _keys_json(role, "SessionToken")
        inner = (
            "<Credentials>"
            + "".join(f"<{name}>{value}</{name}>" for name, value in keys.items() if name != "Code")
            + "</Credentials><AssumedRoleUser>"
            + f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/{role}/x</Arn><AssumedRoleId>A:x</AssumedRoleId>"
            + "</AssumedRoleUser>"
        )
    return (
        f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>{inner}'
        f"</{action}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>"
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    asked: list[Asked]
    #: Of all tables, by LockID. Nobody's conditions are looked at.
    items: dict[str, dict[str, Any]]
    authority: Authority
    has_instance_role: bool

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # A client that hangs up is none of the test's business.


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer is one packet: a client with delayed acknowledgements would wait for each.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server
    #: The host that a CONNECT asked for.
    tunnel = ""

    def log_message(self, *args: Any) -> None:
        pass

    def do_CONNECT(self) -> None:
        host = self.path.rpartition(":")[0]
        self.send_response_only(200)
        self.end_headers()
        self.wfile.flush()
        trusted = self.server.authority.context(host)
        with suppress(OSError), trusted.wrap_socket(self.connection, server_side=True) as inside:
            _tunnelled(host)(inside, self.client_address, self.server)
        self.close_connection = True

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path)
        host = self.tunnel or self.headers.get("Host", "")
        scope = _SCOPE.search(self.headers.get("Authorization") or "")
        who, region = scope.groups() if scope else ("", "")
        token = self.headers.get("X-Amz-Security-Token") or ""

        def note(name: str, what: str) -> None:
            self.server.asked.append(Asked(name, what, who, token, f"{host} {region}".strip()))

        target = self.headers.get("X-Amz-Target")
        if target:
            asked = json.loads(body)
            operation = target.rpartition(".")[2]
            item = asked.get("Item") or asked.get("Key") or {}
            key = item.get("LockID", {}).get("S", "")
            note("dynamodb", f"{operation} {asked.get('TableName', '')} {key}")
            self._table(operation, key, item)
        elif b"Action=" in body:
            fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            note("sts", f"{fields['Action']} {fields.get('RoleArn', '').rpartition('/')[2]}".strip())
            self._say(200, _sts(fields["Action"], fields, who, token))
        elif path.path == "/latest/api/token":
            note("imds", "token")
            self._say(200, "imds-token", {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": "21600"})
        elif path.path.startswith("/latest/"):
            self._metadata(path.path, note)
        elif path.path.startswith("/ecs/"):
            note("ecs", path.path.removeprefix("/ecs/") + " " + (self.headers.get("Authorization") or ""))
            self._say(200, _keys_json("ecs"))
        elif path.path == "/federation/credentials":
            query = parse_qs(path.query)
            note("sso", f"{query['account_id'][0]} {query['role_name'][0]}")
            ends = int((datetime.now(timezone.utc) + timedelta(hours=1)).timestamp() * 1000)
            keys = {"accessKeyId": access_key("sso"), "secretAccessKey": "s", "sessionToken": "t", "expiration": ends}
            self._say(200, {"roleCredentials": keys})
        elif path.path == "/token":
            note("sso-oidc", json.loads(body).get("grantType", ""))
            self._say(200, {"accessToken": "fresh-token", "expiresIn": 3600, "tokenType": "Bearer"})
        else:
            note("s3", f"{self.command} {path.path}")
            self._bucket(path.path, path.query)

    def _table(self, operation: str, key: str, item: dict[str, Any]) -> None:
        items = self.server.items
        if operation == "PutItem":
            items[key] = item
        elif operation == "DeleteItem":
            items.pop(key, None)
        self._say(200, {"Item": items[key]} if operation == "GetItem" and key in items else {})

    def _metadata(self, path: str, note: Any) -> None:
        if path == _IMDS and self.server.has_instance_role:
            note("imds", "role")
            self._say(200, "instance-role")
        elif path.startswith(_IMDS) and path != _IMDS:
            note("imds", "keys")
            self._say(200, _keys_json("imds"))
        else:
            self._say(404, "")

    def _bucket(self, path: str, query: str) -> None:
        if self.command == "GET" and ("list-type" in query or "prefix" in query):
            xml = "<ListBucketResult><Name>b</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>"
            self._say(200, f"{xml}</ListBucketResult>")
        else:
            self._say(404, "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")

    def _say(self, status: int, body: str | dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        kind = "application/x-amz-json-1.0" if isinstance(body, dict) else "text/xml"
        told = {"Content-Type": kind, "Content-Length": str(len(data)), "x-amz-crc32": str(zlib.crc32(data))}
        for name, value in {**told, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _tunnelled(host: str) -> type[_Handler]:
    return type("_Tunnelled", (_Handler,), {"tunnel": host})


class FakeAws:
    """The server, what it was asked, and how to send a client to it."""

    def __init__(self, folder: Path) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.asked, self._server.items = [], {}
        self._server.authority = Authority(folder)
        self._server.has_instance_role = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def ca_file(self) -> str:
        return str(self._server.authority.file)

    @property
    def asked(self) -> list[Asked]:
        return list(self._server.asked)

    def forget(self) -> None:
        self._server.asked.clear()

    def environ(self) -> dict[str, str]:
        """Return what a client needs in its environment to ask us instead of AWS."""
        return {"HTTPS_PROXY": self.endpoint, "NO_PROXY": "127.0.0.1,localhost", "AWS_CA_BUNDLE": self.ca_file}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def fake_aws(folder: Path) -> Iterator[FakeAws]:
    """Run a fake AWS, whose certificates lie in `folder`."""
    server = FakeAws(folder)
    try:
        yield server
    finally:
        server.close()
