"""
What tfguard says about itself: events on stderr, for people or as JSON, one line each.

    log = get_logger()
    log.info("lease.acquired", lock="prod/network", token=41)

Events are `noun.past_participle`; data are key-values, the same key meaning the same everywhere. No secret leaves here:
values under a key that names one are dropped, and registered secrets are cut out of every text. And nothing that
goes wrong in here reaches the caller: a run that holds a lock must not die of a closed stderr.

structlog is not used: its import takes as long as all of the front's (0.1 s of CPU in each run, since its console
brings rich and its loggers asyncio), and what an event has to be here, plain and without secrets, was our own before.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from datetime import datetime, timezone
from enum import Enum
from typing import Any, Literal, TextIO, cast

import msgspec

from tfguard import colour, files
from tfguard.errors import UsageError
from tfguard.outlet import outlet
from tfguard.redaction import _SENSITIVE_KEY, REDACTED, redact
from tfguard.text import printable, valid
from tfguard.wire import publish

Format = Literal["console", "json"]
LevelName = Literal["debug", "info", "warning", "error"]
Event = MutableMapping[str, Any]

_LEVELS: Mapping[LevelName, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_COLOURS: Mapping[str, str] = {"debug": "2", "info": "36", "warning": "33", "error": "31"}


_MAX_TEXT = 2000


#: The fencing token is a number that everybody may know.
_OPEN_KEYS = frozenset({"token", "fencing_token"})


def choose_format(flag: str | None, environ: Mapping[str, str] = os.environ) -> Format:
    """
    Settle the format: the flag, else `TFGUARD_LOG_FORMAT`, else `console`.

    Raises:
        UsageError: It is neither `console` nor `json`.
    """
    source = "--log-format" if flag else "TFGUARD_LOG_FORMAT"
    value = flag or environ.get("TFGUARD_LOG_FORMAT") or "console"
    if value not in ("console", "json"):
        raise UsageError(f"{source} is {printable(value, 40)!r}.", "Use console or json.")
    return cast("Format", value)


def configure(format: Format = "console", verbosity: int = 0, stream: TextIO | None = None) -> None:  # noqa: A002
    """
    Say how events are written from now on, by every logger there is.

    `verbosity`: below 0 warnings and errors only, 0 also what happened, above 0 also how. `stream` None: whatever
    `sys.stderr` is when an event is written.
    """
    global _sink
    _sink = _Sink(format, "warning" if verbosity < 0 else "debug" if verbosity else "info", stream)


class Logger:
    """Writes events, each with the values it is bound to. Cheap to make; never raises."""

    def __init__(self, **bound: Any) -> None:
        self._bound = bound

    def debug(self, event: str, **values: Any) -> None:
        """How it happens, for whoever debugs tfguard or a backend."""
        self._write("debug", event, values)

    def info(self, event: str, **values: Any) -> None:
        """What happened."""
        self._write("info", event, values)

    def warning(self, event: str, **values: Any) -> None:
        """What somebody should look at; the run goes on."""
        self._write("warning", event, values)

    def error(self, event: str, **values: Any) -> None:
        """What ends the run, or has cost something."""
        self._write("error", event, values)

    def _write(self, level: LevelName, event: str, values: Mapping[str, Any]) -> None:
        try:
            _sink.write(level, event, {**self._bound, **values})
        except Exception:  # noqa: BLE001, S110 - a value whose repr fails, a full disk: no reason to stop a run  # nosec B110
            pass


def get_logger(**bound: Any) -> Logger:
    """Return a logger. `configure` may come later."""
    return Logger(**bound)


class _Sink:
    """Where events go: the threshold, and behind it what makes a line of one."""

    def __init__(self, format: Format, level: LevelName, stream: TextIO | None) -> None:  # noqa: A002
        self._render = _render_as_json if format == "json" else self._render_for_people
        self._threshold = _LEVELS[level]
        self._stream = stream
        self._output = _Output(stream)

    def write(self, level: LevelName, event: str, values: Event) -> None:
        if _LEVELS[level] >= self._threshold:
            # First what a reader looks for first, then the values in the order in which they were given.
            whole = {"timestamp": _timestamp(), "level": level, "event": event, **_with_traceback(values)}
            self._output.say(self._render(_clean_event(whole)))

    def _render_for_people(self, event: Event) -> str:
        paint = _paint if colour.is_wanted(self._stream or sys.stderr) else _leave
        exception = event.pop("exception", "")
        level, name, at = event.pop("level"), str(event.pop("event")), event.pop("timestamp")
        head = f"{paint('2', at[11:19])} {paint(_COLOURS[level], f'{level:7}')} {paint('1', name)}"
        values = (f"{paint('36', key + '=')}{_quoted(value)}" for key, value in event.items() if value is not None)
        return " ".join([head, *values]) + (f"\n{exception}" if exception else "")


def _render_as_json(event: Event) -> str:
    return publish(event).decode()


def _timestamp() -> str:
    now = datetime.now(timezone.utc)
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"


def _with_traceback(values: Event) -> Event:
    """Put the traceback of the error that is being handled in the place of `exc_info`."""
    if not values.pop("exc_info", False):
        return values
    return {**values, "exception": traceback.format_exc().rstrip("\n")}


class _Output:
    """The end of the chain: a stream that may be full, closed, or somebody else's terminal."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        stream = self._stream or sys.stderr
        if stream is None:  # started without a stderr
            return
        with self._lock:
            try:
                self._write(stream, line + "\n")
            except (OSError, ValueError):
                pass

    def _write(self, stream: TextIO, text: str) -> None:
        try:
            stream.flush()
            descriptor = stream.fileno()
        except (OSError, ValueError, AttributeError):
            stream.write(text)  # a stream in memory; or it is closed, and says so now
            stream.flush()
            return
        # Around the stream's buffer: what stays in it after EPIPE would turn our exit status into Python's 120.
        data = valid(text).encode()
        if self._stream is None:
            outlet(descriptor).say(data)
        else:  # It is closed as soon as its owner likes, and its number is another's then.
            files.write_all(descriptor, data)


