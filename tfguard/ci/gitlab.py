"""
GitLab CI: sections of the log that fold, and the report that merge requests show of a plan.

Its documents: "Custom collapsible sections", "artifacts:reports:terraform".
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tfguard import files
from tfguard.ci.platform import Platform
from tfguard.wire import publish


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

    def make_plan_folder(self) -> str:
        folder = os.path.join(self.environ[self.job_folder], ".tfguard")
        files.make_real_folder(Path(folder))
        return folder
