"""How the packages of an extra come to where we run: said in one place, for whoever misses one."""

from __future__ import annotations

import os

from tfguard.ci.platforms import find_platform


def how_to_install(extra: str) -> str:
    """Say what to do for `tfguard[extra]`, in the words of the CI job that we are in."""
    command = f"pip install 'tfguard[{extra}]'"
    job = find_platform(os.environ)
    way = job.way_to_install(extra) if job else ""
    return f"{way}, or install it into the image: {command}" if way else f"Install it: {command}"