def _clean_event(event: Event) -> Event:
    """The last step before rendering: after it an event is plain data, printable and without secrets."""
    exception = event.pop("exception", None)
    cleaned: dict[str, Any] = _clean_mapping(event)
    if exception:
        cleaned["exception"] = "\n".join(_clean_text(line) for line in redact(exception).splitlines())
    return cleaned


def _clean_mapping(values: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        _clean_text(str(key)): REDACTED if _is_secret(str(key), value) else _clean(value)
        for key, value in values.items()
    }


def _is_secret(key: str, value: Any) -> bool:
    if not _SENSITIVE_KEY.search(key) or value is None or value == "":
        return False
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return not (key in _OPEN_KEYS and is_number)


def _clean(value: Any) -> Any:
    # Enum first: an Outcome is a str too.
    if isinstance(value, Enum):
        return _clean(value.value)
    if value is None or isinstance(value, bool | int | float):
        return value
    for kind, clean in _CLEANERS.items():
        if isinstance(value, kind):
            return clean(value)
    return _clean_text(repr(value))


def _clean_text(text: str) -> str:
    return printable(redact(text), _MAX_TEXT)


_CLEANERS: Mapping[type | tuple[type, ...], Callable[[Any], Any]] = {
    str: _clean_text,
    Mapping: _clean_mapping,
    (list, tuple, set, frozenset): lambda values: [_clean(value) for value in values],
    msgspec.Struct: lambda value: _clean_mapping(msgspec.structs.asdict(value)),
    (BaseException, os.PathLike): lambda value: _clean_text(str(value)),
}


def _paint(colour: str, text: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"


def _leave(_colour: str, text: str) -> str:
    return text


def _quoted(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return repr(text) if not text or re.search(r"[\s='\"]", text) else text


_sink = _Sink("console", "info", None)
