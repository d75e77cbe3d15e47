"""
Become the child: what has to be done between fork and exec, in a process of its own.

Standard library only, run as `python -I -S shim.py GROUP PARENT SENTINEL PROGRAM ARGUMENT…`: a keeper with threads
must not run Python between fork and exec. Joins the process group, ignores SIGHUP (Terraform would die of it at once),
unblocks all signals and registers with the sentinel, which sends the one SIGINT should the keeper die.
"""

import os
import signal
import sys

NOT_FOUND, NOT_EXECUTABLE = 127, 126


def main(group: int, parent: int, sentinel: int, argv: "list[str]") -> int:
    """Set the process up and exec `argv`; returns only if that fails. `group` 0: a group of our own."""
    os.setpgid(0, group)
    os.set_inheritable(sentinel, False)
    try:
        os.write(sentinel, b"+%d\n" % os.getpid())
    except OSError:
        pass  # The keeper has just put another in its place, and registers us with that one.
    if os.getppid() != parent:  # It died before we registered.
        return 128 + signal.SIGINT
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        os.execvp(argv[0], argv)
    except FileNotFoundError as error:
        print(f"tfguard: {argv[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND
    except OSError as error:
        print(f"tfguard: {argv[0]}: {error.strerror}", file=sys.stderr)
        return NOT_EXECUTABLE


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
