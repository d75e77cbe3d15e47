"""
A real Terraform directory on a real backend, and the built tool to run in it.

Each test gets a state of its own. Terraform's work is `terraform_data` with a `local-exec`: built in, and a real apply.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest

from tests.conftest import ACCESS_KEY, REGION, SECRET_KEY, SPARES_GARBAGE
from tests.e2e import forked
from tests.support import parts
from tests.support.eventually import eventually, patience

Backend = Literal[
    "dynamodb", "s3", "both", "local", "consul", "gcs", "gitlab", "strict", "careless", "azurerm", "kubernetes", "pg"
]
#: Those that most tests are held against; `test_consul` and `test_gcs` have their own, fewer.
BACKENDS: tuple[Backend, ...] = ("dynamodb", "s3", "both", "local")
_HTTP = ("gitlab", "strict", "careless")
_AWS = ("dynamodb", "s3", "both")
ROOT = Path(__file__).parents[2]
TFGUARD = [sys.executable, "-m", "tfguard"]
#: What is said of a lock that is ours, up to its ID: where the machine took a second for it, that is said as well.
LOCKED = r"locked(?: after \S+)? \("

#: A lease that a test waits out. Shorter ones run out by themselves where the keeper of a busy machine gets no turn.
SHORT_LEASE = "9s"

#: Appends begin and end to a file, so that two at once are seen; `$HOLD` seconds of work between.
WORK = """
resource "terraform_data" "work" {
  triggers_replace = [timestamp()]
  provisioner "local-exec" {
    command = "echo begin $$ >> log; sleep ${var.hold}; echo end $$ >> log"
  }
}
variable "hold" {
  default = 0
}
"""

#: The same, but between begin and end it waits for `Stage.open_gate`: no test has to guess how long something takes.
GATED = """
resource "terraform_data" "work" {
  triggers_replace = [timestamp()]
  provisioner "local-exec" {
    command = "echo begin $$ >> log; until test -e gate; do sleep 0.05; done; echo end $$ >> log"
  }
}
"""


@dataclass
class Result:
    """How a program ended. `out` and `err` are what it printed."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


