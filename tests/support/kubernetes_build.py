"""
A Kubernetes API server, built from Debian's source, and an etcd: nothing offers the former ready-made.

It takes five minutes of two free cores and 2 GB of disk for as long, and is kept in `.emulators/` (140 MB). Go 1.15 of
Debian 11 builds it: with a later one it answers no POST. Nothing comes from anywhere but Debian's archive.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.support import emulators
from tests.support.emulators import CACHE, ROOT, EmulatorMissing
from tests.support.parts import program

#: Debian 12 has the source; 1.20.2 is what it is, whatever the package is called.
SOURCE = "kubernetes=1.20.5+really1.20.2-1.1+deb12u1"
_VERSION = {"KUBE_GIT_VERSION": "v1.20.2", "KUBE_GIT_MAJOR": "1", "KUBE_GIT_MINOR": "20"}
_VERSION |= {"KUBE_GIT_COMMIT": "none", "KUBE_GIT_TREE_STATE": "clean"}
_PACKAGES = ("golang-1.15-go", "golang-1.15-src", "etcd-server")
_SUITES = ("deb bullseye", "deb-src bookworm", "deb trixie")
_BUILD_SECONDS = 5400.0


def argv() -> list[str]:
    """Return how the server is started; it is built first, if it has not been."""
    home = emulators.made_once("kubernetes-1.20.2-1", _build_into)
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.support.kubernetes_apiserver import main"
    programs = [str(home / name) for name in ("kube-apiserver", "etcd")]
    return [sys.executable, "-c", f"{start}; sys.exit(main(*sys.argv[1:]))", *programs]


def _build_into(directory: Path) -> None:
    for name in ("make", "gcc", "dpkg"):
        program(name)
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        raise EmulatorMissing("Kubernetes is built from Debian's source, on Debian")
    work = directory / "work"
    for name in ("apt", "system", "tmp", "cache"):
        (work / name).mkdir(parents=True)
    apt = emulators.debian(work / "apt", *_SUITES)
    emulators.run([*apt, "download", *_PACKAGES], cwd=work)
    emulators.run([*apt, "source", "--download-only", SOURCE], cwd=work)
    for package in work.glob("*.deb"):
        emulators.run([program("dpkg"), "-x", str(package), str(work / "system")])
    emulators.run([program("tar"), "-xzf", str(next(work.glob("kubernetes_*.orig.tar.gz")))], cwd=work)
    go = _go(work / "system")
    environ = {
        "PATH": os.pathsep.join([str(go / "bin"), str(Path(emulators.rsync()).parent), os.environ["PATH"]]),
        "GOROOT": str(go),
        "GOCACHE": str(work / "cache"),
        "GOFLAGS": "",
        "GOPROXY": "off",
        "TMPDIR": str(work / "tmp"),
        "HOME": str(work / "tmp"),
        **_VERSION,
    }
    source = next(path for path in work.glob("kubernetes-*") if path.is_dir())
    emulators.run(["make", "WHAT=cmd/kube-apiserver", "GOGCFLAGS="], source, _BUILD_SECONDS, environ)
    shutil.move(next(source.glob("_output/local/bin/*/*/kube-apiserver")), directory)
    shutil.move(work / "system/usr/bin/etcd", directory)
    shutil.rmtree(work)


def _go(system: Path) -> Path:
    """Put Debian's halves of Go together."""
    home, shared = system / "usr/lib/go-1.15", system / "usr/share/go-1.15"
    for name in ("src", "test", "api", "misc", "lib", "pkg/include"):
        if (shared / name).exists():
            link = home / name
            if link.is_dir() and not link.is_symlink():
                shutil.rmtree(link)
            link.unlink(missing_ok=True)
            link.symlink_to(shared / name)
    return home


if __name__ == "__main__":
    CACHE.mkdir(exist_ok=True)
    print(*argv()[-2:], sep="\n")
