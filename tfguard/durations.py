"""
Durations as Terraform writes them: Go's syntax in, the same syntax or plain speech out.

Everything inside tfguard is seconds.
"""

from __future__ import annotations

import re

from tfguard.text import printable

#: Go keeps a duration in 63 bits of nanoseconds and refuses what does not fit: about 292 years.
_MAX_SECONDS = (2**63 - 1) / 1e9

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
#: Go takes more, but nobody writes more.
_MAX_LENGTH = 100


def parse_duration(text: str) -> float:
    """
    Read a duration in Go's syntax, in seconds: `90s`, `1h30m`, `500ms`, `1.5h`, `0`, also `-1s`.

    Raises:
        ValueError: Go would refuse it too, or it has more than 100 characters; a number without its unit is the usual
            case. The message names the text.
    """
    sign, body = (-1.0, text[1:]) if text[:1] == "-" else (1.0, text[1:] if text[:1] == "+" else text)
    if body == "0":
        return 0.0
    seconds, end = 0.0, 0
    # Each part is looked for where the last one has ended, and nowhere else.
    while len(body) <= _MAX_LENGTH and (match := _PART.match(body, end)):
        seconds, end = seconds + float(match[1]) * _UNITS[match[2]], match.end()
    if not body or end != len(body) or seconds > _MAX_SECONDS:
        raise ValueError(f"{printable(text, 40)!r} is no duration; write it like 90s, 10m or 1h30m")
    return sign * seconds


def format_duration(seconds: float) -> str:
    """Write seconds in Go's syntax, as a person would have: `0s`, `500ms`, `90s`, `10m`, `1h30m`. Exact to 1 ms."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    milliseconds = round(seconds * 1000)
    if milliseconds % 1000:
        return f"{milliseconds}ms" if milliseconds < 1000 else f"{milliseconds / 1000:.3f}".rstrip("0") + "s"
    whole = milliseconds // 1000
    if whole < 120 and whole != 60:
        return f"{whole}s"
    parts = ((whole // 3600, "h"), (whole // 60 % 60, "m"), (whole % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)


def spoken_duration(seconds: float) -> str:
    """Say how long something has been going on, no finer than people care: `4 s`, `2m13s`, `14 min`, `3 h 20 min`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 10:
        return f"{minutes}m{whole % 60:02d}s"
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 48:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{hours // 24} days"
