"""
Run a program under a lock of python-dynamodb-lock, as its documentation advises.

    python python_client.py ENDPOINT TABLE LEASE_SECONDS PROGRAM ARGUMENT…

The work is interrupted when the client says that the lock is in danger or stolen.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from typing import Any

import boto3
from python_dynamodb_lock.python_dynamodb_lock import DynamoDBLockClient


def main(endpoint: str, table: str, lease: str, *argv: str) -> int:
    work: list[subprocess.Popen[bytes]] = []

    def on_trouble(code: str, lock: Any) -> None:
        for each in work:
            each.send_signal(signal.SIGINT)

    seconds = float(lease)
    client = DynamoDBLockClient(
        boto3.resource("dynamodb", endpoint_url=endpoint, region_name="us-east-1"),
        table_name=table,
        heartbeat_period=timedelta(seconds=seconds / 6),
        safe_period=timedelta(seconds=seconds * 4 / 6),
        lease_duration=timedelta(seconds=seconds),
    )
    lock = client.acquire_lock("lock", retry_timeout=timedelta(seconds=60), app_callback=on_trouble)
    try:
        work.append(subprocess.Popen(argv))
        return work[0].wait()
    finally:
        lock.release()
        client.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
