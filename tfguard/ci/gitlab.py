"""
GitLab CI: sections of the log that fold, and the reports that merge requests show: of a plan, and of what Terraform
finds wrong in the code.

Its documents: "Custom collapsible sections", "artifacts:reports:terraform", "Code Quality report format".
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfguard import files
from tfguard.ci.platform import Diagnosed, Platform
from tfguard.wire import publish

_CODE_QUALITY = "gl-code-quality-report.json"
_SEVERITIES = {"error": "critical", "warning": "minor"}
_MAX_TEXT = 1000
#: Nobody reads more.
_MOST = 200


@dataclass(frozen=True)
class GitLab(Platform):
    environ: Mapping[str, str]
    job_folder = "CI_PROJECT_DIR"
    records = ".tfguard/runs"
    job_secrets = ("CI_JOB_TOKEN", "CI_JOB_ID", "CI_SERVER_URL")

    def open_group(self, title: str, token: str) -> str:
        return f"\x1b[0Ksection_start:{int(time.time())}:tfguard_{token[:8]}\r\x1b[0K{title}\n"

    def close_group(self, token: str) -> str:
        return f"\x1b[0Ksection_end:{int(time.time())}:tfguard_{token[:8]}\r\x1b[0K\n"

    def show_changes(self, add: int, change: int, destroy: int, folder: Path) -> None:
        report = {"create": add, "update": change, "delete": destroy}
        with contextlib.suppress(OSError):
            files.write(folder / "report.json", publish(report))

    def way_to_install(self, extra: str) -> str:
        return f"Pin tfguard[{extra}] instead of tfguard in tfguard.lock"

    def checkout(self) -> str:
        return self.environ.get(self.job_folder, "")

    def show_diagnostics(self, found: Sequence[Diagnosed]) -> None:
        shown = [each for each in found if each.place.file]
        same = [each._replace(place=each.place._replace(line=0)) for each in shown]
        issues = [_issue(each, same[:at].count(same[at])) for at, each in enumerate(shown[:_MOST])]
        with contextlib.suppress(OSError):
            # Also where there is none: what another commit's report had, and this one has not, has been mended.
            files.write(Path(self.make_plan_folder(), _CODE_QUALITY), publish(issues))

    def make_plan_folder(self) -> str:
        folder = os.path.join(self.environ[self.job_folder], ".tfguard")
        files.make_real_folder(Path(folder))
        return folder


def _issue(each: Diagnosed, before: int) -> dict[str, Any]:
    """
    One as GitLab reads it. Its fingerprint has no line, since what only moves within its file is the same one; but how
    many of its like come `before`.
    """
    import hashlib  # As `fingerprint` does: a start must not pay for OpenSSL.

    level, text, place = each
    words = "\0".join((place.file, level, place.title, text, str(before)))
    return {
        "description": _described(place.title, " ".join(text.split()))[:_MAX_TEXT],
        "check_name": f"terraform-{level}",
        "fingerprint": hashlib.sha256(words.encode("utf-8", "replace")).hexdigest(),
        "severity": _SEVERITIES.get(level, "info"),
        "location": {"path": place.file, "lines": {"begin": place.line}},
    }


def _described(title: str, text: str) -> str:
    return title if title.endswith(f": {text}") else f"{title}: {text}"
