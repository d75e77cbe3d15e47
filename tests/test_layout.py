"""
The walls of the house: who may import whom, and what must stay out of where.

A module that is not in `ROOMS` fails here: give it a room by what it needs and who needs it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tfguard"

#: From the ground up. A room may import its own floor and the floors below it, never one above.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "clock", "durations", "log", "ci", "lockinfo", "deadlines", "signals", "shim", "sentinel"})
    | {"launch", "private", "transcript", "git", "names", "hcl"},
    frozenset({"store", "child", "report", "runrecord", "jobpage", "summary", "planjson", "changed"})
    | {"story", "reportfile"}
    | {"terraform", "arguments", "awsaccess", "backend", "backendblock", "planfile", "workdir"}
    | {"blueprint", "iam", "terraformcode"}
    | {"options", "config", "document", "expansion", "rules", "schema", "settings"},
    frozenset(
        {
            "wire",
            "messages",
            "narrator",
            "live",
            "watchdog",
            "vigil",
            "queue",
            "stores",
            "verdicts",
            "operator_messages",
            "plan_messages",
            "rescue_messages",
            "keeper_messages",
            "table",
            "takeover",
        }
    ),
    frozenset({"lease", "conduct"}),
    frozenset(
        {"keeper", "drain", "rescue", "worker", "tenure", "waiting", "ledger", "line", "front", "journal", "relay"}
    ),
    frozenset({"runner", "context", "initialise", "intended", "operator", "fleet", "checks"}),
    frozenset({"commands"}),
    frozenset({"own"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

#: Two processes. They speak `wire` and share the pure rooms; neither runs the other's code.
KEEPER_SIDE = frozenset({"keeper", "conduct", "worker", "tenure", "waiting", "ledger", "line", "lease", "stores"})
FRONT_SIDE = frozenset({"front", "vigil", "relay", "journal"})

#: Programs of their own say with which status they end, and a signal's death is re-raised; all else is up to `cli`.
PROGRAMS = frozenset({"cli", "__main__", "keeper", "shim", "sentinel", "signals"})

#: Imported where it is used, since every start of tfguard would pay for it (milliseconds: 30 to 250).
HEAVY = ("boto3", "botocore", "click", "structlog", "rich", "yaml", "asyncio")

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def room_of(module: str) -> str:
    """`tfguard.stores.local` is in the room `stores`; the package itself is in none."""
    return module.partition(".")[2].partition(".")[0]


def without_type_checking(tree: ast.Module) -> Iterator[ast.AST]:
    """Walk what runs: names imported for types alone weigh nothing."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


def imports_of(path: Path) -> set[str]:
    """Name the modules that a file imports anywhere in it, functions included."""
    found: set[str] = set()
    for node in without_type_checking(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: write the whole name, {ast.unparse(node)} is relative"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found.update(submodules or {node.module or ""})
    return found


def own_imports(module: str) -> set[str]:
    """Name the modules of ours that a module imports; the bare package (its version) does not count."""
    return {name for name in imports_of(MODULES[module]) if name.startswith("tfguard.")} - {module}


def reachable(rooms: frozenset[str]) -> set[str]:
    """Name every room whose code runs where these rooms run."""
    seen: set[str] = set()
    waiting = [module for module in MODULES if room_of(module) in rooms]
    while waiting:
        module = waiting.pop()
        if module in MODULES and module not in seen:
            seen.add(module)
            waiting.extend(own_imports(module))
    return {room_of(module) for module in seen}


def each_module() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("module", [module for module in MODULES if room_of(module)])


@each_module()
def test_every_module_has_a_room(module):
    assert room_of(module) in ROOMS, f"add {room_of(module)!r} to FLOORS: above what it imports, below who imports it"


@each_module()
def test_imports_never_point_upwards(module):
    floor = ROOMS.get(room_of(module), len(FLOORS))

    upwards = {name for name in own_imports(module) if ROOMS.get(room_of(name), 0) > floor}

    assert not upwards


def test_imports_never_run_in_circles():
    graph = {module: own_imports(module) for module in MODULES}

    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize(("side", "other"), [(FRONT_SIDE, KEEPER_SIDE), (KEEPER_SIDE, FRONT_SIDE)])
def test_front_and_keeper_share_no_process(side, other):
    assert not reachable(side) & other


def test_stores_know_records_and_never_leases():
    assert not reachable(frozenset({"stores"})) & {"lease", "queue", "watchdog", "deadlines"}


def test_only_the_keeper_opens_stores_for_a_run():
    pure = {"tfguard.stores.urls"}  # reads a URL, opens nothing
    openers = {room_of(module) for module in MODULES if "stores" in map(room_of, own_imports(module) - pure)}

    assert openers <= {"stores", "keeper", "worker", "tenure", "waiting", "operator", "fleet", "checks", "commands"}


@pytest.mark.parametrize("name", ["shim", "sentinel", "launch"])
def test_what_runs_without_site_packages_needs_nothing_but_the_standard_library(name):
    names = {name.partition(".")[0] for name in imports_of(PACKAGE / f"{name}.py")}

    assert names <= sys.stdlib_module_names


def exit_codes_read(tree: ast.Module) -> Iterator[int]:
    """Give the lines on which a caught error is asked for its exit code."""
    for handler in (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)):
        for node in ast.walk(handler):
            if isinstance(node, ast.Attribute) and node.attr == "exit_code" and ast.unparse(node.value) == handler.name:
                yield node.lineno


@each_module()
def test_only_cli_turns_errors_into_exit_codes(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    exits = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call | ast.Raise)
        and ast.unparse(node).startswith(("sys.exit(", "raise SystemExit", "exit(", "os._exit("))
    ]

    # The runner writes the status into the line that ends a run; it does not exit.
    assert room_of(module) in {"cli", "runner"} or not list(exit_codes_read(tree))
    assert room_of(module) in PROGRAMS or not exits


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_room_is_crowded(path):
    """Above 450 lines a wall is missing somewhere; find it."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450


@pytest.mark.parametrize("module", ["cli", "front", "log", "ci"])
def test_starting_costs_no_heavy_import(module):
    if not (PACKAGE / f"{module}.py").exists():
        pytest.skip(f"no tfguard/{module}.py yet")
    code = f"import sys, tfguard.{module}; print(*[name for name in {HEAVY} if name in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout.split() == []
