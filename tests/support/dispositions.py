"""
How a test's process, and all that it starts, reacts to signals: as if an interactive shell had started it.

A shell's script starts what it puts into the background (`make test &`) deaf to SIGINT and SIGQUIT, `nohup` deaf to
SIGHUP, and a program hands that on to those that it starts. A test that sends such a signal must not depend on it.
"""

from __future__ import annotations

import signal

#: What ends a process, and what tests send. Python ignores SIGPIPE itself, and gives it back to its children.
_SENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGUSR1, signal.SIGUSR2)
#: Put before a command, it starts that as a script's `&` does.
DEAF_TO_INTERRUPTS = ("sh", "-c", 'trap "" INT QUIT; exec "$@"', "sh")


def restore_dispositions() -> None:
    """Undo for this process, which must be in its main thread, what whoever started it ignored or blocked."""
    for number in _SENT:
        if signal.getsignal(number) is signal.SIG_IGN:
            is_pythons = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_pythons else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SENT)
