"""A pooler before the server, with which two plain Terraforms would both have the lock: recognised, and refused."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Postgres
from tests.contract.kinds import lease, record
from tests.support import emulators
from tests.support.eventually import eventually
from tests.support.postgres_server import as_nobody, free_port
from tfguard.backends.pg.spec import PgAccess, PgSpec
from tfguard.backends.pg.store import PgStore
from tfguard.errors import StoreMisconfigured

pytestmark = pytest.mark.emulator


@pytest.fixture(params=["transaction", "session"])
def pooled(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[PgSpec]:
    """A lock behind a pgbouncer in this mode."""
    database = postgres.database()
    postgres.make_states(database, "tf", "prod")
    try:
        program, libraries = emulators.pgbouncer()
    except emulators.EmulatorMissing as missing:
        if os.environ.get("TFGUARD_REQUIRE_EMULATORS") == "1":
            raise
        pytest.skip(str(missing))
    home = Path(tempfile.mkdtemp(prefix="pgbouncer."))
    home.chmod(0o755)
    port = free_port()
    host, _, server_port = postgres.address.partition(":")
    settings = home / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n{database} = host={host} port={server_port} user=postgres\n[pgbouncer]\nauth_type = any\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\npool_mode = {request.param}\n"
    )
    environ = {**os.environ, "LD_LIBRARY_PATH": libraries}
    with subprocess.Popen([program, "-q", str(settings)], env=environ, preexec_fn=as_nobody) as process:  # noqa: PLW1509 - it only makes system calls
        try:
            eventually(lambda: _listens(port), 60, "a pgbouncer")
            access = PgAccess(host="127.0.0.1", port=str(port), user="any", database=database, sslmode="disable")
            yield PgSpec(name="prod", schema="tf", pg=access)
        finally:
            process.kill()
            shutil.rmtree(home)


def test_a_pooler_is_recognised_and_no_lock_taken_behind_it(pooled: PgSpec) -> None:
    with closing(PgStore(pooled)) as store:
        recognised = store.is_pooled()
        with pytest.raises(StoreMisconfigured, match="A pooler answers") as raised:
            store.create(record(lease=lease()))
        left = store.read()

    assert recognised
    assert len(str(raised.value).splitlines()) == 2
    assert left is None


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
