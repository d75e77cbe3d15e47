"""The kinds of store that the contract is held against, and what sets each of them apart."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import REGION, S3, Azure, Consul, DynamoDB, Gcs, Kubernetes, Postgres, States
from tests.support.memory import MemoryStore, MemoryTable
from tfguard.backends import open_store
from tfguard.backends.aws.credentials import Credentials
from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec, S3Spec
from tfguard.backends.azurerm.spec import AzureAccess, AzureSpec
from tfguard.backends.azurerm.store import AzureStore
from tfguard.backends.consul.spec import ConsulAccess, ConsulSpec
from tfguard.backends.consul.store import ConsulStore
from tfguard.backends.gcs.spec import GcsAccess, GcsSpec
from tfguard.backends.gcs.store import GcsStore
from tfguard.backends.http.addresses import GUARD
from tfguard.backends.http.gitlab import GitLabGuardStore
from tfguard.backends.http.spec import GitLabGuardSpec
from tfguard.backends.kubernetes.spec import KubernetesAccess, KubernetesSpec
from tfguard.backends.kubernetes.store import KubernetesStore
from tfguard.backends.local.spec import LocalSpec
from tfguard.backends.net.no_answer import NoAnswer
from tfguard.backends.net.transport import Request, Response
from tfguard.backends.pg.client import Row
from tfguard.backends.pg.spec import PgAccess, PgSpec
from tfguard.errors import StoreUnavailable
from tfguard.lock.guarded import GuardedStore
from tfguard.lock.lockinfo import LockInfo, decode
from tfguard.lock.store import Holder, Lease, LockRecord, QueueRecord, Store

ACCESS = AwsAccess(region=REGION, access_key="testkey", secret_key="testsecret")
_SERIAL = itertools.count(1)


def record(text: str = "", *, lease: Lease | None = None) -> LockRecord:
    """A record as a run writes it; each call has an ID of its own."""
    info = LockInfo(
        id=str(uuid.UUID(int=next(_SERIAL))),
        operation="OperationTypeApply",
        info="<&> ünï \u2028",
        who="ana@ci-7",
        version="1.11.4",
        created="2026-11-20T10:00:00.123456Z",
        path="bucket/prod/terraform.tfstate",
    )
    text = text or info.encode()
    return LockRecord(text=text, info=decode(text), lease=lease)


def lease(beat: int = 1) -> Lease:
    holder = Holder(who="ana@ci-7", command="apply", run="run 4812", link='https://ci/"tfguard":{}')
    return Lease(
        beat=beat, duration_ms=180_000, holder=holder, boot="b", sent=12.345678, beaten_at="2026-11-20T10:00:00Z"
    )


@dataclass
class Kind:
    """One lock in one kind of store. `open` gives another instance on the same lock, as another process would have."""

    has_leases: bool = True
    #: Whether a descriptor carries the lock.
    has_descriptor: bool = False
    #: Whether one instance may replace or delete what another created: not where the kernel ties a lock to its holder.
    is_shared: bool = True
    #: What the store's own would be for a queue record that was stored.
    queue_version: str = ""
    opened: list[Store] = field(default_factory=list)

    def open(self) -> Store:
        store = self._open()
        self.opened.append(store)
        return store

    def close(self) -> None:
        for store in self.opened:
            store.close()

    def _open(self) -> Store:
        raise NotImplementedError

    def plant(self, content: bytes) -> None:
        """Put a lock there whose text is this."""
        raise NotImplementedError

    def info(self) -> bytes:
        """What a Terraform that is refused would read as LockInfo."""
        raise NotImplementedError


class MemoryKind(Kind):
    def __init__(self) -> None:
        super().__init__()
        self.table = MemoryTable()

    def _open(self) -> Store:
        return MemoryStore(self.table)

    def plant(self, content: bytes) -> None:
        text = content.decode("utf-8", "replace")
        self.table.records["lock"] = LockRecord(text=text, info=decode(text))

    def info(self) -> bytes:
        return self.table.records["lock"].text.encode()


class NetworkKind(Kind):
    """A store behind a network, in which requests and answers can get lost."""

    @contextlib.contextmanager
    def lost_answers(self, store: Any) -> Iterator[None]:
        """Requests land, answers never come."""
        with sending(store, lambda send, request, limit: send(request, limit) and _lose()):
            yield

    @contextlib.contextmanager
    def lost_requests(self, store: Any) -> Iterator[None]:
        """Requests never land."""
        with sending(store, lambda *_: _lose()):
            yield


class AwsKind(NetworkKind):
    """A store on AWS."""

    def __init__(self) -> None:
        super().__init__()
        self.credentials = Credentials(ACCESS)

    def close(self) -> None:
        super().close()
        self.credentials.close()


class DynamoDBKind(AwsKind):
    def __init__(self, server: DynamoDB) -> None:
        super().__init__()
        self.server = server
        self.spec = DynamoDBSpec(
            table=server.table(), lock_id="bucket/prod/terraform.tfstate", aws=ACCESS, endpoint=server.endpoint
        )

    def _open(self) -> Store:
        return open_store(self.spec, self.credentials)

    def plant(self, content: bytes) -> None:
        self.put(Info={"S": content.decode("utf-8", "replace")})

    def put(self, **attributes: Any) -> None:
        item = {"LockID": {"S": self.spec.lock_id}, **attributes}
        self.server.client.put_item(TableName=self.spec.table, Item=item)

    def info(self) -> bytes:
        item = self.server.item(self.spec.table, self.spec.lock_id)
        assert item is not None
        text: str = item["Info"]["S"]
        return text.encode()


class S3Kind(AwsKind):
    def __init__(self, server: S3, *, versioned: bool = False) -> None:
        super().__init__()
        self.queue_version = '"0123"'
        self.server = server
        self.spec = S3Spec(
            bucket=server.bucket(versioned=versioned),
            key="prod/terraform.tfstate.tflock",
            aws=ACCESS,
            endpoint=server.endpoint,
            use_path_style=True,
        )

    def _open(self) -> Store:
        return open_store(self.spec, self.credentials)

    def plant(self, content: bytes) -> None:
        self.server.client.put_object(Bucket=self.spec.bucket, Key=self.spec.key, Body=content)

    def info(self) -> bytes:
        body = self.server.body(self.spec.bucket, self.spec.key)
        assert body is not None
        return body


class ConsulKind(NetworkKind):
    def __init__(self, server: Consul) -> None:
        super().__init__(queue_version="7")
        self.server = server
        self.spec = ConsulSpec(path=server.path(), consul=ConsulAccess(address=server.address))

    def _open(self) -> Store:
        return open_store(self.spec)

    def plant(self, content: bytes) -> None:
        """As Terraform does it: the lock first, then what it says."""
        session = self.server.ask("PUT", "session/create", b'{"NodeChecks": []}')["ID"]
        assert self.server.ask("PUT", f"kv/{self.spec.path}/.lock?acquire={session}", b"") is True
        assert self.server.ask("PUT", f"kv/{self.spec.path}/.lockinfo", content) is True

    def info(self) -> bytes:
        value = self.server.value(f"{self.spec.path}/.lockinfo")
        assert value is not None
        return value


class GcsKind(NetworkKind):
    def __init__(self, server: Gcs) -> None:
        super().__init__(queue_version="7")
        self.server = server
        access = GcsAccess(access_token="token", endpoint=server.endpoint)
        self.spec = GcsSpec(bucket=server.bucket(), key="prod/default.tflock", gcs=access)

    def _open(self) -> Store:
        return open_store(self.spec)

    def plant(self, content: bytes) -> None:
        self.server.put(self.spec.bucket, self.spec.key, content)

    def info(self) -> bytes:
        body = self.server.body(self.spec.bucket, self.spec.key)
        assert body is not None
        return body


class KubernetesKind(NetworkKind):
    #: More than this, and a little, the annotations of a Lease may not be.
    MOST = 262_000

    def __init__(self, server: Kubernetes) -> None:
        super().__init__(queue_version="0aaf67c2-0000-0000-0000-000000000000 7")
        self.server = server
        access = KubernetesAccess(host=server.endpoint, token="token")
        self.spec = KubernetesSpec(namespace=server.namespace(), name="lock-tfstate-default-prod", kubernetes=access)

    def _open(self) -> Store:
        return open_store(self.spec)

    def plant(self, content: bytes) -> None:
        text = content.decode("utf-8", "replace")[: self.MOST]
        info = decode(text)
        about = {"name": self.spec.name, "annotations": {"app.terraform.io/lock-info": text}}
        spec = {"holderIdentity": info.id if info else "0aaf67c2-0000-0000-0000-000000000001"}
        self.server.make("leases", self.spec.namespace, {"metadata": about, "spec": spec})

    def info(self) -> bytes:
        lease = self.server.read("leases", self.spec.namespace, self.spec.name)
        text: str = lease["metadata"]["annotations"]["app.terraform.io/lock-info"]
        return text.encode()


class AzureKind(NetworkKind):
    """With `is_guarding` the record stands beside a Terraform's own lock, which is free."""

    def __init__(self, server: Azure, *, is_guarding: bool) -> None:
        super().__init__(queue_version='"0x123"')
        self.server = server
        access = AzureAccess(account=server.account, access_key=server.key)
        self.spec = AzureSpec(
            container=server.container(),
            key=".tfguard/prod.tfstate.lock",
            azure=access,
            state_key="prod.tfstate" if is_guarding else "",
        )

    def _open(self) -> Store:
        return open_store(self.spec)

    def plant(self, content: bytes) -> None:
        self.server.put(self.spec.container, self.spec.key, content)

    def info(self) -> bytes:
        body = self.server.body(self.spec.container, self.spec.key)
        assert body is not None
        return body


