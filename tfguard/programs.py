"""
Programs that tfguard starts for itself: which file each is, what of the environment it gets, and what it has printed.

Those that are asked about a checkout need little, and it may be a stranger's. So they get no secret, and nothing that a
pipeline's `env` could set: `config.values` refuses each of these names there. Those that print credentials get all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tfguard.clock import SystemClock
from tfguard.redaction import REDACTED, is_secret_name, redact
from tfguard.text import printable

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

#: Which a program may be found by, and how it speaks.
_PLAIN = re.compile(r"PATH|HOME|USER|LOGNAME|TMPDIR|XDG_[A-Z_]+|SYSTEMROOT")
#: A language is a name; as a path it would be a file of somebody's choosing.
_LANGUAGES = re.compile(r"LANG|LANGUAGE|LC_[A-Z]+")
#: How version managers are told where their versions are, and which of them is meant.
MANAGERS = "ASDF|MISE|RTX|TENV|TFENV|TOFUENV|TOFUTF|TFSWITCH"
_OF_MANAGERS = re.compile(rf"({MANAGERS})_[A-Z_]+|TF_VERSION")

#: More than this no program prints that was asked for credentials.
MAX_BYTES = 1 << 20
#: Of what a program complains about, so much of the end is kept.
_MAX_ERRORS = 1 << 14
_MAX_WORDS = 1 << 11
_MAX_READ = 1 << 16
#: So often one looks whether a program has ended: whom it has left behind may hold its output open.
_LOOK_SECONDS = 0.05
#: What it has left behind may write so long after its end, as a shell's `> >(…)` does.
_LAST_SECONDS = 2.0
#: A program that has been killed is gone at once, unless a disk or another user's rights keep it.
_GONE_SECONDS = 1.0
#: A word that only a machine would write: of all kinds of letters, or of hexadecimal digits.
_OPAQUE = re.compile(
    r"(?=[\w+/=.~-]*[a-z])(?=[\w+/=.~-]*[A-Z])(?=[\w+/=.~-]*[0-9])[\w+/=.~-]{16,}|[0-9a-fA-F]{32,}", re.ASCII
)

_starting: set[object] = set()
_running: set[int] = set()
_mark: dict[str, str] = {}


class PrintedTooMuch(OSError):
    """A program printed more than anybody wants to read; it has been ended."""


class Said(NamedTuple):
    """
    What a program printed, and its exit status: below 0 it is the signal that ended it.

    Of `errors` only the end is kept. Both may hold secrets, and are shown by `last_words` alone.
    """

    status: int
    output: bytes
    errors: bytes

    def __repr__(self) -> str:
        return f"Said({self.status}, …)"

    def ending(self) -> str:
        """Return how it ended, to be read after its name."""
        if self.status >= 0:
            return f"ended with status {self.status}"
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-self.status).name}"
        return f"was ended by signal {-self.status}"

    def last_words(self, mark: str = "") -> str:
        """
        Return the last line of what it complained about, for people; empty if there is none.

        If lines begin with `mark`, it is the last of those, without the mark. No secrets are in it: those that are
        known are cut out, whatever looks like one, and whatever the program has printed as an answer.
        """
        lines = [line for line in self.errors.decode("utf-8", "replace").splitlines() if line.strip()]
        marked = [line for line in lines if line.startswith(mark)] or lines
        line = redact(marked[-1].removeprefix(mark).strip())[:_MAX_WORDS] if marked else ""
        for word in _words(self.output):
            line = line.replace(word, REDACTED)
        return printable(_OPAQUE.sub(REDACTED, line), 200)


def _words(output: bytes) -> list[str]:
    """The values in an answer, the longest first; the names in it are nothing secret."""
    found = re.findall(r"[^\s\"'{}\[\],:]{6,}", output.decode("utf-8", "replace"))
    return sorted(set(found), key=len, reverse=True)


def environment(environ: Mapping[str, str], *, for_managers: bool = False) -> dict[str, str]:
    """Return what of these variables a program of ours gets; `for_managers`: it may be a version manager's shim."""
    return {
        name: value
        for name, value in environ.items()
        if _PLAIN.fullmatch(name)
        or (_LANGUAGES.fullmatch(name) and "/" not in value)
        or (for_managers and _OF_MANAGERS.fullmatch(name) and not is_secret_name(name))
    }


