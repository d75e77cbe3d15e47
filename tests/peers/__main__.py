"""
Peers, side by side: `python -m tests.peers` puts the same failures before plain Terraform, lock clients and tfguard.

All on DynamoDB Local behind a fault proxy, with a lease of six seconds. `--write` puts the table into the docs;
`--only WORD` plays the rows, `--client WORD` the clients, whose names have that word. A client that cannot be had here
is left out, and said so.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.conftest import S3, DynamoDB, _client
from tests.e2e.conftest import ROOT
from tests.faults.proxy import fault_proxy
from tests.peers.clients import Client, NpmClient, PythonClient, Terraform, Tfguard
from tests.peers.rows import ROWS, Cell, scene
from tests.support import emulators

PAGE = ROOT / "docs/explanation/side-by-side.md"
_MARKED = re.compile(r"(<!-- peers -->\n).*?(<!-- /peers -->)", re.DOTALL)
Table = dict[str, dict[str, Cell]]


@contextlib.contextmanager
def clients() -> Iterator[list[Client]]:
    """Everybody who can be had here, each behind a proxy and in a folder of its own."""
    with contextlib.ExitStack() as stack:
        endpoint = stack.enter_context(emulators.dynamodb_local())
        s3_endpoint = stack.enter_context(emulators.s3_server())
        dynamodb, s3 = DynamoDB(endpoint, _client("dynamodb", endpoint)), S3(s3_endpoint, _client("s3", s3_endpoint))
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        makers: tuple[Callable[..., Client], ...] = (
            lambda *facts: Terraform(*facts, s3=s3),
            PythonClient,
            NpmClient,
            Tfguard,
        )
        made = []
        for number, make in enumerate(makers):
            folder = base / str(number)
            folder.mkdir()
            try:
                made.append(make(dynamodb, stack.enter_context(fault_proxy(endpoint)), folder))
            except emulators.EmulatorMissing as error:
                print(f"left out: {error}", file=sys.stderr)
        yield made


def play(rows: str, names: str) -> Table:
    """Play every row with every client; says each cell as it comes."""
    table: Table = {}
    with clients() as everybody, tempfile.TemporaryDirectory(prefix="peers-") as base:
        for number, (title, row) in enumerate(ROWS.items()):
            for client in everybody:
                if rows in title and names in client.name:
                    with scene(client, Path(base, f"{number}-{client.name.replace(' ', '-')}")) as at:
                        cell = row(at)
                    print(f"{title}: {client.name}: {cell}", flush=True)
                    table.setdefault(title, {})[client.name] = cell
    return table


def as_markdown(table: Table) -> str:
    names = list(next(iter(table.values())))
    lines = ["| when | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {title} | " + " | ".join(str(cells[name]) for name in names) + " |" for title, cells in table.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.peers")
    parser.add_argument("--write", action="store_true", help="put the table into the docs")
    parser.add_argument("--only", default="", help="play the rows whose title has this word")
    parser.add_argument("--client", default="", help="play the clients whose name has this word")
    options = parser.parse_args()
    os.environ["CHECKPOINT_DISABLE"] = "1"
    text = as_markdown(play(options.only, options.client))
    print(text)
    if options.write:
        before = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(_MARKED.sub(lambda match: f"{match[1]}{text}{match[2]}", before), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
