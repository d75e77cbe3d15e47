"""`python -m tfguard`, and the `tfguard` program."""

import os
import sys


def main() -> None:
    """Run tfguard; on Windows say where it runs instead."""
    if sys.platform == "win32":
        # Before any import that fails there: fcntl, termios.
        sys.stderr.write("tfguard needs Linux or macOS; on Windows use WSL2\n")
        sys.exit(69)
    from tfguard.process import inherited

    inherited.look()
    from tfguard.process.launch import launch_early

    launch_early(sys.argv[1:])
    from tfguard.cli.main import main as run

    run()


if __name__ == "__main__":
    # `python -m` puts the working directory first: a module lying there must not be imported in place of ours.
    if sys.path and os.path.realpath(sys.path[0]) == os.path.realpath(os.getcwd()):
        del sys.path[0]
    main()
