"""What the tests on other backends than AWS's start from."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.e2e.conftest import Result, Stage
from tests.support.eventually import patience

APPLY = ("apply", "-auto-approve", "-input=false")
QUICK_BEATS = {"TFGUARD_LOCK_LEASE": "18s"}


def generation(made: Stage) -> str:
    """The number that Terraform knows a lock on Google's storage by."""
    number: str = made.gcs.about(made.bucket, f"{made.key}/default.tflock")["generation"]
    return number


def inner_id(made: Stage) -> str:
    """The ID of Terraform's own lock on a state in Azure, empty where it is free."""
    found = made.azure.holder(made.bucket, made.key)
    return found.id if found else ""


def work_beside_each_other(made: Stage, seconds: float) -> tuple[list[Result], list[Result]]:
    """Let two of us and a plain Terraform apply one state again and again; give how ours ended, and the plain ones."""
    until = time.monotonic() + seconds
    ours: list[Result] = []
    plain: list[Result] = []

    def work(ended: list[Result], apply: Callable[[], Result]) -> None:
        while time.monotonic() < until:
            ended.append(apply())

    clients = [
        threading.Thread(target=work, args=(ours, lambda: made.tfguard(*APPLY))),
        threading.Thread(target=work, args=(ours, lambda: made.tfguard(*APPLY))),
        threading.Thread(target=work, args=(plain, lambda: made.terraform(*APPLY, "-lock-timeout=10m"))),
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join(seconds + patience(60))
    return ours, plain
