"""
Stores as URLs, for locks under a name of the user's own (`lock.store` with `lock.name`).

    dynamodb://table?region=eu-west-1&endpoint=…&profile=…                     item `name`
    s3://bucket/prefix?region=…&endpoint=…&profile=…&path_style=true           object `prefix/name.tflock`
    file:///absolute/directory, or a relative path                             file `directory/name`
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from tfguard.backends.aws.spec import AwsAccess, DynamoDBSpec, S3Spec
from tfguard.backends.target import LocalSpec, StoreSpec
from tfguard.errors import ConfigError
from tfguard.lock.names import LOCK_SUFFIX
from tfguard.text import printable

_EXPECTED = "Expected dynamodb://TABLE?region=…, s3://BUCKET/PREFIX?region=…, file:///DIRECTORY or a relative path."
_OPTIONS = {
    "dynamodb": ("region", "endpoint", "profile"),
    "s3": ("region", "endpoint", "profile", "path_style"),
    "file": (),
}


def parse_store_url(url: str, name: str, environ: Mapping[str, str]) -> StoreSpec:
    """
    Say where the lock `name` lives in the store `url`.

    Relative paths count from the working directory; a region that the URL leaves out comes from `environ`.

    Raises:
        ConfigError: The URL or the name cannot be used; the message says what was expected.
    """
    if not name or not name.isprintable() or name.startswith("/") or ".." in name.split("/"):
        raise _wrong(f"{printable(name, 60)!r} is no name for a lock.", "Set `lock.name`, for example to prod/network.")
    kind, parts = _parse(url)
    options = _options(parts, kind)
    if kind == "file":
        return _local(parts, name)
    if not parts.netloc:
        raise _wrong(f"{_shown(parts)} names no {'table' if kind == 'dynamodb' else 'bucket'}.")
    access = AwsAccess(
        region=options.get("region") or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION", ""),
        profile=options.get("profile", ""),
    )
    if kind == "dynamodb":
        return _dynamodb(parts, name, access, options)
    return _s3(parts, name, access, options)


def _parse(url: str) -> tuple[str, SplitResult]:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _wrong(f"{printable(url, 60)!r} is no store: {error}.") from error
    kind = parts.scheme or "file"
    if kind not in _OPTIONS or parts.fragment or "@" in parts.netloc or not (parts.netloc or parts.path):
        raise _wrong(f"{_shown(parts)} is no store.")
    return kind, parts


def _options(parts: SplitResult, kind: str) -> dict[str, str]:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(pairs)
    allowed = _OPTIONS[kind]
    for key in options:
        if key not in allowed:
            known = f"It takes {', '.join(allowed)}." if allowed else "It takes none."
            raise _wrong(f"{_shown(parts)} has the unknown option {printable(key, 40)!r}. {known}")
    if len(pairs) != len(options):
        raise _wrong(f"{_shown(parts)} has an option twice.")
    if options.get("path_style", "true") not in {"true", "false"}:
        raise _wrong(f"{_shown(parts)}: path_style is true or false.")
    return options


def _dynamodb(parts: SplitResult, name: str, access: AwsAccess, options: Mapping[str, str]) -> DynamoDBSpec:
    if parts.path.strip("/"):
        raise _wrong(f"{_shown(parts)}: a table has no path; the lock's name goes into `lock.name`.")
    return DynamoDBSpec(table=parts.netloc, lock_id=name, aws=access, endpoint=options.get("endpoint", ""))


def _s3(parts: SplitResult, name: str, access: AwsAccess, options: Mapping[str, str]) -> S3Spec:
    prefix = unquote(parts.path).strip("/")
    return S3Spec(
        bucket=parts.netloc,
        key=(f"{prefix}/{name}" if prefix else name) + LOCK_SUFFIX,
        aws=access,
        endpoint=options.get("endpoint", ""),
        use_path_style=options.get("path_style") == "true",
    )


def _local(parts: SplitResult, name: str) -> LocalSpec:
    if parts.netloc not in {"", "localhost"}:
        raise _wrong(f"{_shown(parts)}: a directory is file:///… with three slashes.")
    directory = unquote(parts.path) if parts.scheme else parts.path
    return LocalSpec(path=os.path.abspath(os.path.join(directory, name)))


def _shown(parts: SplitResult) -> str:
    """The URL for a message: without what might be a secret in it."""
    host = parts.netloc.rpartition("@")[2]
    start = f"{parts.scheme}://{host}" if parts.scheme else ""
    return printable(f"{start}{parts.path}", 60)


def _wrong(*lines: str) -> ConfigError:
    first, *rest = lines
    return ConfigError("\n".join(printable(line, 120) for line in (first, *(rest or [_EXPECTED]))))
