"""
The walls of the house: who may import whom, and what must stay out of where.

A room is a package of `tfguard`, or one of the words on its ground. One that is not in `FLOORS` fails here: give it the
floor above what it needs and below who needs it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support import sources

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tfguard"

#: From the ground up. A room imports from floors below its own only.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "errors",
            "clock",
            "colour",
            "durations",
            "text",
            "redaction",
            "files",
            "threads",
            "hcl",
            "git",
            "findings",
            "outlet",
            "programs",
            "terraformrc",
            "wire",
        }
    ),
    frozenset({"lock", "ci"}),
    frozenset({"backends", "config"}),
    frozenset({"guard", "terraform", "bootstrap"}),
    frozenset({"config", "jobfiles"}),
    frozenset({"process", "report"}),
    frozenset({"run"}),
    frozenset({"doctor"}),
    frozenset({"commands"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

#: The words on the ground may use one another, without circles.
GROUND = FLOORS[0]

#: Two processes. They speak `guard.messages` and share what is pure; neither runs the other's code.
KEEPER_SIDE = frozenset(
    {"guard.keeper_rules", "guard.hands", "lock.session", "lock.waiting"}
    | {f"process.{name}" for name in ("keeper", "lease_thread", "program", "pushes", "sentinel_post")}
)
FRONT_SIDE = frozenset(
    {"guard.front_rules", "guard.handover"}
    | {
        f"process.{name}"
        for name in ("front", "front_child", "front_watch", "child_launcher", "keeper_link", "question", "relay")
    }
    | {"process.signal_desk"}
)

#: Programs of their own say with which status they end, and a signal's death is re-raised; all else is up to `cli`.
PROGRAMS = frozenset({"cli.main", "cli.completion", "__main__"}) | {
    f"process.{name}" for name in ("keeper", "fork", "shim", "sentinel", "signals")
}

#: They start without site-packages, or before anything else: the standard library is all they have, and one another.
BARE = (
    *(
        "process.bare",
        "process.family",
        "process.fork",
        "process.page",
        "process.relatives",
        "process.searcher",
        "process.shim",
        "process.sentinel",
        "process.terminal",
        "process.launch",
    ),
    *("process.inherited", "terraform.commands"),
)

#: What settings are made of beside the ground's words. config/ stands above the rooms that these lie in, and needs
#: nothing else of them.
WORDS_OF_CONFIG = frozenset({"lock.deadlines", "lock.protocol", "terraform.commands"})

#: Imported where it is used, since every start of tfguard would pay for it (milliseconds: 30 to 250).
HEAVY = ("boto3", "botocore", "click", "rich", "yaml", "asyncio", "hashlib")

#: The simulation runs these rooms on a clock of its own, so they do nothing but decide.
PURE = ("lock", "guard")
IMPURE = frozenset({"socket", "subprocess", "selectors", "multiprocessing", "asyncio", "boto3", "botocore"})

#: Where JSON is written: for ourselves and for others; as Go writes it; for AWS, whose names are text. `redaction`
#: writes none: it knows a secret in it.
WRITES_JSON = frozenset({"wire", "lock.lockinfo", "commands.bootstrap", "bootstrap.build", "redaction"}) | {
    f"backends.aws.{name}" for name in ("dynamodb", "dynamodb_wire")
}

#: Where no signature has an `Any`.
TYPED = frozenset({"guard", "process", "report.narrator"})

#: Where the size of classes is counted.
COUNTED = ("lock", "guard", "process")

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    """Return a module's name below `tfguard`: `lock.lease`, `backends`; the package itself has none."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def room_of(module: str) -> str:
    return module.partition(".")[0]


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
    for node in without_type_checking(sources.tree_of(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: write the whole name, {ast.unparse(node)} is relative"
            ours = (node.module or "").partition(".")[2]
            submodules = {f"{ours}.{alias.name}".lstrip(".") for alias in node.names} & MODULES.keys()
            found.update(f"tfguard.{name}" for name in submodules)
            if not submodules:
                found.add(node.module or "")
    return found


def own_imports(module: str) -> set[str]:
    """Name the modules of ours that a module imports; the bare package (its version) does not count."""
    ours = (name.partition(".") for name in imports_of(MODULES[module]))
    return {name for package, _, name in ours if package == "tfguard" and name} - {module}


def reachable(modules: frozenset[str]) -> set[str]:
    """Name every module whose code runs where these run."""
    seen: set[str] = set()
    waiting = [*modules]
    while waiting:
        module = waiting.pop()
        if module in MODULES and module not in seen:
            seen.add(module)
            waiting.extend(own_imports(module))
    return seen


def each_module(claim: Callable[[str], None]) -> Callable[[], None]:
    """One test that names every module of which a claim is not true: a test for each would cost more than the looks."""

    def of_every_module() -> None:
        wrong = []
        for module in filter(None, MODULES):
            try:
                claim(module)
            except AssertionError as error:
                wrong.append(f"{module}: {error}")
        assert not wrong, "\n".join(wrong)

    of_every_module.__doc__ = claim.__doc__
    return of_every_module


def tree_of(module: str) -> ast.Module:
    return sources.tree_of(MODULES[module])


@each_module
def test_every_module_has_a_room(module):
    assert room_of(module) in ROOMS, f"add {room_of(module)!r} to FLOORS: above what it imports, below who imports it"


@each_module
def test_imports_never_point_upwards(module):
    room = room_of(module)

    elsewhere = {name for name in own_imports(module) if room_of(name) != room and not {room, room_of(name)} <= GROUND}
    upwards = {name for name in elsewhere if ROOMS[room_of(name)] >= ROOMS[room]}

    assert not upwards


def test_imports_never_run_in_circles():
    graph = {module: own_imports(module) for module in MODULES}

    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize(("side", "other"), [(FRONT_SIDE, KEEPER_SIDE), (KEEPER_SIDE, FRONT_SIDE)])
def test_front_and_keeper_share_no_process(side, other):
    assert not reachable(side) & other


def test_stores_know_records_and_never_leases():
    stores = frozenset(name for name in MODULES if room_of(name) == "backends")

    assert not reachable(stores) & {"lock.lease", "lock.queue", "guard.watchdog"}
    # A target tells the deadlines of a lease by what its specs say of themselves. No store reads them.
    assert {name for name in stores if "lock.deadlines" in own_imports(name)} == {"backends.target"}


def opened_things(tree: ast.Module) -> Iterator[str]:
    """Give what `….open(…)` is called on, files left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "open":
            name = ast.unparse(node.func.value)
            if name not in {"os", "path", "archive", "Stream"}:
                yield name


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) in PURE])
def test_what_decides_about_a_lock_has_no_process_socket_or_thread_of_its_own(module):
    tree = tree_of(module)

    assert not {name.partition(".")[0] for name in imports_of(MODULES[module])} & IMPURE
    assert "threading.Thread" not in {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


@each_module
def test_a_thread_is_started_in_one_place_so_that_its_end_is_never_missed(module):
    tree = tree_of(module)
    made = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inherited = {ast.unparse(base) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases}

    assert module == "threads" or not {"threading.Thread", "Thread", "_thread.start_new_thread"} & (made | inherited)


def test_only_the_keeper_opens_stores_for_a_run():
    pure = {
        "backends.target",
        "backends.urls",
        "backends.spec",
    }  # what a lock is, as data: they open nothing unless they are asked to
    pure |= {name for name in MODULES if name.startswith("backends.net.")}  # one request, to whoever it may be
    openers = {
        name
        for name, path in MODULES.items()
        if any(room_of(used) == "backends" or used == "lock.opened_lock" for used in own_imports(name) - pure)
        or any(opened_things(sources.tree_of(path)))
    }

    allowed = {"backends", "bootstrap", "doctor", "commands"}
    apart = {"process.keeper", "process.lease_thread", "run.fleet", "run.context", "run.settling", "terraform.locate"}
    apart |= {"run.whereabouts"}  # for those who look, or work by hand
    by_hand = {"lock.opened_lock", "run.unlocking"}  # of what is handed to it: stores, or the opened lock itself
    assert {name for name in openers if room_of(name) not in allowed} <= apart | by_hand


#: Whoever wants to know something of a lock's place asks its spec, its target or its backend.
CLOUD_ROOMS = frozenset({"backends", "bootstrap", "doctor"})
CLOUD_NAMES = frozenset({"S3Spec", "DynamoDBSpec", "LocalSpec", "AwsAccess", "S3State", "LocalState"})
CLOUDS = ("backends.aws", "backends.local")


def names_in(path: Path) -> set[str]:
    """Name what a file names, imports for types included."""
    tree = sources.tree_of(path)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names | {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}


def imported_for_types_too(path: Path) -> set[str]:
    """Name the modules that a file imports from, below `tfguard`."""
    tree = sources.tree_of(path)
    return {(node.module or "").removeprefix("tfguard.") for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def isinstance_of_specs(path: Path) -> list[int]:
    """Give the lines on which a thing is asked if it is some kind of spec."""
    return [
        node.lineno
        for node in ast.walk(sources.tree_of(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "isinstance"
        and {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)} & CLOUD_NAMES
    ]


@each_module
def test_a_cloud_is_named_in_its_own_rooms_only(module):
    path = MODULES[module]

    is_allowed = room_of(module) in CLOUD_ROOMS
    assert is_allowed or not names_in(path) & CLOUD_NAMES
    assert is_allowed or not {name for name in imported_for_types_too(path) if name.startswith(CLOUDS)}


@each_module
def test_a_spec_is_asked_for_what_it_says_not_for_what_it_is(module):
    assert room_of(module) in {"backends", "doctor"} or not isinstance_of_specs(MODULES[module])


def test_few_ask_what_a_spec_is():
    assert sum(len(isinstance_of_specs(path)) for path in FILES) <= 12


@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_a_backend_is_made_of_knows_no_other_backend(cloud):
    others = tuple(name for name in CLOUDS if name != cloud)
    used = {used for name in MODULES if name.startswith(cloud) for used in own_imports(name)}

    assert not {name for name in used if name.startswith(others)}


@each_module
def test_json_is_written_in_one_place_that_knows_what_to_do_with_bytes_that_are_no_text(module):
    words = MODULES[module].read_text(encoding="utf-8")
    written = re.findall(r"json\.(?:dumps?|encode|Encoder)\b|JSONEncoder", words)

    assert module in WRITES_JSON or not written


@each_module
def test_how_a_class_is_read_is_asked_of_msgspec_in_one_place(module):
    """Two threads that ask for the first time at once are a crash of the interpreter: see `wire`."""
    asked = [
        node.lineno
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).startswith("msgspec.")
        and (
            ast.unparse(node.func).endswith((".Decoder", ".convert"))
            or any(keyword.arg == "type" and "Any]" not in ast.unparse(keyword.value) for keyword in node.keywords)
        )
    ]

    assert module == "wire" or not asked, asked


@each_module
def test_a_pipelines_environment_is_put_into_the_process_in_one_place(module):
    written = [
        node.lineno
        for node in ast.walk(tree_of(module))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ.update", "os.environ.clear"})
        or (
            isinstance(node, ast.Subscript)
            and ast.unparse(node.value) == "os.environ"
            and not isinstance(node.ctx, ast.Load)
        )
    ]

    assert module == "backends.environ" or not written


@pytest.mark.parametrize("module", BARE)
def test_what_runs_without_site_packages_needs_nothing_but_the_standard_library(module):
    names = imports_of(MODULES[module]) - {f"tfguard.{name}" for name in BARE}

    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_config_needs_words_of_the_rooms_below_it_and_no_more():
    inside = {name for name in MODULES if room_of(name) == "config"}
    used = {name for module in inside for name in own_imports(module) if room_of(name) not in GROUND | {"config"}}

    assert used <= WORDS_OF_CONFIG


def exit_codes_read(tree: ast.Module) -> Iterator[int]:
    """Give the lines on which a caught error is asked for its exit code."""
    for handler in (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)):
        for node in ast.walk(handler):
            if isinstance(node, ast.Attribute) and node.attr == "exit_code" and ast.unparse(node.value) == handler.name:
                yield node.lineno


@each_module
def test_only_cli_turns_errors_into_exit_codes(module):
    tree = tree_of(module)
    exits = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call | ast.Raise)
        and ast.unparse(node).startswith(("sys.exit(", "raise SystemExit", "exit(", "os._exit("))
    ]

    # The runner writes the status into the line that ends a run; it does not exit.
    assert module in {"cli.main", "run.runner"} or not list(exit_codes_read(tree))
    assert module in PROGRAMS or not exits


def caption_of(room: str) -> str:
    """Return the first paragraph of a package's docstring, as one line."""
    text = ast.get_docstring(sources.tree_of(MODULES[room])) or ""
    return " ".join(text.partition("\n\n")[0].split())


def test_every_room_has_its_caption_in_architecture_md():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = [row.split(" | ") for row in re.findall(r"^\| (.*) \|$", page, re.MULTILINE)]
    captions = {cells[0].strip("`/"): cells[1] for cells in rows if cells[0].endswith("/`")}
    packages = {room for room in ROOMS if MODULES[room].name == "__init__.py"}
    rooms = [cells[0] for cells in rows if cells[0].startswith("`")]
    listed = [room for cell in rooms for room in re.findall(r"`(\w+)/?`", cell) if room in ROOMS]

    assert captions == {room: caption_of(room) for room in packages}
    assert set(listed) == ROOMS.keys()
    assert [ROOMS[room] for room in listed] == sorted((ROOMS[room] for room in listed), reverse=True)


def test_no_room_is_crowded():
    """Above 450 lines a wall is missing somewhere; find it."""
    lines = {module_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}

    assert {module: count for module, count in lines.items() if count > 450} == {}


@pytest.mark.parametrize("module", [module for module in MODULES if {module, room_of(module)} & TYPED])
def test_no_signature_is_open_to_anything(module):
    """What front, keeper and lease say to one another is a union: `Any` would let a message be forgotten."""
    tree = tree_of(module)
    signatures = (
        [argument.annotation for argument in ast.walk(node.args) if isinstance(argument, ast.arg)] + [node.returns]
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    )
    annotations = [ast.unparse(each) for signature in signatures for each in signature if each is not None]

    assert not [each for each in annotations if re.search(r"\bAny\b", each)]


def classes_of(module: str) -> Iterator[ast.ClassDef]:
    tree = tree_of(module)
    return (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def own_fields(node: ast.ClassDef) -> set[str]:
    """Name what an object of this class keeps for itself: what its `__init__` sets."""
    makers = (each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__")
    return {
        part.attr
        for maker in makers
        for part in ast.walk(maker)
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and ast.unparse(part.value) == "self"
    }


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) in COUNTED])
def test_no_class_does_the_work_of_two(module):
    """Above 15 fields or 20 methods another class is hidden in it; one that is large "on purpose" says why."""
    for node in classes_of(module):
        methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
        is_large = len(own_fields(node)) > 15 or len(methods) > 20

        assert is_large == (" on purpose" in (ast.get_docstring(node) or "")), node.name


@pytest.mark.parametrize("module", ["cli.main", "process.front", "report.log", "ci.identity"])
def test_starting_costs_no_heavy_import(module):
    code = f"import sys, tfguard.{module}; print(*[name for name in {HEAVY} if name in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout.split() == []


def test_type_checkers_are_told_that_our_annotations_count():
    """The classifier `Typing :: Typed` promises it; a wheel holds all of the package, an sdist all that it includes."""
    tomllib = pytest.importorskip("tomllib")
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]

    assert (PACKAGE / "py.typed").is_file()
    assert build["wheel"]["packages"] == ["tfguard"]
    assert any(each.strip("/") == "tfguard" for each in build["sdist"]["include"])
