"""
Those who are compared: how each runs a program under its lock, and what its requests and records look like.

The peers are fetched from their registries into `.emulators/`, for this comparison only.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import DynamoDB
from tests.e2e.conftest import Stage, base_environ
from tests.faults.proxy import FaultProxy, Request
from tests.support import emulators

HERE = Path(__file__).parent
#: The lease of everybody who has one, in seconds.
LEASE_SECONDS = 6.0
TERRAFORM_WORK = """
variable "work" {}
resource "terraform_data" "work" {
  triggers_replace = [timestamp()]
  provisioner "local-exec" {
    command = var.work
  }
}
"""


@dataclass
class Client:
    """One of them, with a table of its own behind the proxy. `key` names its lock there."""

    name: str
    dynamodb: DynamoDB
    proxy: FaultProxy
    folder: Path
    table: str = ""
    has_lease: bool = True
    has_line: bool = False

    def command(self, work: Sequence[str]) -> list[str]:
        raise NotImplementedError

    @property
    def key(self) -> dict[str, Any]:
        raise NotImplementedError

    @property
    def stranger(self) -> dict[str, Any]:
        """A record that another of its kind could have written."""
        raise NotImplementedError

    def acquires(self, request: Request) -> bool:
        """Whether a request is a try to take the lock."""
        return request.action == "PutItem" and "not_exists" in condition(request)

    def beats(self, request: Request) -> bool:
        return False

    def releases(self, request: Request) -> bool:
        return request.action == "DeleteItem"

    @property
    def environ(self) -> dict[str, str]:
        return dict(base_environ(self.folder))

    def start(self, work: Sequence[str]) -> subprocess.Popen[bytes]:
        """Run a program under the lock, in a session of its own."""
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                self.command(work),
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def item(self) -> dict[str, Any] | None:
        answer = self.dynamodb.client.get_item(TableName=self.table, Key=self.key, ConsistentRead=True)
        found: dict[str, Any] | None = answer.get("Item")
        return found

    def plant(self) -> None:
        """Let another take the lock by force, as after a force-unlock."""
        self.dynamodb.client.put_item(TableName=self.table, Item=self.stranger)

    def clear(self) -> None:
        """Forget every record, so that nothing of one row is seen by the next."""
        self.dynamodb.client.delete_item(TableName=self.table, Key=self.key)

    @property
    def is_free(self) -> bool:
        return self.item() is None


def condition(request: Request) -> str:
    return str(json.loads(request.body or b"{}").get("ConditionExpression", ""))


class Terraform(Client):
    """Plain Terraform, whose work is a `local-exec`."""

    def __init__(self, dynamodb: DynamoDB, proxy: FaultProxy, folder: Path, s3: Any) -> None:
        super().__init__("plain Terraform", dynamodb, proxy, folder, has_lease=False)
        self.stage = Stage(folder, "dynamodb", self.environ, table=dynamodb.table(), bucket=s3.bucket())
        self.stage.endpoints |= {"dynamodb": proxy.endpoint, "s3": s3.endpoint}
        self.stage.write(TERRAFORM_WORK)
        self.stage.init()
        self.table = self.stage.table

    def command(self, work: Sequence[str]) -> list[str]:
        flags = ["-auto-approve", "-input=false", "-no-color", "-lock-timeout=60s"]
        return ["terraform", "apply", *flags, f"-var=work=exec {shlex.join(work)}"]

    @property
    def key(self) -> dict[str, Any]:
        return {"LockID": {"S": f"{self.stage.bucket}/{self.stage.key}"}}

    @property
    def stranger(self) -> dict[str, Any]:
        info = {"ID": str(uuid.uuid4()), "Operation": "OperationTypeApply", "Who": "other@machine", "Created": ""}
        return {**self.key, "Info": {"S": json.dumps({**info, "Info": "", "Version": "1.11.4", "Path": ""})}}


class PythonClient(Client):
    """python-dynamodb-lock."""

    def __init__(self, dynamodb: DynamoDB, proxy: FaultProxy, folder: Path) -> None:
        super().__init__(" ".join(emulators.PYTHON_LOCK_CLIENT), dynamodb, proxy, folder)
        self.table = f"locks-{uuid.uuid4().hex[:12]}"
        names = ("lock_key", "HASH"), ("sort_key", "RANGE")
        dynamodb.client.create_table(
            TableName=self.table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in names],
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in names],
        )
        self.packages = emulators.python_lock_client()

    def command(self, work: Sequence[str]) -> list[str]:
        script = str(HERE / "python_client.py")
        return [sys.executable, script, self.proxy.endpoint, self.table, str(LEASE_SECONDS), *work]

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "PYTHONPATH": str(self.packages), "PYTHONWARNINGS": "ignore"}

    @property
    def key(self) -> dict[str, Any]:
        return {"lock_key": {"S": "lock"}, "sort_key": {"S": "-"}}

    @property
    def stranger(self) -> dict[str, Any]:
        facts = {"owner_name": {"S": "other"}, "lease_duration": {"N": "600"}, "expiry_time": {"N": "4000000000"}}
        return {**self.key, **facts, "record_version_number": {"S": str(uuid.uuid4())}}

    def acquires(self, request: Request) -> bool:
        return request.action == "PutItem"

    def beats(self, request: Request) -> bool:
        return request.action == "UpdateItem"


class NpmClient(Client):
    """dynamodb-lock-client, in its form with leases."""

    def __init__(self, dynamodb: DynamoDB, proxy: FaultProxy, folder: Path) -> None:
        super().__init__(" ".join(emulators.NPM_LOCK_CLIENT), dynamodb, proxy, folder, table=dynamodb.table("id"))
        self.packages = emulators.npm_lock_client()

    def command(self, work: Sequence[str]) -> list[str]:
        return ["node", str(HERE / "npm_client.js"), self.proxy.endpoint, self.table, str(LEASE_SECONDS), *work]

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "NODE_PATH": str(self.packages)}

    @property
    def key(self) -> dict[str, Any]:
        return {"id": {"S": "lock"}}

    @property
    def stranger(self) -> dict[str, Any]:
        facts = {"fencingToken": {"N": "99"}, "leaseDurationMs": {"N": "600000"}, "owner": {"S": "other"}}
        return {**self.key, **facts, "guid": {"B": os.urandom(64)}}

    def acquires(self, request: Request) -> bool:
        return request.action == "PutItem" and "not_exists" in condition(request)

    def beats(self, request: Request) -> bool:
        return request.action == "PutItem" and not self.acquires(request) and not self.releases(request)

    def releases(self, request: Request) -> bool:
        # Its records stay; one whose lease is a millisecond is free.
        duration = json.loads(request.body or b"{}").get("Item", {}).get("leaseDurationMs", {}).get("N")
        return request.action == "PutItem" and duration == "1"

    @property
    def is_free(self) -> bool:
        item = self.item()
        return item is None or item["leaseDurationMs"]["N"] == "1"


class Tfguard(Client):
    """tfguard's exec under a named lock: the same records, leases and processes as for a state."""

    def __init__(self, dynamodb: DynamoDB, proxy: FaultProxy, folder: Path) -> None:
        super().__init__("tfguard", dynamodb, proxy, folder, table=dynamodb.table(), has_line=True)

    def command(self, work: Sequence[str]) -> list[str]:
        store = f"dynamodb://{self.table}?region=us-east-1&endpoint={self.proxy.endpoint}"
        options = ["--lock-timeout=60s", "exec", "--name", "lock", "--store", store, "--"]
        return [sys.executable, "-m", "tfguard", *options, *work]

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "TFGUARD_LOCK_LEASE": f"{LEASE_SECONDS}s"}

    @property
    def key(self) -> dict[str, Any]:
        return {"LockID": {"S": "lock"}}

    @property
    def stranger(self) -> dict[str, Any]:
        info = {"ID": str(uuid.uuid4()), "Operation": "OperationTypeApply", "Who": "other@machine", "Created": ""}
        return {**self.key, "Info": {"S": json.dumps({**info, "Info": "", "Version": "1.11.4", "Path": ""})}}

    def acquires(self, request: Request) -> bool:
        return request.operation == "create"

    def beats(self, request: Request) -> bool:
        return request.operation == "replace"

    def releases(self, request: Request) -> bool:
        return request.operation == "delete"
