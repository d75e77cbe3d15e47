"""
What every test starts from: a scrubbed environment, signals that are heard, and the emulators on request.

An emulator that cannot be had skips its tests; where TFGUARD_REQUIRE_EMULATORS=1, it fails them. One server of each
kind serves all of pytest's workers; each test makes a table or bucket of its own.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import gzip
import json
import os
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from tests.support import azure_server, consul_server, emulators, parts
from tests.support.dispositions import restore_dispositions
from tfguard.backends.azurerm.client import Client as AzureClient
from tfguard.backends.azurerm.client import Listed
from tfguard.backends.azurerm.credentials import Credentials as AzureCredentials
from tfguard.backends.azurerm.spec import AzureAccess, AzureState
from tfguard.backends.azurerm.store import StateLease
from tfguard.lock.lockinfo import LockInfo

ACCESS_KEY = "testkey"
SECRET_KEY = "testsecret"
REGION = "us-east-1"
#: For every Terraform that we start: it has ended before collecting its garbage is worth a third of its time.
SPARES_GARBAGE = {"GOGC": "off", "GOMEMLIMIT": "1GiB"}

#: What the machine, a CI platform or a developer may have set, and no test may depend on.
_FOREIGN = (
    "AWS_",
    "CONSUL_",
    "GOOGLE_",
    "TF_",
    "TFGUARD_",
    "CI_",
    "GITHUB_",
    "GITLAB_",
    "RUNNER_",
    "ACTIONS_",
    "BUILDKITE",
    "JENKINS_",
)
_FOREIGN_NAMES = (
    "STORAGE_EMULATOR_HOST",
    "CLOUDSDK_CONFIG",
    "CI",
    "TF_BUILD",
    "GITLAB_CI",
    "TRAVIS",
    "CIRCLECI",
    "NO_COLOR",
    "FORCE_COLOR",
)
#: Where a run of pytest keeps what all of its workers use.
SHARED = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """
    Say how many examples Hypothesis tries, and make the folder of what the workers share.

    A worker is told of the folder; who has no workers uses it alone.
    """
    gc.disable()  # What is imported and collected is never garbage; `pytest_collection_finish` ends that.
    # `make test &` in a script starts us deaf to Ctrl-C, and we would hand that on to whatever a test starts.
    restore_dispositions()
    if config.pluginmanager.hasplugin("hypothesispytest"):
        _load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))
    given = getattr(config, "workerinput", {}).get("shared")
    if given is not None:
        config.stash[SHARED] = Path(given)
        parts.stand_in(config.stash[SHARED] / "programs")
        return
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    config.stash[SHARED] = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tfguard-tests-")))
    stack.enter_context(emulators.sharing(config.stash[SHARED]))
    parts.stand_in(config.stash[SHARED] / "programs")


def pytest_collection_finish() -> None:
    """Look for garbage among what the tests make, and not each time among the tests as well."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """A fixture that lacks a part skips its test."""
    with _skipping():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """So does whatever the test itself starts."""
    with _skipping():
        return (yield)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each part that this machine lacks."""
    skipped = terminalreporter.stats.get("skipped", ())
    reasons = (report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple))
    for line in parts.summary(reasons):
        terminalreporter.write_line(line, yellow=True)


@pytest.hookimpl(optionalhook=True)  # xdist's
def pytest_configure_node(node: Any) -> None:
    node.workerinput["shared"] = str(node.config.stash[SHARED])


def _load_profile(name: str) -> None:
    """
    `short`, the same examples each time, or `long` in `make soak`, others each time.

    No example fails for how long it takes: the machine may be busy.
    """
    from hypothesis import HealthCheck, settings

    slowness = [HealthCheck.too_slow]
    common = settings(deadline=None, suppress_health_check=slowness)
    settings.register_profile("short", common, max_examples=50, derandomize=True)
    settings.register_profile("long", common, max_examples=2000)
    settings.load_profile(name)