class GitLabKind(NetworkKind):
    """The guard of a lock on GitLab."""

    def __init__(self, server: States) -> None:
        super().__init__(queue_version="7")
        self.server = server
        self.spec = GitLabGuardSpec(address=server.gitlab())

    def _open(self) -> Store:
        return open_store(self.spec)

    @contextlib.contextmanager
    def lost_answers(self, store: Any) -> Iterator[None]:
        store.read()  # As before each attempt: a create without it begins with a look, and that would be lost.
        with super().lost_answers(store):
            yield

    def plant(self, content: bytes) -> None:
        body = json.dumps({"serial": 1, "content": content.decode("utf-8", "replace")}).encode()
        assert self.server.ask("POST", self.spec.address + GUARD, body)[0] == 200

    def info(self) -> bytes:
        """No Terraform reads it; it is the same text all the same."""
        content: str = json.loads(self.server.ask("GET", self.spec.address + GUARD)[1])["content"]
        return content.encode()


class PgKind(NetworkKind):
    """`is_terraforms`: a workspace's lock; otherwise one under a name of the user's own."""

    def __init__(self, server: Postgres, *, is_terraforms: bool) -> None:
        super().__init__(has_descriptor=is_terraforms)
        self.server = server
        self.database = server.database()
        host, _, port = server.address.partition(":")
        server.make_states(self.database, "tf", "prod")
        access = PgAccess(host=host, port=port, user="postgres", database=self.database, sslmode="disable")
        self.spec = PgSpec(name="prod", schema="tf", pg=access, is_terraforms=is_terraforms)

    def _open(self) -> Store:
        return open_store(self.spec)

    def plant(self, content: bytes) -> None:
        store = self._open()
        store.write_queue(None, QueueRecord(text="{}"))
        store.close()
        text = content.decode("utf-8", "replace")
        self.server.ask(self.database, "UPDATE tf.tfguard SET lock = %s", text)

    def info(self) -> bytes:
        text: str = self.server.ask(self.database, "SELECT lock FROM tf.tfguard")[0][0]
        return text.encode()

    @contextlib.contextmanager
    def lost_answers(self, store: Any) -> Iterator[None]:
        with self._asking(
            store, lambda ask, statement, values, about: ask(statement, values, about=about) and _unheard()
        ):
            yield

    @contextlib.contextmanager
    def lost_requests(self, store: Any) -> Iterator[None]:
        with self._asking(store, lambda *_: _unheard()):
            yield

    @contextlib.contextmanager
    def _asking(self, store: Any, instead: Callable[..., list[Row]]) -> Iterator[None]:
        ask = store._client.ask

        def asked(statement: str, values: Any = (), *, about: str = "") -> list[Row]:
            # That the table is there is nothing yet: what a test loses is the write.
            if statement.startswith(("CREATE", "SELECT to_regclass")):
                return ask(statement, values, about=about)  # type: ignore[no-any-return]  # it is Any
            return instead(ask, statement, values, about)

        store._client.ask = asked
        try:
            yield
        finally:
            store._client.ask = ask


