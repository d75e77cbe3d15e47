"""A real Terraform on a real PostgreSQL: under its own lock, beside plain ones, after a lost connection."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Postgres
from tests.e2e.conftest import GATED, Stage
from tests.e2e.native import APPLY, QUICK_BEATS
from tests.e2e.operated import keeper_of, kill_keeper_of
from tests.e2e.running import running
from tests.e2e.test_commands import STILL
from tests.support import emulators
from tests.support.authority import Authority
from tests.support.eventually import eventually

pytestmark = pytest.mark.e2e

Make = Callable[..., Stage]
#: A state with nothing in it, as `rows` takes it.
EMPTY = json.dumps({"version": 4, "serial": 1, "lineage": "x", "resources": []}).replace("{", "{{").replace("}", "}}")
#: The sessions that carry a lock.
CARRIER = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tfguard %' AND datname = current_database()"


def test_a_plain_terraform_is_refused_while_we_run_and_one_that_waits_gets_in(stage: Make) -> None:
    """It cannot say whom it waits for: its message shows itself."""
    made = stage("pg", text=GATED)

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        refused = made.terraform("plan", "-input=false", "-no-color")
        with running(made.start(["terraform", "plan", "-input=false", "-lock-timeout=10m"])) as theirs:
            theirs.wait_for("Acquiring state lock")
            made.open_gate()
            result, waited = ours.end(), theirs.end()

    assert refused.code == 1, str(refused)
    assert "Error acquiring the state lock" in refused.err
    assert (result.code, waited.code) == (0, 0), f"{result}{waited}"
    assert made.leftovers() == []


def test_we_wait_for_a_plain_terraform_show_its_session_and_then_run(stage: Make) -> None:
    made = stage("pg", text=GATED)

    with running(made.start(["terraform", *APPLY])) as theirs:
        theirs.wait_for_work(made)
        with running(made.start_tfguard(*APPLY)) as ours:
            ours.wait_for("Waiting up to")
            told = ours.err
            made.open_gate()
            result, other = ours.end(), theirs.end()

    assert (result.code, other.code) == (0, 0), f"{result}{other}"
    assert "is held by postgres@127.0.0.1" in told
    assert "plain Terraform, no heartbeat" in told
    assert made.log_lines() == ["begin", "end"] * 2
    assert made.leftovers() == []


def test_a_workspace_that_terraform_would_create_under_our_lock_is_there_first(stage: Make) -> None:
    made = stage("pg", text=STILL)

    first = made.tfguard(*APPLY, TF_WORKSPACE="new")
    selected = made.tfguard("workspace", "new", "newer")
    second = made.tfguard(*APPLY)

    assert (first.code, selected.code, second.code) == (0, 0, 0), f"{first}{selected}{second}"
    assert made.resources("new") == made.resources("newer") == ["terraform_data.a", "terraform_data.b"]
    assert made.leftovers() == []


def test_a_connection_that_ends_is_taken_again_and_the_run_goes_on(stage: Make) -> None:
    made = stage("pg", text=GATED)

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        before = made.rows(CARRIER)
        made.rows(f"SELECT pg_terminate_backend(pid) FROM ({CARRIER}) s")
        eventually(lambda: made.rows(CARRIER) not in ([], before), 60, "another carrier")
        after = made.rows(CARRIER)
        refused = made.terraform("plan", "-input=false", "-no-color")
        made.open_gate()
        result = ours.end()

    assert "lock.lost" not in result.err
    assert len(before) == len(after) == 1
    assert before != after
    assert refused.code == 1, str(refused)
    assert result.code == 0, str(result)
    assert made.leftovers() == []


def test_a_keeper_that_is_killed_leaves_the_lock_to_its_successor(stage: Make) -> None:
    """Front and sentinel have its connection, one taken again too; the successor beats on, and ends the session."""
    made = stage("pg", text=GATED)

    with running(made.start_tfguard(*APPLY, **QUICK_BEATS)) as ours:
        ours.wait_for_work(made)
        before, held = made.locks(), _sockets_of(ours.pid)
        made.rows(f"SELECT pg_terminate_backend(pid) FROM ({CARRIER}) s")
        eventually(lambda: _sockets_of(ours.pid) - held, 60, "the descriptor of another carrier")
        session = made.rows(CARRIER)
        kill_keeper_of(ours.pid)
        eventually(lambda: keeper_of(ours.pid), 60, "a successor")
        refused = made.terraform("plan", "-input=false", "-no-color")
        same = (made.locks(), made.rows(CARRIER)) == (before, session)
        made.open_gate()
        result = ours.end()

    assert refused.code == 1, str(refused)
    assert same
    assert result.code == 1, str(result)  # A Terraform whose keeper has died is asked to stop.
    assert "release=released" in result.err
    assert made.leftovers() == []


def _sockets_of(pid: int) -> set[str]:
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(os.readlink(each))
    return {name for name in found if name.startswith("socket:")}


def test_a_lock_that_somebody_else_has_taken_meanwhile_is_lost(stage: Make) -> None:
    made = stage("pg", text=GATED)
    made.rows("INSERT INTO {}.states (name, data) VALUES ('default', '" + EMPTY + "')")
    number = made.rows("SELECT id FROM {}.states")[0][0]

    with running(made.start_tfguard(*APPLY)) as ours, made.postgres.connect(made.bucket) as another:
        ours.wait_for_work(made)
        # Blocks until the session that has it is ended, and has it in the same instant.
        threading.Timer(0.5, made.rows, [f"SELECT pg_terminate_backend(pid) FROM ({CARRIER}) s"]).start()
        another.execute("SELECT pg_advisory_lock(%s)", [number])
        result = ours.end()

    assert result.code == 76, str(result)
    assert "another" in result.err or "postgres@" in result.err


REFUSED = {
    "no database": ("postgres://postgres@{0}/none?sslmode=disable", 78, "does not exist"),
    "no TLS there": ("postgres://postgres@{0}/{1}", 78, "does not support SSL"),
    "no server": ("postgres://postgres@127.0.0.1:1/{1}?sslmode=disable", 69, "No answer from PostgreSQL"),
    "a mode of libpq's": ("postgres://postgres@{0}/{1}?sslmode=prefer", 78, "knows no sslmode 'prefer'"),
    "no such role": ("postgres://nobody@{0}/{1}?sslmode=disable", 77, 'role "nobody" does not exist'),
}


@pytest.mark.parametrize(("conn_str", "code", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_held_is_said_in_two_lines(stage: Make, conn_str: str, code: int, says: str) -> None:
    made = stage("pg", text=STILL)
    cache = made.path / ".terraform/terraform.tfstate"
    written = json.loads(cache.read_text())
    written["backend"]["config"]["conn_str"] = conn_str.format(made.postgres.address, made.bucket)
    cache.write_text(json.dumps(written))

    result = made.tfguard("--lock-timeout=0s", *APPLY)

    assert result.code == code, str(result)
    assert says in result.err, str(result)
    assert "Traceback" not in result.err


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    """One whose settings a test may change."""
    with emulators.sharing(tmp_path):
        yield Postgres(emulators.shared_server(tmp_path, "postgres", emulators.postgres_argv))


def test_a_server_with_tls_is_believed_by_the_authority_in_conn_str(
    stage: Make, own_postgres: Postgres, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    Authority(tmp_path / "other")
    chain = Authority(tmp_path).chain("127.0.0.1").read_text()
    made = stage("pg", text=STILL, is_initialised=False)
    made.postgres = own_postgres
    made.bucket = made.postgres.database()
    made.postgres.make_states(made.bucket, made.key)
    for statement in (
        # Only the server may read its key.
        f"COPY (SELECT unnest(string_to_array('{chain}', E'\\n'))) TO PROGRAM 'umask 077; cat > tls.pem'",
        "ALTER SYSTEM SET ssl_cert_file = 'tls.pem'",
        "ALTER SYSTEM SET ssl_key_file = 'tls.pem'",
        "ALTER SYSTEM SET ssl = on",
        "SELECT pg_reload_conf()",
    ):
        made.postgres.ask("postgres", statement)
    conn_str = f"postgres://postgres@{made.postgres.address}/{made.bucket}?sslmode=verify-full&sslrootcert={tmp_path}"
    made.write(STILL, conn_str=f'"{conn_str}/authority.pem"')
    believed = made.init().tfguard("--lock-timeout=0s", *APPLY)
    cache = made.path / ".terraform/terraform.tfstate"
    for written in (cache, made.path / "backend.tf"):
        written.write_text(written.read_text().replace("/authority.pem", "/other/authority.pem"))
    doubted = made.tfguard("--lock-timeout=0s", *APPLY)

    assert believed.code == 0, str(believed)
    assert doubted.code == 78, str(doubted)
    assert "refuses us: SSL error" in doubted.err, str(doubted)
    assert "Traceback" not in doubted.err
    assert made.leftovers() == []


def test_who_may_not_make_the_table_is_told_and_may_use_it_once_it_is_there(stage: Make) -> None:
    made = stage("pg", text=STILL, is_initialised=False)
    role = f"r{made.bucket}"
    made.rows(
        f"CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}; GRANT USAGE ON SCHEMA {{}} TO {role}"
    )
    made.rows(f"GRANT ALL ON {{}}.states TO {role}; GRANT USAGE ON public.global_states_id_seq TO {role}")
    address = f'"postgres://{role}@{made.postgres.address}/{made.bucket}?sslmode=disable"'
    skip = {f"skip_{what}_creation": "true" for what in ("schema", "table", "index")}
    made.write(STILL, conn_str=address, **skip)
    made.init()

    denied = made.tfguard("--lock-timeout=0s", *APPLY)
    printed = made.tfguard("bootstrap", "--print", "grants")
    lines = [line for line in printed.out.splitlines() if not line.startswith("--")]
    made.postgres.ask(made.bucket, "".join(lines).replace(':"planner"', role).replace(':"applier"', role))
    looked = made.tfguard("doctor")
    done = made.tfguard("plan", "-input=false")
    held = made.tfguard("hold", "--for", "10m", "--reason", "maintenance")

    assert denied.code == 77, str(denied)
    assert "bootstrap --print grants" in denied.err
    assert done.code == 0, str(done)
    assert 'INSERT on "tf".tfguard' in looked.out
    assert "no pooler" in looked.out
    assert held.code == 64, str(held)
    assert made.leftovers() == []