@pytest.fixture(scope="session")
def shared(pytestconfig: pytest.Config) -> Path:
    """A folder for what all workers of this run of pytest use; see `emulators.first_of_all`."""
    return pytestconfig.stash[SHARED]


@pytest.fixture(autouse=True)
def scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing from outside steers a test; Terraform talks to nobody but us."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name in _FOREIGN_NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setattr("tfguard.backends.environ._own", None)
    monkeypatch.setenv("CHECKPOINT_DISABLE", "1")
    monkeypatch.setenv("TFGUARD_TEST_SHORT_LEASE", "1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in SPARES_GARBAGE.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def aws_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Static test credentials and a region, and no file of the machine's own."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))


@dataclass(frozen=True)
class DynamoDB:
    """A DynamoDB Local. `client` is botocore's own, for looking at what we did."""

    endpoint: str
    client: Any

    def table(self, hash_key: str = "LockID") -> str:
        """Create an empty lock table; gives its name."""
        name = f"locks-{uuid.uuid4().hex[:12]}"
        self.client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": hash_key, "AttributeType": "S"}],
            KeySchema=[{"AttributeName": hash_key, "KeyType": "HASH"}],
        )
        return name

    def item(self, table: str, lock_id: str) -> dict[str, Any] | None:
        """The raw item, None if there is none."""
        answer = self.client.get_item(TableName=table, Key={"LockID": {"S": lock_id}}, ConsistentRead=True)
        found: dict[str, Any] | None = answer.get("Item")
        return found


@dataclass(frozen=True)
class S3:
    """An S3 emulator; `endpoint` answers STS too. `client` is botocore's own, for looking at what we did."""

    endpoint: str
    client: Any
    buckets: list[str] = field(default_factory=list)

    def bucket(self, *, versioned: bool = False) -> str:
        """Create an empty bucket; gives its name."""
        name = f"state-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        if versioned:
            self.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        self.buckets.append(name)
        return name

    def body(self, bucket: str, key: str) -> bytes | None:
        """The raw object, None if there is none."""
        try:
            answer = self.client.get_object(Bucket=bucket, Key=key)
        except self.client.exceptions.NoSuchKey:
            return None
        with contextlib.closing(answer["Body"]) as stream:
            content: bytes = stream.read()
            return content


@pytest.fixture(scope="session")
def dynamodb(shared: Path) -> DynamoDB:
    endpoint = _endpoint(shared, "dynamodb", emulators.dynamodb_argv)
    return DynamoDB(endpoint=endpoint, client=_client("dynamodb", endpoint))


@pytest.fixture(scope="session")
def s3(shared: Path) -> S3:
    endpoint = _endpoint(shared, "s3", emulators.s3_argv)
    return S3(endpoint=endpoint, client=_client("s3", endpoint))