def _unheard() -> list[Row]:
    raise StoreUnavailable("it took too long")


class LocalKind(Kind):
    def __init__(self, directory: Path) -> None:
        super().__init__(has_leases=False, is_shared=False, has_descriptor=True)
        self.path = directory / "terraform.tfstate.d" / "prod" / "terraform.tfstate"
        self.info_path = self.path.with_name(".terraform.tfstate.lock.info")

    def _open(self) -> Store:
        return open_store(LocalSpec(path=os.fspath(self.path)))

    def plant(self, content: bytes) -> None:
        self.open().create(record())
        self.info_path.write_bytes(content)

    def info(self) -> bytes:
        return self.info_path.read_bytes()


#: How a request is sent instead: what would send it, the request, and the size of its answer.
Sender = Callable[[Callable[[Request, int], Response], Request, int], Response]


@contextlib.contextmanager
def sending(store: Any, sender: Sender) -> Iterator[None]:
    """Let `sender` stand before the network."""
    is_guarding = isinstance(store, GuardedStore)
    store = store._guard if is_guarding else store
    client = store.client if isinstance(store, AzureStore) else store._client
    is_ours = isinstance(store, (AzureStore, ConsulStore, GcsStore, GitLabGuardStore, KubernetesStore))
    transport = client.transport if is_ours else client._reach.transport
    send = transport.send

    def sent(request: Request, limit: int) -> Response:
        # A session is nothing yet, and a look at Terraform's own lock changes nothing: what a test loses is the write.
        is_aside = "/v1/session/" in request.url or (request.method == "HEAD" and is_guarding)
        return send(request, limit) if is_aside else sender(send, request, limit)

    transport.send = sent
    try:
        yield
    finally:
        transport.send = send


def without(header: str) -> Sender:
    """A network in which this header gets lost, signature or not."""

    def strip(send: Callable[[Request, int], Response], request: Request, limit: int) -> Response:
        headers = {name: value for name, value in request.headers.items() if name != header}
        return send(Request(request.method, request.url, headers, request.body), limit)

    return strip


def _lose() -> Response:
    raise NoAnswer("it took too long")
