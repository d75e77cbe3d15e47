"""
The plugin cache: a folder in which the `init`s of a machine share their providers, though it is safe for one at a time.

Its documentation says so ("not guaranteed to be concurrency safe"), and two at once do fail: "text file busy" while the
one writes what the other runs, a checksum of half a file. Which folder it is: TF_PLUGIN_CACHE_DIR, else
`plugin_cache_dir` of Terraform's own configuration file (hashicorp's page "CLI Configuration File").
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from tfguard.terraformrc import config_files

#: What fails where two inits at once use one cache, and works when one tries again alone.
TRANSIENT = (
    r"text file busy",
    r"cached package for .{1,200}? does not match any of the checksums",
    r"(?:zip: checksum error|zip: not a valid zip file)",
)
_MAX_BYTES = 64 * 1024
_SETTING = re.compile(r'^[\s{,]*"?plugin_cache_dir"?\s*[=:]\s*"((?:[^"\\\n]|\\.)*)"', re.MULTILINE)
_VARIABLE = re.compile(r"\$(?:\{(\w*)\}|(\w+))")


def find_plugin_cache(environ: Mapping[str, str], directory: Path) -> Path | None:
    """
    Return the folder of the plugin cache; None where there is none, or where it is not to be found out.

    `directory` is where Terraform runs: a relative one counts from there.
    """
    settings = map(_setting, config_files(environ, with_tofu=True))
    named = environ.get("TF_PLUGIN_CACHE_DIR") or next(filter(None, settings), "")
    place = directory / _VARIABLE.sub(lambda match: environ.get(match[1] or match[2] or "", ""), named)
    return place if named and os.path.isdir(place) else None


def _setting(path: Path) -> str:
    try:
        if not path.is_file():
            return ""  # It may be a pipe, which only Terraform is to read.
        with path.open("rb") as file:
            found = _SETTING.search(os.fsdecode(file.read(_MAX_BYTES)))
    except OSError:
        return ""
    return re.sub(r"\\(.)", r"\1", found[1]) if found else ""
