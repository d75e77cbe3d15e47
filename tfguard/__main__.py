"""`python -m tfguard`, and the `tfguard` program."""

import os
import sys


def main() -> None:
    """Run tfguard; on Windows say where it runs instead."""
    if sys.platform == "win32":
        # Before any import that fails there: fcntl, termios.
        sys.stderr.write("tfguard needs Linux or macOS; on Windows use WSL2\n")
        sys.exit(69)
    _speak_utf8()
    from tfguard.process import inherited

    inherited.look()
    from tfguard.process.launch import launch_early

    launch_early(sys.argv[1:])
    from tfguard.cli.main import main as run

    run()


def _speak_utf8() -> None:
    """
    Begin anew where Python would read names, arguments and variables in the letters of an old locale.

    Terraform reads their bytes, and so do we: as UTF-8, with a surrogate for each byte that is none.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.executable and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


if __name__ == "__main__":
    # `python -m` puts the working directory first: a module lying there must not be imported in place of ours.
    if sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(os.getcwd()):
        del sys.path[0]
    main()