@dataclass(frozen=True)
class Consul:
    """A Consul. `token` is one that may do everything; empty where tokens do not count."""

    endpoint: str
    token: str = ""

    @property
    def address(self) -> str:
        return self.endpoint.removeprefix("http://")

    def path(self) -> str:
        """Give a path that no other test uses."""
        return f"state-{uuid.uuid4().hex[:12]}/app"

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Make a request of one's own; gives what its JSON holds, None where there is nothing."""
        headers = {"X-Consul-Token": self.token} if self.token else {}
        request = urllib.request.Request(f"{self.endpoint}/v1/{path}", body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise

    def value(self, key: str) -> bytes | None:
        """The raw value of a key, None if there is none."""
        found = self.ask("GET", f"kv/{quote(key)}?consistent")
        return base64.b64decode(found[0]["Value"] or "") if found else None

    def token_for(self, rules: str) -> str:
        """Make a token that may do this, and nothing else."""
        name = f"tests-{uuid.uuid4().hex}"
        self.ask("PUT", "acl/policy", json.dumps({"Name": name, "Rules": rules}).encode())
        made = self.ask("PUT", "acl/token", json.dumps({"Policies": [{"Name": name}]}).encode())
        secret: str = made["SecretID"]
        return secret

    def holder(self, path: str) -> str:
        """The session that holds the lock of a state, empty if none does."""
        found = self.ask("GET", f"kv/{quote(path)}/.lock?consistent") or [{}]
        session: str = found[0].get("Session", "")
        return session


@pytest.fixture(scope="session")
def consul(shared: Path) -> Consul:
    return Consul(_endpoint(shared, "consul", emulators.consul_argv))


@pytest.fixture(scope="session")
def guarded_consul(shared: Path) -> Consul:
    """One that refuses whoever has no token."""
    return Consul(_endpoint(shared, "consul-acl", lambda: emulators.consul_argv(with_acl=True)), consul_server.MASTER)


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL that lets everybody in."""

    endpoint: str

    @property
    def address(self) -> str:
        return self.endpoint.removeprefix("http://")

    def database(self) -> str:
        """Create a database, since some of Terraform's locks are a database's; gives its name."""
        name = f"state{uuid.uuid4().hex[:12]}"
        self.ask("postgres", f"CREATE DATABASE {name}")
        return name

    def connect(self, database: str, name: str = "") -> psycopg.Connection[Any]:
        """Open a session of one's own."""
        url = f"postgres://postgres@{self.address}/{database}?sslmode=disable"
        return psycopg.connect(url, autocommit=True, application_name=name)

    def ask(self, database: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Send a statement of one's own; gives its rows."""
        with self.connect(database) as session:
            asked = session.execute(statement.encode(), values or None)
            return asked.fetchall() if asked.description else []

    def make_states(self, database: str, schema: str, *workspaces: str) -> None:
        """Make what Terraform's `init` makes, and rows for these workspaces."""
        self.ask(
            database,
            f"CREATE SCHEMA {schema}; CREATE SEQUENCE IF NOT EXISTS public.global_states_id_seq AS bigint;"
            f" CREATE TABLE {schema}.states (id bigint NOT NULL DEFAULT nextval('public.global_states_id_seq')"
            " PRIMARY KEY, name text UNIQUE, data text)",
        )
        for workspace in workspaces:
            self.ask(database, f"INSERT INTO {schema}.states (name, data) VALUES (%s, '')", workspace)


@pytest.fixture(scope="session")
def postgres(shared: Path) -> Postgres:
    return Postgres(_endpoint(shared, "postgres", emulators.postgres_argv))


@dataclass(frozen=True)
class Gcs:
    """A Google Cloud Storage. `endpoint` is what the backend's `storage_custom_endpoint` is."""

    endpoint: str

    def bucket(self) -> str:
        """Create an empty bucket; gives its name."""
        name = f"state-{uuid.uuid4().hex[:12]}"
        self._ask("POST", "b", json.dumps({"name": name}).encode())
        return name

    def about(self, bucket: str, key: str) -> dict[str, Any] | None:
        """What Google says of an object, None if there is none."""
        found = self._ask("GET", f"b/{bucket}/o/{quote(key, safe='')}")
        return None if found is None else json.loads(found)

    def body(self, bucket: str, key: str) -> bytes | None:
        """The raw object, None if there is none."""
        return self._ask("GET", f"b/{bucket}/o/{quote(key, safe='')}?alt=media")

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Write an object, whatever is there."""
        url = self.endpoint.replace("/storage/v1/", f"/upload/storage/v1/b/{bucket}/o?name={quote(key, safe='')}")
        start = b"--X\r\nContent-Type: application/json\r\n\r\n{}\r\n--X\r\nContent-Type: application/json\r\n\r\n"
        headers = {"Content-Type": "multipart/related; boundary=X"}
        request = urllib.request.Request(f"{url}&uploadType=multipart", start + body + b"\r\n--X--\r\n", headers)
        urllib.request.urlopen(request, timeout=60).close()

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object, whatever it is."""
        self._ask("DELETE", f"b/{bucket}/o/{quote(key, safe='')}")

    def objects(self, bucket: str) -> list[str]:
        """Every object in the bucket."""
        return [entry["name"] for entry in json.loads(self._ask("GET", f"b/{bucket}/o") or b"{}").get("items", ())]

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes | None:
        headers = {"Content-Type": "application/json"} if body else {}
        request = urllib.request.Request(f"{self.endpoint}{path}", body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise


@pytest.fixture(scope="session")
def gcs(shared: Path) -> Gcs:
    return Gcs(_endpoint(shared, "gcs", emulators.gcs_argv) + "/storage/v1/")


@dataclass(frozen=True)
class Azure:
    """Azure's blobs. `environ` is the way to them: what every program that talks to them needs to be given."""

    environ: dict[str, str]
    account: str = azure_server.ACCOUNT
    key: str = azure_server.KEY

    def container(self) -> str:
        """Create an empty container; gives its name."""
        name = f"state-{uuid.uuid4().hex[:12]}"
        with contextlib.closing(self.client(name)) as client:
            client._ask("PUT", "writing", "", query={"restype": "container"})
        return name

    def client(self, container: str) -> AzureClient:
        """Our own client, for looking at what we and Terraform did."""
        blob = AzureState(container=container, key="", azure=AzureAccess(account=self.account, access_key=self.key))
        credentials = AzureCredentials(blob.azure)
        credentials.resolve()
        return AzureClient(blob, credentials, owns_credentials=True, environ=self.environ)

    def body(self, container: str, key: str) -> bytes | None:
        """The raw blob, None if there is none."""
        with contextlib.closing(self.client(container)) as client:
            found = client.read(key, 1 << 24)
            return found[1] if found else None

    def put(self, container: str, key: str, body: bytes) -> None:
        """Write a blob, whatever is there."""
        with contextlib.closing(self.client(container)) as client:
            client.write(key, body)

    def holder(self, container: str, key: str) -> LockInfo | None:
        """Who has Terraform's own lock on a state."""
        with contextlib.closing(self.client(container)) as client:
            return StateLease(client, key).read()

    def delete(self, container: str, key: str) -> None:
        """Delete a blob, if there is one."""
        with contextlib.closing(self.client(container)) as client:
            if (found := client.about(key)) is not None:
                client.delete(key, found.etag)

    def blobs(self, container: str) -> list[Listed]:
        """Every blob in the container."""
        with contextlib.closing(self.client(container)) as client:
            return list(client.listed(""))


@pytest.fixture(scope="session")
def azure(shared: Path) -> Azure:
    folder = shared / "azure-authority"
    proxy = _endpoint(shared, "azure", lambda: emulators.azure_argv(folder))
    return Azure({"HTTPS_PROXY": proxy, "SSL_CERT_FILE": str(folder / "authority.pem")})


@pytest.fixture(scope="session")
def limited_gcs(shared: Path) -> Gcs:
    """One that takes one write a second for each object, as Google says of itself."""
    return Gcs(_endpoint(shared, "gcs-limited", lambda: emulators.gcs_argv(is_limited=True)) + "/storage/v1/")


@dataclass(frozen=True)
class States:
    """A server of states over HTTP."""

    endpoint: str

    def gitlab(self) -> str:
        """Give the address of a state that no other test uses, on GitLab."""
        return f"{self.endpoint}/api/v4/projects/7/terraform/state/app-{uuid.uuid4().hex[:12]}"

    def other(self, kind: str) -> str:
        """Give one on a server of another kind: `strict` looks at IDs, `careless` does not."""
        return f"{self.endpoint}/{kind}/app-{uuid.uuid4().hex[:12]}"

    def lock_of(self, address: str) -> str:
        """The ID that holds a state's lock, empty if none does."""
        found: str = json.loads(self.ask("GET", address.replace(self.endpoint, f"{self.endpoint}/lock-of"))[1])
        return found

    def serials(self, address: str) -> list[int]:
        """The serials of a state's versions."""
        _, found = self.ask("GET", address.replace(self.endpoint, f"{self.endpoint}/versions-of"))
        serials: list[int] = json.loads(found)
        return serials

    def ask(self, method: str, address: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Make a request of one's own; gives status and body."""
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


@pytest.fixture(scope="session")
def states(shared: Path) -> States:
    return States(_endpoint(shared, "states", emulators.states_argv))


@pytest.fixture(scope="session")
def job_states(shared: Path) -> States:
    """One whose token can be ended, with the job that it is for."""
    return States(_endpoint(shared, "states-of-a-job", emulators.states_argv))


@dataclass(frozen=True)
class Kubernetes:
    """A Kubernetes API server."""

    endpoint: str

    def namespace(self) -> str:
        """Give a namespace that no other test uses. The server that plays Kubernetes has each, and none to make."""
        name = f"tf-{uuid.uuid4().hex[:12]}"
        self._ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def kubeconfig(self, path: Path, token: str = "token") -> Path:
        """Write a kubeconfig."""
        cluster = {"name": "c", "cluster": {"server": self.endpoint}}
        user = {"name": "u", "user": {"token": token}}
        context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
        config = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "x"}
        path.write_text(json.dumps(config))
        return path

    def leases(self, namespace: str) -> dict[str, Any]:
        """Every Lease there, by its name."""
        found = self._ask("GET", self._path("leases", namespace))
        return {each["metadata"]["name"]: each for each in found["items"]}

    def state(self, namespace: str, name: str) -> bytes | None:
        """The state that is in a Secret."""
        found = self.read("secrets", namespace, name)
        return gzip.decompress(base64.b64decode(found["data"]["tfstate"])) if found else None

    def read(self, resource: str, namespace: str, name: str) -> Any:
        """An object, None if there is none."""
        return self._ask("GET", f"{self._path(resource, namespace)}/{name}")

    def make(self, resource: str, namespace: str, body: dict[str, Any]) -> Any:
        """Create an object."""
        return self._ask("POST", self._path(resource, namespace), body)

    def write(self, resource: str, namespace: str, body: dict[str, Any]) -> Any:
        """Replace an object."""
        return self._ask("PUT", f"{self._path(resource, namespace)}/{body['metadata']['name']}", body)

    def delete(self, resource: str, namespace: str, name: str) -> None:
        """Delete an object, whatever it is."""
        self._ask("DELETE", f"{self._path(resource, namespace)}/{name}")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": "Bearer token", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.endpoint}{path}", content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise

    @staticmethod
    def _path(resource: str, namespace: str) -> str:
        root = "/apis/coordination.k8s.io/v1" if resource == "leases" else "/api/v1"
        return f"{root}/namespaces/{namespace}/{resource}"


@pytest.fixture(scope="session")
def kubernetes(shared: Path) -> Kubernetes:
    return Kubernetes(_endpoint(shared, "kubernetes", emulators.kubernetes_argv))


@pytest.fixture(scope="session")
def tofu() -> str:
    """The path of an OpenTofu binary."""
    return emulators.tofu_binary()


@pytest.fixture(scope="session")
def real_terraform() -> str:
    """The path of the Terraform that the tests run."""
    return parts.terraform()


def _endpoint(shared: Path, name: str, argv: Callable[[], list[str]]) -> str:
    return emulators.shared_server(shared, name, argv)


@contextlib.contextmanager
def _skipping() -> Iterator[None]:
    """Skip the test for what this machine has not; fail it where everything has to be there."""
    try:
        yield
    except Exception as error:
        missing = parts.lacking(error)
        if missing is None:
            raise
        (pytest.fail if parts.REQUIRED else pytest.skip)(f"{parts.MISSING}{missing}")


def _client(service: str, endpoint: str) -> Any:
    import botocore.session
    from botocore.config import Config

    session = botocore.session.get_session()
    return session.create_client(
        service,
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=64),
    )
