"""
What every benchmark stands on: an emulator of each service, real Terraform directories, and programs run in them.
"""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.conftest import Azure, Kubernetes, Postgres, States

ROOT = Path(__file__).resolve().parent.parent
REGION = "us-east-1"
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-secret"}
TFGUARD = [sys.executable, "-m", "tfguard"]

#: One second of work, and the instants of its begin and end in a file that all runs share.
WORK = """
variable "runner" {}
variable "log" {}
resource "terraform_data" "work" {
  triggers_replace = [var.runner]
  provisioner "local-exec" {
    command = "at() { echo $1 ${var.runner} $(date +%s.%N) >> ${var.log}; }; at begin; sleep 1; at end"
  }
}
"""
#: Nothing to do, so that locking is a large part of the run.
IDLE = 'resource "terraform_data" "idle" {}\n'


@dataclass(frozen=True)
class Finished:
    """How a program ended: its status, seconds of wall and CPU time (with all its descendants), what it said."""

    code: int
    wall: float
    cpu: float
    err: str


@dataclass
class Bench:
    """The emulators, and room for directories."""

    dynamodb_endpoint: str
    s3_endpoint: str
    consul_endpoint: str
    gcs_endpoint: str
    kubernetes: Kubernetes
    postgres: Postgres
    azure: Azure
    states: States
    scratch: Path
    clients: dict[str, Any] = field(default_factory=dict)

    def table(self) -> str:
        """Create an empty lock table; gives its name."""
        name = f"locks-{uuid.uuid4().hex[:8]}"
        self.client("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "LockID", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "LockID", "KeyType": "HASH"}],
        )
        return name

    def bucket(self) -> str:
        """Create an empty bucket; gives its name."""
        name = f"state-{uuid.uuid4().hex[:8]}"
        self.client("s3").create_bucket(Bucket=name)
        return name

    def gcs_bucket(self) -> str:
        """Create an empty bucket on Google's storage; gives its name."""
        name = f"state-{uuid.uuid4().hex[:8]}"
        asked = urllib.request.Request(
            f"{self.gcs_endpoint}b", json.dumps({"name": name}).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(asked, timeout=30).close()
        return name

    def client(self, service: str) -> Any:
        """A client of botocore's own, for setting up and for looking."""
        if service not in self.clients:
            import botocore.session
            from botocore.config import Config

            endpoint = self.dynamodb_endpoint if service == "dynamodb" else self.s3_endpoint
            self.clients[service] = botocore.session.get_session().create_client(
                service,
                region_name=REGION,
                endpoint_url=endpoint,
                aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
                config=Config(s3={"addressing_style": "path"}),
            )
        return self.clients[service]

    def directory(self, name: str, text: str, block: str) -> Path:
        """Make an initialised Terraform directory."""
        path = self.scratch / f"{name}-{uuid.uuid4().hex[:6]}"
        path.mkdir()
        (path / "main.tf").write_text(text)
        (path / "backend.tf").write_text(block)
        finished = run(["terraform", "init", "-input=false"], path, self.environ())
        if finished.code:
            raise RuntimeError(f"terraform init failed:\n{finished.err}")
        return path

    def block(self, backend: str, **attributes: str) -> str:
        """Say in Terraform's words where a state is."""
        lines = "".join(f"    {name} = {json.dumps(value)}\n" for name, value in attributes.items())
        return f'terraform {{\n  backend "{backend}" {{\n{lines}  }}\n}}\n'

    def s3_block(self, bucket: str, table: str = "") -> str:
        """The same for the s3 backend, with a lock table or, without one, a lock file."""
        lock = f'dynamodb_table = "{table}"' if table else "use_lockfile = true"
        endpoints = json.dumps({"s3": self.s3_endpoint, "dynamodb": self.dynamodb_endpoint})
        return (
            f'terraform {{\n  backend "s3" {{\n    bucket = "{bucket}"\n    key = "app/terraform.tfstate"\n'
            f'    region = "{REGION}"\n    {lock}\n    endpoints = {endpoints}\n    use_path_style = true\n'
            "    skip_credentials_validation = true\n    skip_requesting_account_id = true\n"
            "    skip_metadata_api_check = true\n  }\n}\n"
        )

    def environ(self) -> dict[str, str]:
        """A bare environment: no configuration of the machine's own."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {
            **kept,
            **KEYS,
            "HOME": str(self.scratch),
            "PYTHONPATH": str(ROOT),
            "CHECKPOINT_DISABLE": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "TF_IN_AUTOMATION": "1",
            **self.azure.environ,
        }


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """Start the emulators; all is gone afterwards."""
    from tests.conftest import Azure, Kubernetes, Postgres, States
    from tests.support import emulators

    # As pip does when it installs: the keeper writes no bytecode, and would compile itself at every start.
    compileall.compile_dir(ROOT / "tfguard", quiet=1)
    with contextlib.ExitStack() as started:
        scratch = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="tfguard-bench-")))
        (scratch / "azure").mkdir()

        def endpoint(argv: list[str]) -> str:
            return started.enter_context(emulators.server(argv))

        authority = scratch / "azure"
        azure = {"HTTPS_PROXY": endpoint(emulators.azure_argv(authority))}
        azure["SSL_CERT_FILE"] = str(authority / "authority.pem")
        os.environ.update(azure)  # What is measured in this process takes the same way.
        yield Bench(
            endpoint(emulators.dynamodb_argv()),
            endpoint(emulators.s3_argv()),
            endpoint(emulators.consul_argv()),
            endpoint(emulators.gcs_argv()) + "/storage/v1/",
            Kubernetes(endpoint(emulators.kubernetes_argv())),
            Postgres(endpoint(emulators.postgres_argv())),
            Azure(azure),
            States(endpoint(emulators.states_argv())),
            scratch,
        )


def adopt_orphans() -> None:
    """Become the parent of what our children leave behind (keepers), so that its CPU time is counted."""
    import ctypes

    set_child_subreaper = 36
    ctypes.CDLL(None, use_errno=True).prctl(set_child_subreaper, 1, 0, 0, 0)


def cpu_seconds() -> float:
    """CPU time of all children that have ended, those of theirs included."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def reap(known: set[int]) -> None:
    """Wait for whatever was left to us since `known` were our children."""
    import psutil

    for child in psutil.Process().children():
        if child.pid not in known:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, 0)


def run(argv: list[str], directory: Path, environ: Mapping[str, str]) -> Finished:
    """Run a program to its end, and wait for what it leaves behind. CPU time needs `adopt_orphans`."""
    import psutil

    known = {child.pid for child in psutil.Process().children()}
    before = cpu_seconds()
    started = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            argv, cwd=directory, env=dict(environ), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        try:
            process.wait()
        except BaseException:
            process.kill()
            raise
        wall = time.monotonic() - started
        reap(known)
        errors.seek(0)
        text = errors.read().decode(errors="replace")
    return Finished(process.returncode, wall, cpu_seconds() - before, text)


def versions() -> dict[str, str]:
    """What this was measured with."""
    import platform

    import botocore

    out = subprocess.run(["terraform", "version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v(\S+)", out)
    cpu = "unknown"
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        cpu = next((line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line), cpu)
    return {
        "terraform": found[1] if found else "unknown",
        "python": platform.python_version(),
        "botocore": botocore.__version__,
        "platform": platform.platform(),
        "cpu": cpu,
        "cores": str(os.cpu_count()),
    }
