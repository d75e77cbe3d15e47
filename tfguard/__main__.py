"""`python -m tfguard`, and the `tfguard` program."""

import contextlib
import gc
import os
import sys


def main() -> None:
    """Run tfguard; on Windows say where it runs instead."""
    if sys.platform == "win32":
        # Before any import that fails there: fcntl, termios.
        sys.stderr.write("tfguard needs Linux or macOS; on Windows use WSL2\n")
        sys.exit(69)
    try:
        _run()
    except OSError as error:  # Nothing more can be opened, not even what has the words for that; no /dev/null.
        sys.stderr.write(f"tfguard: {error.filename or 'start'}: {error.strerror}\n")
        sys.exit(78)


def _run() -> None:
    _speak_utf8()
    # What is imported is never garbage; to look for some after every 700 objects takes a twentieth of our start.
    gc.set_threshold(10_000)
    from tfguard.process import inherited

    inherited.look()
    from tfguard.process.launch import launch_early

    with contextlib.suppress(OSError):  # If one is needed it is tried again, where an error gets its words.
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
    try:
        if sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(os.getcwd()):
            del sys.path[0]
    except OSError:  # That directory is gone, and nothing lies there.
        del sys.path[0]
    main()