def find(name: str, environ: Mapping[str, str]) -> str:
    """
    Return where the program is on PATH. Relative entries are skipped: a working directory may hold anything.

    Raises:
        FileNotFoundError: It is nowhere there.
    """
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, name)
        if os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def mark(names: Mapping[str, str]) -> None:
    """From now on give these variables to each program that is asked: whom it leaves behind is known by them."""
    _mark.update(names)


def is_asked(pid: int) -> bool:
    """Whether a child of ours is a program whose end is awaited here; each may be, while one is starting."""
    return bool(_starting) or pid in _running  # In this order: it is among the second before it leaves the first.


def ask(
    argv: Sequence[str | Path],
    environ: Mapping[str, str],
    seconds: float,
    *,
    directory: str | Path | None = None,
    max_bytes: int = MAX_BYTES,
) -> Said:
    """
    Run a program to its end, and return what it printed.

    It has no input and no terminal: its session is its own. When its time is over it is killed, with all of its
    group, and whoever has left that group is not waited for. The end is the program's own: who inherits its output and
    holds that open, as an agent does that was started on the way, neither delays the answer nor is killed.

    Raises:
        TimeoutError: It took longer than so many `seconds`.

        PrintedTooMuch: More than `max_bytes`.

        OSError: It cannot be started.
    """
    with _started(argv, environ, directory) as process:
        return _heard(process, seconds, max_bytes)


@contextlib.contextmanager
def _started(
    argv: Sequence[str | Path], environ: Mapping[str, str], directory: str | Path | None
) -> Iterator[subprocess.Popen[bytes]]:
    import subprocess  # Takes 8 ms, and most starts of tfguard ask nobody.

    starting = object()
    _starting.add(starting)
    try:
        process = subprocess.Popen(
            argv,
            cwd=directory,
            env={**environ, **_mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        _running.add(process.pid)
    except ValueError as error:  # A NUL in an argument or a variable.
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from error
    finally:
        _starting.discard(starting)
    try:
        yield process
    finally:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        if process.poll() is None:  # So it is not reaped, and no other group has its number.
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GONE_SECONDS)
        _running.discard(process.pid)


def _heard(process: subprocess.Popen[bytes], seconds: float, max_bytes: int) -> Said:
    import selectors
    import subprocess

    clock = SystemClock()
    until = clock.boottime() + seconds
    output, errors = bytearray(), bytearray()
    has_ended = False
    with selectors.DefaultSelector() as selector:
        for stream, kept in ((process.stdout, output), (process.stderr, errors)):
            assert stream is not None
            selector.register(stream, selectors.EVENT_READ, kept)
        while selector.get_map():
            now = clock.boottime()
            ready = selector.select(max(0.0, min(until - now, _LOOK_SECONDS)))
            for key, _ in ready:
                content = os.read(key.fd, _MAX_READ)
                key.data.extend(content)
                if not content:
                    selector.unregister(key.fileobj)
            del errors[:-_MAX_ERRORS]
            if len(output) > max_bytes:
                raise PrintedTooMuch(errno.EFBIG, "it prints too much")
            if not has_ended and process.poll() is not None:
                has_ended, until = True, min(until, now + _LAST_SECONDS)
            elif now >= until and not (has_ended and ready and now < until + _LAST_SECONDS):
                break  # What a program that has ended in time has printed is read, however late we look.
    try:
        status = process.wait(max(0.0, until - clock.boottime()))
    except subprocess.TimeoutExpired:
        raise TimeoutError(errno.ETIMEDOUT, "it does not come to an end") from None
    return Said(status, bytes(output), bytes(errors))