@dataclass
class Stage:
    """One working directory. `environ` is what every program in it gets."""

    path: Path
    backend: Backend
    environ: dict[str, str]
    table: str = ""
    bucket: str = ""
    key: str = "app/terraform.tfstate"
    endpoints: dict[str, str] = field(default_factory=dict)
    dynamodb: Any = None
    s3: Any = None
    consul: Any = None
    states: Any = None
    gcs: Any = None
    azure: Any = None
    kubernetes: Any = None
    postgres: Any = None

    def write(self, text: str = WORK, name: str = "main.tf", **extra: str) -> None:
        """Write the configuration, and the backend beside it. `extra`: more of the backend's settings."""
        (self.path / name).write_text(text)
        (self.path / "backend.tf").write_text(self.backend_block(**extra))

    def backend_block(self, **extra: str) -> str:
        if self.backend == "local":
            return ""
        if self.backend == "consul":
            return self._consul_block(**extra)
        if self.backend == "gcs":
            return self._gcs_block(**extra)
        if self.backend in _HTTP:
            return _block("http", {**self._http_settings(), **extra})
        if self.backend == "azurerm":
            return self._azurerm_block(**extra)
        if self.backend == "kubernetes":
            return self._kubernetes_block(**extra)
        if self.backend == "pg":
            return self._pg_block(**extra)
        lines = {
            "bucket": f'"{self.bucket}"',
            "key": f'"{self.key}"',
            "region": f'"{REGION}"',
            "skip_credentials_validation": "true",
            "skip_requesting_account_id": "true",
            "skip_metadata_api_check": "true",
            "use_path_style": "true",
            "endpoints": json.dumps(self.endpoints),
        }
        if self.backend in ("dynamodb", "both"):
            lines["dynamodb_table"] = f'"{self.table}"'
        if self.backend in ("s3", "both"):
            lines["use_lockfile"] = "true"
        lines |= extra
        body = "\n".join(f"    {name} = {value}" for name, value in lines.items())
        return f'terraform {{\n  backend "s3" {{\n{body}\n  }}\n}}\n'

    def _consul_block(self, **extra: str) -> str:
        lines = {"address": f'"{self.consul.address}"', "path": f'"{self.key}"', **extra}
        body = "\n".join(f"    {name} = {value}" for name, value in lines.items())
        return f'terraform {{\n  backend "consul" {{\n{body}\n  }}\n}}\n'

    def _azurerm_block(self, **extra: str) -> str:
        lines = {
            "storage_account_name": f'"{self.azure.account}"',
            "container_name": f'"{self.bucket}"',
            "key": f'"{self.key}"',
            "access_key": f'"{self.azure.key}"',
            **extra,
        }
        body = "\n".join(f"    {name} = {value}" for name, value in lines.items())
        return f'terraform {{\n  backend "azurerm" {{\n{body}\n  }}\n}}\n'

    def _gcs_block(self, **extra: str) -> str:
        lines = {
            "bucket": f'"{self.bucket}"',
            "prefix": f'"{self.key}"',
            "access_token": '"token"',
            "storage_custom_endpoint": f'"{self.gcs.endpoint}"',
            **extra,
        }
        body = "\n".join(f"    {name} = {value}" for name, value in lines.items())
        return f'terraform {{\n  backend "gcs" {{\n{body}\n  }}\n}}\n'

    def _http_settings(self) -> dict[str, str]:
        if self.backend != "gitlab":
            return dict.fromkeys(("address", "lock_address", "unlock_address"), f'"{self.key}"')
        lock = dict.fromkeys(("lock_address", "unlock_address"), f'"{self.key}/lock"')
        return {"address": f'"{self.key}"', **lock, "lock_method": '"POST"', "unlock_method": '"DELETE"'}

    def _kubernetes_block(self, **extra: str) -> str:
        """The namespace is `bucket`, and the suffix `key`."""
        config = self.kubernetes.kubeconfig(self.path / "kubeconfig").name
        settings = {
            "secret_suffix": f'"{self.key}"',
            "namespace": f'"{self.bucket}"',
            "config_path": f'"{config}"',
            "token": '"token"',  # That of a kubeconfig Terraform does not send where there is no TLS.
            **extra,
        }
        return _block("kubernetes", settings)

    def _pg_block(self, **extra: str) -> str:
        lines = {
            "conn_str": f'"postgres://postgres@{self.postgres.address}/{self.bucket}?sslmode=disable"',
            "schema_name": f'"{self.key}"',
            **extra,
        }
        body = "\n".join(f"    {name} = {value}" for name, value in lines.items())
        return f'terraform {{\n  backend "pg" {{\n{body}\n  }}\n}}\n'

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What a statement gives in the database of ours, in the schema's place `{}`; nothing without a table."""
        with contextlib.suppress(psycopg.errors.UndefinedTable):
            found: list[tuple[Any, ...]] = self.postgres.ask(self.bucket, statement.format(self.key))
            return found
        return []

    def init(self) -> Stage:
        """Initialise with plain Terraform."""
        result = self.terraform("init", "-input=false")
        assert result.code == 0, str(result)
        return self

    def terraform(self, *words: str, **environ: str) -> Result:
        """Run plain Terraform to its end."""
        return self.run(["terraform", *words], **environ)

    def tfguard(self, *words: str, stdin: str | None = None, **environ: str) -> Result:
        """
        Run tfguard to its end, without a terminal.

        It is forked from a process that has imported it already: see `forked`.
        """
        given = {**self.environ, **environ}
        if not forked.fits(given):
            return self.run([*TFGUARD, *words], stdin=stdin, **environ)
        return Result(*forked.run(words, self.path, given, stdin or "", timeout=patience(60)))

    def run(self, argv: Sequence[str], stdin: str | None = None, **environ: str) -> Result:
        process = self.start(argv, **environ)
        out, err = process.communicate(stdin, timeout=patience(30))
        return Result(process.returncode, out, err)

    def start(self, argv: Sequence[str], **environ: str) -> subprocess.Popen[str]:
        """Start a program; the caller ends it."""
        return subprocess.Popen(
            list(argv),
            cwd=self.path,
            env={**self.environ, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_tfguard(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        """Start tfguard; the caller ends it. It is forked, as by `tfguard`."""
        given = {**self.environ, **environ}
        if not forked.fits(given):
            return self.start_afresh(*words, **environ)
        return forked.Forked(words, self.path, given)

    def start_afresh(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        """Start tfguard as a Python of its own, for a test of its start, or of what may come at any instant."""
        return self.start([*TFGUARD, *words], **environ)

    def open_gate(self) -> None:
        """Let the work of `GATED` go on to its end."""
        (self.path / "gate").touch()

    # --- what can be seen from outside --------------------------------------------------------------------------

    def locks(self) -> list[dict[str, Any]]:
        """The lock records there are, as plain LockInfo."""
        found: list[dict[str, Any]] = []
        if self.backend in ("dynamodb", "both"):
            item = self.dynamodb.item(self.table, f"{self.bucket}/{self.key}")
            found += [json.loads(item["Info"]["S"])] if item else []
        if self.backend in ("s3", "both"):
            body = self.s3.body(self.bucket, f"{self.key}.tflock")
            found += [json.loads(body)] if body else []
        if self.backend == "local":
            path = self.path / ".terraform.tfstate.lock.info"
            found += [json.loads(path.read_text())] if path.exists() else []
        if self.backend == "consul" and self.consul.holder(self.key):
            info = self.consul.value(f"{self.key}/.lockinfo")
            found += [json.loads(info)] if info else []
        if self.backend in _HTTP and (holder := self.states.lock_of(self.key)):
            found += [{"Who": "gitlab-ci-token", **self._guard(), "ID": holder}]
        if self.backend == "azurerm":
            body = self.azure.body(self.bucket, f".tfguard/{self.key}.lock")
            found += [json.loads(body)] if body else []
            inner = self.azure.holder(self.bucket, self.key)
            found += [{"ID": inner.id, "Who": inner.who}] if inner and not body else []
        if self.backend == "gcs":
            body = self.gcs.body(self.bucket, f"{self.key}/default.tflock")
            found += [json.loads(body)] if body else []
        if self.backend == "kubernetes":
            lease = self.kubernetes.read("leases", self.bucket, f"lock-tfstate-default-{self.key}") or {"spec": {}}
            if "holderIdentity" in lease["spec"]:
                found.append(json.loads(lease["metadata"]["annotations"]["app.terraform.io/lock-info"]))
        if self.backend == "pg":
            rows = self.rows("SELECT lock FROM {}.tfguard WHERE name = 'default' AND lock IS NOT NULL")
            found += [json.loads(row[0]) for row in rows]
        return found

    def _guard(self) -> dict[str, Any]:
        """What the guard on GitLab says of the lock: the server itself keeps hardly more than an ID."""
        status, body = self.states.ask("GET", f"{self.key}-tfguard")
        content = json.loads(body)["content"] if status == 200 else None
        return json.loads(content) if content else {}

    def leftovers(self) -> list[str]:
        """Every lock there is, of any workspace: nothing of a run that has ended."""
        found = [str(path) for path in self.path.glob("**/.*.lock.info")] if self.backend == "local" else []
        if self.backend in ("dynamodb", "both"):
            items = self.dynamodb.client.scan(TableName=self.table, ConsistentRead=True)["Items"]
            found += [item["LockID"]["S"] for item in items if "Info" in item]
        if self.backend == "consul":
            keys = self.consul.ask("GET", f"kv/{self.key}?keys&consistent") or []
            found += [key for key in keys if key.endswith(("/.lock", "/.lockinfo"))]
        if self.backend in _HTTP:
            found += [*filter(None, [self.states.lock_of(self.key)]), *map(str, self._guard().values())]
            found += [str(path) for path in self.path.glob(".terraform/tfguard-*")]
        if self.backend == "azurerm":
            blobs = self.azure.blobs(self.bucket)
            found += [blob.name for blob in blobs if blob.is_leased or blob.name.endswith(".lock")]
        if self.backend == "gcs":
            found += [key for key in self.gcs.objects(self.bucket) if key.endswith(".tflock")]
        if self.backend == "kubernetes":
            leases = self.kubernetes.leases(self.bucket)
            found += [name for name, lease in leases.items() if "holderIdentity" in lease["spec"]]
        if self.backend == "pg":
            found += [row[0] for row in self.rows("SELECT name FROM {}.tfguard WHERE lock IS NOT NULL")]
            locks = "pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory'"
            found += [str(row) for row in self.rows(f"SELECT objid FROM {locks} AND datname = current_database()")]
        if self.backend in _AWS:
            found += [key for key in self.objects() if key.endswith(".tflock")]
        return found

    def objects(self) -> list[str]:
        """Every object in the bucket."""
        answer = self.s3.client.list_objects_v2(Bucket=self.bucket)
        return [entry["Key"] for entry in answer.get("Contents", [])]

    def wrong_digests(self) -> list[str]:
        """The states whose digest in the table is not that of the object, so that no Terraform would read them."""
        if self.backend not in ("dynamodb", "both"):
            return []
        return [key for key in self.objects() if key.endswith(".tfstate") and not self._has_digest(key)]

    def _has_digest(self, key: str) -> bool:
        item = self.dynamodb.item(self.table, f"{self.bucket}/{key}-md5") or {}
        content = self.s3.body(self.bucket, key) or b""
        return bool(item.get("Digest", {}).get("S") == hashlib.md5(content).hexdigest())

    def wait_for_lock(self, timeout: float = 20.0) -> dict[str, Any]:
        return eventually(lambda: (self.locks() or [None])[-1], timeout, "a lock record")

    def wait_for_log(self, line: str, count: int = 1, timeout: float = 30.0) -> None:
        eventually(lambda: self.log_lines().count(line) >= count, timeout, f"{count} × {line!r} in the log")

    def log_lines(self) -> list[str]:
        """The words begin and end, in the order in which they were written."""
        path = self.path / "log"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    def state(self, workspace: str = "default") -> dict[str, Any] | None:
        """The state as stored, None if there is none."""
        is_default = workspace == "default"
        if self.backend == "local":
            folder = self.path if is_default else self.path / "terraform.tfstate.d" / workspace
            path = folder / "terraform.tfstate"
            return json.loads(path.read_text()) if path.exists() else None
        if self.backend == "consul":
            value = self.consul.value(self.key if is_default else f"{self.key}-env:{workspace}")
            return json.loads(value) if value else None
        if self.backend in _HTTP:
            status, content = self.states.ask("GET", self.key)
            return json.loads(content) if status == 200 else None
        if self.backend == "azurerm":
            stored = self.azure.body(self.bucket, self.key if is_default else f"{self.key}env:{workspace}")
            return json.loads(stored) if stored else None
        if self.backend == "pg":
            rows = self.rows(f"SELECT data FROM {{}}.states WHERE name = '{workspace}'")
            return json.loads(rows[0][0]) if rows and rows[0][0] else None
        if self.backend == "gcs":
            stored = self.gcs.body(self.bucket, f"{self.key}/{workspace}.tfstate")
            return json.loads(stored) if stored else None
        if self.backend == "kubernetes":
            stored = self.kubernetes.state(self.bucket, f"tfstate-{workspace}-{self.key}")
            return json.loads(stored) if stored else None
        body = self.s3.body(self.bucket, self.key if is_default else f"env:/{workspace}/{self.key}")
        return json.loads(body) if body else None

    def resources(self, workspace: str = "default") -> list[str]:
        state = self.state(workspace) or {}
        return sorted(f"{each['type']}.{each['name']}" for each in state.get("resources", []))


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Make stages: `stage("dynamodb")`. Only what a backend needs is started."""
    stages: list[Stage] = []

    def make(backend: Backend, *, is_initialised: bool = True, text: str = WORK, name: str = "stage") -> Stage:
        parts.terraform()
        if backend in ("s3", "both") and not parts.locks_objects():
            raise parts.PartMissing("no terraform or tofu of 1.10 or newer on PATH")
        path = tmp_path / name
        path.mkdir()
        made = Stage(path, backend, environ=dict(base_environ(tmp_path)))
        stages.append(made)
        if backend == "consul":
            made.consul = request.getfixturevalue("consul")
            made.key = made.consul.path()
        if backend in _HTTP:
            made.states = request.getfixturevalue("states")
            made.key = made.states.gitlab() if backend == "gitlab" else made.states.other(backend)
        if backend == "azurerm":
            made.azure = request.getfixturevalue("azure")
            made.bucket = made.azure.container()
            made.environ |= made.azure.environ
        if backend == "pg":
            made.postgres = request.getfixturevalue("postgres")
            made.bucket, made.key = made.postgres.database(), "tf"
            made.postgres.make_states(made.bucket, made.key)  # As `init` does, which another stage may have run.
        if backend == "gcs":
            made.gcs = request.getfixturevalue("gcs")
            made.bucket, made.key = made.gcs.bucket(), "app"
        if backend == "kubernetes":
            made.kubernetes = request.getfixturevalue("kubernetes")
            made.bucket, made.key = made.kubernetes.namespace(), "prod"
        if backend in _AWS:
            made.s3 = request.getfixturevalue("s3")
            made.bucket = made.s3.bucket()
            made.endpoints["s3"] = made.s3.endpoint
        if backend in ("dynamodb", "both"):
            made.dynamodb = request.getfixturevalue("dynamodb")
            made.table = made.dynamodb.table()
            made.endpoints["dynamodb"] = made.dynamodb.endpoint
        made.write(text)
        return initialised(made) if is_initialised else made

    yield make
    for each in stages:
        each.open_gate()  # A Terraform that is killed leaves its program behind.


def _block(kind: str, lines: Mapping[str, str]) -> str:
    body = "\n".join(f"    {name} = {value}" for name, value in lines.items())
    return f'terraform {{\n  backend "{kind}" {{\n{body}\n  }}\n}}\n'


#: For each backend, the first stage that Terraform itself has initialised in this process, and what it wrote there.
_INITIALISED: dict[str, tuple[Stage, str]] = {}


def initialised(made: Stage) -> Stage:
    """
    Initialise a stage as it was written at first, with what Terraform wrote for another: only the names differ.

    Where there is something to install, or for other settings: `Stage.init`.
    """
    if any(word in (made.path / "main.tf").read_text() for word in ("provider ", "module ", "required_providers")):
        return made.init()
    if made.backend in _HTTP:
        return made.init()  # Its cache is given to a run with another address, and holds by the configuration's hash.
    written = made.path / ".terraform/terraform.tfstate"
    if made.backend not in _INITIALISED:
        made.init()
        _INITIALISED[made.backend] = made, written.read_text() if written.exists() else ""
        return made
    other, text = _INITIALISED[made.backend]
    if text:
        written.parent.mkdir()
        renamed = text.replace(other.bucket, made.bucket) if made.bucket else text.replace(other.key, made.key)
        written.write_text(renamed.replace(other.table, made.table) if made.table else renamed)
    return made


def base_environ(home: Path) -> Mapping[str, str]:
    """A bare environment: credentials of the emulators, no configuration of the machine's own."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SSL_CERT_FILE") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "CHECKPOINT_DISABLE": "1",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
        "TFGUARD_TEST_SHORT_LEASE": "1",
        "TFGUARD_TRACEBACK": "1",
        **SPARES_GARBAGE,
    }
