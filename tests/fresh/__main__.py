"""
What a stranger sees on a bare Debian: `make demo` and `make test`, without Terraform and with one.

`make fresh`, as root on a machine with debootstrap: a Debian of Python, make and git alone is built (and kept, in
`.emulators/fresh`), a copy of it gets a clone of this checkout as it is committed, and a user without rights runs the
two commands there. Then the same in another copy, with the `terraform` (or `tofu`) of this machine. The copies see
this machine's network and package index, and nothing else of it: their mounts and processes end with them.

Exit status: how many commands have failed. What they printed lies in `.emulators/fresh/*.log`. Standard library only.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".emulators" / "fresh"
PACKAGES = "python3,python3-venv,make,git,ca-certificates"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
#: Who works there, as on a laptop: no root.
USER = 1000
_SHOWN_LINES = 30
_NETWORK = ("SSL_CERT_FILE", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
#: Runs inside namespaces of its own: what it mounts is gone with it, and so is whatever it started.
_ENTER = """\
set -e
root=$1; shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do
  mkdir -p "$root$1"
  mount --bind "$1" "$root$1"
  shift
done
shift
exec chroot "$root" setpriv --reuid="$FRESH_USER" --regid="$FRESH_USER" --clear-groups "$@"
"""


@dataclass(frozen=True)
class Index:
    """Where this machine's pip finds packages: as variables for another, and what they name on this one's disk."""

    environ: dict[str, str]
    places: tuple[str, ...]


def package_index() -> Index:
    """Ask pip. Nothing of it is written anywhere but into the environment of what runs in the copy."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    environ: dict[str, str] = {}
    for line in said.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section in ("global", "install", ":env:") and value:
            environ[f"PIP_{key.upper().replace('-', '_')}"] = str(ast.literal_eval(value))
    places = dict.fromkeys(place for value in environ.values() for place in _places(value))
    return Index(environ, tuple(places))


def _places(value: str) -> Iterator[str]:
    for word in value.split():
        path = word.removeprefix("file://").partition("#")[0]
        # An index of files is a folder of a folder for each package; the packages may lie beside it.
        path = os.path.dirname(path) if word.startswith("file://") else path
        if path.startswith("/") and os.path.exists(path) and path != CERTIFICATES:
            yield path if os.path.isdir(path) else os.path.dirname(path)


def build(base: Path, *, suite: str, mirror: str | None) -> None:
    """Build the bare Debian, unless it is there."""
    if (base / "built").exists():
        return
    shutil.rmtree(base, ignore_errors=True)
    base.parent.mkdir(parents=True, exist_ok=True)
    words = [
        "debootstrap",
        "--variant=minbase",
        f"--include={PACKAGES}",
        suite,
        str(base),
        *([mirror] if mirror else []),
    ]
    subprocess.run(words, check=True)
    (base / "built").touch()


@dataclass(frozen=True)
class Machine:
    """A copy of the bare Debian, with the checkout in it."""

    name: str
    root: Path
    index: Index

    def furnish(self, base: Path, terraform: str | None) -> None:
        """Make it from the bare one; nothing of an earlier one stays."""
        shutil.rmtree(self.root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(self.root)], check=True)
        for path in ("/etc/resolv.conf", "/etc/hosts", CERTIFICATES):
            shutil.copyfile(path, f"{self.root}{path}")
        home = self.root / "home/stranger"
        home.mkdir(parents=True)
        with (self.root / "etc/passwd").open("a") as file:
            file.write(f"stranger:x:{USER}:{USER}::/home/stranger:/bin/bash\n")
        with (self.root / "etc/group").open("a") as file:
            file.write(f"stranger:x:{USER}:\n")
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(home / "tfguard")], check=True)
        if terraform is not None:
            shutil.copy(os.path.realpath(terraform), self.root / "usr/local/bin" / Path(terraform).name)
        subprocess.run(["chown", "-R", f"{USER}:{USER}", str(home)], check=True)

    def run(self, command: str, log: Path) -> int:
        """Run a command in its checkout, as its user; its status. What it prints goes into `log`."""
        environ = {
            "FRESH_USER": str(USER),
            "HOME": "/home/stranger",
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            **{name: os.environ[name] for name in _NETWORK if name in os.environ},
            **self.index.environ,
        }
        inside = ["/bin/sh", "-c", f"cd ~/tfguard && {command}"]
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", _ENTER, "sh", str(self.root)]
        with log.open("wb") as file:
            done = subprocess.run(
                [*argv, *self.index.places, "--", *inside],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )
        return done.returncode


def main() -> int:
    """Build, run, tell."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fresh", description="make demo and make test, on a bare Debian"
    )
    parser.add_argument("--suite", default="bookworm", help="Debian's release")
    parser.add_argument("--mirror", help="where its packages are; if not given, debootstrap knows")
    parser.add_argument("--only", choices=("without", "with"), help="only the machine without, or with, terraform")
    parser.add_argument("--keep", action="store_true", help="leave the copies where they are")
    parser.add_argument("commands", nargs="*", default=["make demo", "make test"])
    options = parser.parse_args()
    if os.geteuid() or not shutil.which("debootstrap"):
        sys.stderr.write("This needs root, and debootstrap: apt install debootstrap\n")
        return 1

    base = HOME / options.suite
    build(base, suite=options.suite, mirror=options.mirror)
    terraform = shutil.which("terraform") or shutil.which("tofu")
    index, failed = package_index(), 0
    for name in ("without", "with"):
        if options.only not in (None, name):
            continue
        if name == "with" and terraform is None:
            sys.stdout.write("with terraform: there is none on this machine's PATH; left out\n")
            continue
        machine = Machine(name, HOME / f"{options.suite}-{name}", index)
        machine.furnish(base, terraform if name == "with" else None)
        for command in options.commands:
            failed += _tell(machine, command)
        if not options.keep:
            shutil.rmtree(machine.root)
    return failed


def _tell(machine: Machine, command: str) -> bool:
    """Run it, and say what it came to; whether it has failed."""
    log = HOME / f"{machine.name}-{command.replace(' ', '-').replace('/', '_')}.log"
    began = time.monotonic()
    code = machine.run(command, log)
    seconds = time.monotonic() - began
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    sys.stdout.write("\n".join(["", *lines[-_SHOWN_LINES:], ""]))
    sys.stdout.write(f"\n{machine.name} terraform: {command}: exit {code} after {seconds:.0f} s ({log})\n")
    sys.stdout.flush()
    return code != 0


if __name__ == "__main__":
    sys.exit(main())
