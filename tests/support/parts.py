"""
What a machine may lack, and what the tests do then.

A test that needs such a part is skipped where it is not there, and fails where TFGUARD_REQUIRE_EMULATORS=1; the summary
has one line for each part, with what would bring it. `python -m tests.support.parts` says so before anything is
installed. Standard library only.

`terraform` on PATH is what the tests run. Where there is a `tofu` alone, it is found by that name too.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

REQUIRED = os.environ.get("TFGUARD_REQUIRE_EMULATORS") == "1"
#: How the reason of a skipped test starts that lacks one.
MISSING = "missing: "

#: What is looked for on PATH, and what brings it.
PROGRAMS = {
    "terraform": "https://developer.hashicorp.com/terraform/install or https://opentofu.org/docs/intro/install",
    "java": "a JDK; on Debian and Ubuntu: apt install default-jdk-headless",
    "javac": "a JDK; on Debian and Ubuntu: apt install default-jdk-headless",
    "npm": "Node.js with npm; on Debian and Ubuntu: apt install npm",
    "node": "Node.js with npm; on Debian and Ubuntu: apt install npm",
    "chromium": "Chromium, or Chrome; on Debian and Ubuntu: apt install chromium",
    "git": "on Debian and Ubuntu: apt install git",
    "ps": "on Debian and Ubuntu: apt install procps",
    "apt-get": "consul or rsync on PATH, or a Debian to take them from",
}
#: Which packages of Debian's bring the libraries that a program from there may lack (see `emulators`).
LIBRARIES = {
    "libcares.so.2": "libc-ares2",
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
    "libicuuc.so.72": "libicu72",
    "libldap-2.5.so.0": "libldap-2.5-0",
    "liblz4.so.1": "liblz4-1",
    "libpam.so.0": "libpam0g",
    "libpopt.so.0": "libpopt0",
    "libpq.so.5": "libpq5",
    "libsasl2.so.2": "libsasl2-2",
    "libssl.so.3": "libssl3",
    "libsystemd.so.0": "libsystemd0",
    "libxml2.so.2": "libxml2",
    "libzstd.so.1": "libzstd1",
}
_LACKS_LIBRARY = re.compile(r"(lib[^\s/:]+\.so[^\s/:]*): cannot open shared object file")


class PartMissing(Exception):
    """A part cannot be had on this machine; the message says what is missing."""


def program(name: str) -> str:
    """The path of a program. Raises PartMissing."""
    found = shutil.which(name)
    if found is None:
        raise PartMissing(f"no {name} on PATH")
    return found


def terraform() -> str:
    """The path of the terraform that the tests run, or of a tofu. Raises PartMissing."""
    return program("terraform")


def chromium() -> str:
    """The path of a browser that looks at our pages. Raises PartMissing."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, found), None) or program("chromium")


@functools.cache
def locks_objects() -> bool:
    """Whether that terraform can keep its lock in an object (`use_lockfile`): only an older tofu alone cannot."""
    if Path(terraform()).resolve().name != "tofu":
        return True
    said = subprocess.run([terraform(), "version", "-json"], capture_output=True, text=True, check=True).stdout
    major, minor = json.loads(said)["terraform_version"].split(".")[:2]
    return (int(major), int(minor)) >= (1, 10)


def stand_in(folder: Path) -> None:
    """Where there is a tofu and no terraform, let it be found by that name, here and in what we start."""
    tofu = shutil.which("tofu")
    if shutil.which("terraform") or tofu is None:
        return
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / "terraform").symlink_to(tofu)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"


def lacking(error: BaseException) -> PartMissing | None:
    """Return which part is missing, if that is why a test has ended: it said so, or started what is not there."""
    if isinstance(error, PartMissing):
        return error
    name = error.filename if isinstance(error, FileNotFoundError) else None
    if name in PROGRAMS and not shutil.which(name):
        return PartMissing(f"no {name} on PATH")
    return None


def summary(reasons: Iterable[str]) -> list[str]:
    """Return one line for each part, from the reasons of all the tests that were skipped."""
    counted = Counter(reason.partition(MISSING)[2] for reason in reasons if MISSING in reason)
    return [f"{count} skipped: {what}{_bringing(what)}" for what, count in sorted(counted.items())]


def _bringing(what: str) -> str:
    if library := _LACKS_LIBRARY.search(what):
        package = LIBRARIES.get(library[1])
        return f" (on Debian: apt install {package})" if package else f" (on Debian: apt-file search {library[1]})"
    name = what.removeprefix("no ").removesuffix(" on PATH")
    return f" ({PROGRAMS[name]})" if name in PROGRAMS else ""


def main() -> int:
    """Say what is missing; 1 where everything has to be there."""
    here = {name: shutil.which(name) for name in ("terraform", "java", "npm", "git")}
    here["terraform"] = here["terraform"] or shutil.which("tofu")
    for name in (name for name, found in here.items() if found is None):
        what = "terraform or tofu" if name == "terraform" else name
        told = "missing" if REQUIRED else "what needs it is skipped"
        sys.stderr.write(f"no {what} on PATH: {told}. It comes with: {PROGRAMS[name]}\n")
    return 1 if REQUIRED and None in here.values() else 0


if __name__ == "__main__":
    sys.exit(main())
