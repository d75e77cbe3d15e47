"""
AWS's shared files (`~/.aws/config`, `~/.aws/credentials`), read and merged as the AWS SDK for Go does.

botocore's reader refuses a whole file for a line that it does not like; Go's, and so Terraform's, takes what it can:

* A section or key that stands twice is one; its last value counts. Text before the first section, and a line that is
  neither section nor `key = value` nor `key: value`, is nothing.
* A comment begins a line, or stands after a value with a space or tab before it. Keys have no upper case.
* Indented lines belong to the key above them if that has no value; otherwise they are keys as well.
* A configuration file has `[default]`, `[profile NAME]`, `[sso-session NAME]`, `[services NAME]`; a credentials file
  `[NAME]`. All else is dropped. `[profile default]` goes before `[default]`.
* Later files win key by key, credentials files after configuration files. Keys and secrets count in pairs only.

https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html, and measured: tests/backends/aws/whom.py.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tfguard.backends.aws.answers import lines_of
from tfguard.errors import StoreMisconfigured
from tfguard.text import printable

#: A checkout may name these files, so they are no longer than a person would write, and nothing but a file is read.
MAX_BYTES = 1 << 20

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_COMMENT = re.compile(r"[ \t][#;]")
_PAIR = ("aws_access_key_id", "aws_secret_access_key")


@dataclass
class Section:
    """Keys and their values; `below` holds the keys that are indented below one; `files` says where each stood."""

    values: dict[str, str] = field(default_factory=dict)
    below: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    is_partial: bool = False

    def get(self, key: str) -> str:
        """Return a value; empty where there is none."""
        return self.values.get(key, "")

    def set(self, key: str, value: str, path: str) -> None:
        self.values[key] = value
        self.files[key] = path


class Profiles:
    """All profiles, SSO sessions and services that the shared files name."""

    def __init__(self, sections: Mapping[str, Section]) -> None:
        self._sections = sections

    def profile(self, name: str) -> Section | None:
        return self._sections.get(name)

    def sso_session(self, name: str) -> Section | None:
        return self._sections.get(f"sso-session {name.strip()}")

    def service(self, profile: Section, service: str, key: str) -> str:
        """Return a setting of the services that a profile names: `endpoint_url` of `s3`."""
        services = self._sections.get(f"services {profile.get('services')}")
        return services.below.get(service, {}).get(key, "") if services and profile.get("services") else ""


def expanded(path: str, environ: Mapping[str, str]) -> str:
    """Expand a path as Terraform does: variables first, one that is unset to nothing; then a leading `~`."""
    home = environ.get("HOME", "")
    path = _VARIABLE.sub(lambda found: environ.get(found[1] or found[2], ""), path)
    return home + path[1:] if home and (path == "~" or path.startswith("~/")) else path


def read_profiles(config_files: Iterable[str], credentials_files: Iterable[str]) -> Profiles:
    """
    Read all files and merge them. One that is missing, or that we may not open, is empty.

    Raises:
        StoreMisconfigured: One of them is a folder or a device, or too long.
    """
    merged: dict[str, Section] = {}
    _merge(merged, _as_config(_merged(config_files)))
    _merge(merged, _as_credentials(_merged(credentials_files)))
    return Profiles(merged)


def read_small(path: str) -> bytes | None:
    """
    Read a file that somebody else named; None where it cannot be opened.

    Raises:
        StoreMisconfigured: It is no file, or longer than MAX_BYTES.
    """
    try:
        # A FIFO would let nobody through: open without waiting for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _unreadable(path, "is not a file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise _unreadable(path, "is longer than 1 MiB")
    return content


def _unreadable(path: str, why: str) -> StoreMisconfigured:
    return StoreMisconfigured(
        lines_of(f"{printable(path, 80)} {why}.", "Correct the name, in the backend or in AWS's variables.")
    )


def parse(text: str, path: str) -> dict[str, Section]:
    """Read the sections of one file, whatever their names are. Never fails."""
    sections: dict[str, Section] = {}
    section, key = None, ""
    for ended in text.split("\n"):
        line = ended.rstrip("\r")
        bare = line.lstrip(" \t")
        if not bare.strip() or bare[0] in "#;":
            continue
        name = _section_name(line)
        if name is not None:
            section, key = sections.setdefault(name, Section()), ""
        elif section is not None:
            key = _read_line(section, key, line, bare, path)
    return sections


def _read_line(section: Section, key: str, line: str, bare: str, path: str) -> str:
    """Put one line into its section; gives the key that lines below it belong to."""
    is_indented = line != bare
    assigned = _assignment(bare if is_indented else _COMMENT.split(line, maxsplit=1)[0])
    if assigned is None:
        if is_indented and section.get(key):
            section.values[key] += f"\n{bare.rstrip()}"
        return key
    name, value = assigned
    if is_indented and key and not section.get(key):
        section.below.setdefault(key, {})[name] = value
        return key
    if is_indented:
        value = _unquoted(_COMMENT.split(value, maxsplit=1)[0].strip())
        section.set(name, value, path)
        return key
    section.set(name, value, path)
    return name


def _section_name(line: str) -> str | None:
    text = line.partition("#")[0].partition(";")[0].rstrip()
    if not (text.startswith("[") and text.endswith("]") and len(text) > 1):
        return None
    return re.sub(r"[ \t]+", " ", text[1:-1].strip(), count=1)


def _assignment(text: str) -> tuple[str, str] | None:
    found = re.search("[=:]", text)
    if found is None:
        return None
    return text[: found.start()].strip().lower(), _unquoted(text[found.end() :].strip())


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 2 and value[0] == value[-1] and value[0] in "\"'" else value


def _merged(paths: Iterable[str]) -> dict[str, Section]:
    merged: dict[str, Section] = {}
    for path in paths:
        content = read_small(path)
        if content:
            _merge(merged, parse(content.decode("utf-8", "replace"), path))
    return merged


def _merge(into: dict[str, Section], other: Mapping[str, Section]) -> None:
    for name, section in other.items():
        known = into.setdefault(name, Section())
        has = [key in section.values for key in _PAIR]
        known.is_partial = any(has) != all(has) or (section.is_partial and not all(has))
        for key, value in section.values.items():
            # Half a pair would go with the other half of somebody else's.
            if key not in _PAIR or all(has):
                known.set(key, value, section.files[key])
        for key, below in section.below.items():
            known.below.setdefault(key, {}).update(below)


def _as_config(sections: Mapping[str, Section]) -> dict[str, Section]:
    kept: dict[str, Section] = {}
    for name, section in sections.items():
        if name == "default" or name.startswith(("sso-session ", "services ")):
            kept.setdefault(name, section)
        elif name.startswith("profile "):
            kept[name.removeprefix("profile ")] = section
    return kept


def _as_credentials(sections: Mapping[str, Section]) -> dict[str, Section]:
    return {name: section for name, section in sections.items() if not name.startswith("profile ")}
