"""A GitLab project with our template in it; and a wheel of tfguard, as an index would have it."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import yaml

import tfguard
from tests.e2e.conftest import ROOT, TFGUARD, Result, Stage
from tests.support.eventually import patience

TEMPLATE_FILE = ROOT / ".gitlab-ci-template.yml"
TEMPLATE: dict[str, Any] = yaml.safe_load(TEMPLATE_FILE.read_text())
#: What GitLab and the project's variables give to each shell of a job.
JOB = {
    "CI": "true",
    "GITLAB_CI": "true",
    "CI_JOB_ID": "7",
    "CI_JOB_TOKEN": "glcbt-of-job-7",
    "CI_SERVER_URL": "https://gitlab.example",
    "TFGUARD_CI_LOG": "1",
    "TFGUARD_PIPELINE": "prod",
    "TFGUARD_AWS_ROLE_ARN": "",
    "TFGUARD_OIDC_TOKEN": "t0ken",
}


def lines_of(job: str) -> tuple[list[str], list[str]]:
    """What a job runs in its script, and in its after_script."""
    own = TEMPLATE[job]
    return [*TEMPLATE[".tfguard"]["before_script"], *own["script"]], TEMPLATE[own["extends"]]["after_script"]


def start_part(made: Stage, *parts: str, **environ: str) -> subprocess.Popen[str]:
    """Start one shell of a job, as the runner's shell executor does; the caller ends it."""
    script = made.path.parent / "script.sh"
    script.write_text("set -eo pipefail\n" + "\n".join(parts))
    return made.start(["bash", str(script)], **{**JOB, "CI_PROJECT_DIR": str(made.path), **environ})


def run_part(made: Stage, *parts: str, **environ: str) -> Result:
    """Run one shell of a job to its end."""
    process = start_part(made, *parts, **environ)
    out, err = process.communicate(timeout=patience(60))
    return Result(process.returncode, out, err)


def put_image(made: Stage) -> None:
    """Let the job's image carry tfguard."""
    image = made.path.parent / "image"
    image.mkdir()
    (image / "tfguard").write_text(f'#!/bin/sh\nexec {" ".join(TFGUARD)} "$@"\n')
    (image / "tfguard").chmod(0o755)
    made.environ["PATH"] = f"{image}:{made.environ['PATH']}"


def wheel(folder: Path) -> Path:
    """Make tfguard's own wheel there: what the build backend would make, without fetching it."""
    path = folder / f"tfguard-{tfguard.__version__}-py3-none-any.whl"
    info = f"tfguard-{tfguard.__version__}.dist-info"
    files = {
        str(each.relative_to(ROOT)): each.read_bytes()
        for each in sorted((ROOT / "tfguard").rglob("*"))
        if each.is_file() and "__pycache__" not in each.parts
    }
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: tfguard\nVersion: {tfguard.__version__}\n".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(_recorded(name, content) for name, content in files.items()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _recorded(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


def lock_file(of_tfguard: Path, *others: str) -> str:
    """A project's tfguard.lock, which pins that wheel and the others."""
    digest = hashlib.sha256(of_tfguard.read_bytes()).hexdigest()
    return "\n".join([f"tfguard=={tfguard.__version__} \\\n    --hash=sha256:{digest}", *others, ""])
