"""
The work of the locking set: add one element to a file that nothing but the lock protects.

Standard library only, run as `python -I -S element.py FOLDER ELEMENT SECONDS [stubborn]`. It reads the whole set,
waits, and puts the set with its element in place of the old one: whoever runs at the same time loses elements, and is
seen. An element is *attempted* before the read and *acknowledged* after the write; whoever is killed in between may or
may not be in. A stubborn one does not stop when asked, as a Terraform does that waits for a slow resource.
"""

import os
import signal
import sys
import time

#: A stopped process cannot write, and a zombie is gone: neither is in anybody's way.
HARMLESS = ("T", "Z", "X")


def main(folder: str, element: str, seconds: float, is_stubborn: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN if is_stubborn else signal.SIG_DFL)
    os.chdir(folder)
    note("attempted", element)
    neighbour = neighbour_at_work()
    if neighbour:
        note("overlap", f"{element}:{neighbour}")
    replace("holder", f"{element} {os.getpid()}", element)
    known = read("set")

    time.sleep(seconds)

    replace("set", f"{known}{element}\n", element)
    note("acknowledged", element)


def neighbour_at_work() -> str:
    """The element of the one who began before us, if it could still write."""
    element, _, pid = read("holder").partition(" ")
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            state = file.read().rpartition(")")[2].split()[0]
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            is_that_one = element in file.read().split("\0")  # and not a newcomer under its PID
    except OSError:
        return ""
    return element if is_that_one and state not in HARMLESS else ""


def note(event: str, subject: str) -> None:
    """Append one line to the journal; one write, so that lines never mix."""
    token = os.environ.get("TFGUARD_FENCING_TOKEN", "-")
    journal = os.open("journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(journal, f"{event} {subject} {token} {time.monotonic():.6f}\n".encode())
    os.close(journal)


def read(name: str) -> str:
    try:
        with open(name, encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def replace(name: str, text: str, element: str) -> None:
    """Whole or not at all, so that being killed in the middle loses nobody else's elements."""
    scratch = f"{name}.{element}"
    with open(scratch, "w", encoding="ascii") as file:
        file.write(text)
    os.rename(scratch, name)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), "stubborn" in sys.argv[4:])
