"""Examples for the targets, and what is asked of each: by the tests for seconds, by `make fuzz` for longer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from hypothesis import strategies as st

from tests.fuzz.targets import CORPUS, Target
from tests.fuzz.work import grows_too_fast


def examples(target: Target) -> st.SearchStrategy[str]:
    """Texts of what the target's input is made of, some of it many times over, and some of anything."""
    piece = st.sampled_from([*target.pieces, *target.corpus()]) | st.text(max_size=5) | st.just("\udc80")
    repeated = st.builds(lambda text, times: text * times, st.sampled_from(target.pieces), st.integers(2, 60))
    return st.lists(piece | repeated, max_size=14).map("".join)


def repetitions(target: Target) -> st.SearchStrategy[tuple[str, str, str]]:
    """A beginning, something to be repeated, an end."""
    few = st.lists(st.sampled_from(target.pieces), max_size=3).map("".join)
    unit = st.lists(st.sampled_from(target.pieces), min_size=1, max_size=4).map("".join)
    return st.tuples(few, unit, few)


def tolerant(target: Target) -> Callable[[str], object]:
    """Read as the target does; its own errors are answers."""

    def read(text: str) -> object:
        try:
            return target.read(text)
        except target.errors:
            return None

    return read


def check_repetition(target: Target, parts: tuple[str, str, str], count: int = 1000) -> None:
    """Fail where the work is out of proportion. A first look at little of it spares us what would take for ever."""
    before, unit, after = parts
    for size in (count // 40, count):
        grown = grows_too_fast(tolerant(target), lambda times: before + unit * times + after, size)
        assert not grown, f"{target.name}: {parts!r}: {grown}"


def keep(target: Target, text: str) -> None:
    """Put what was a fault into the corpus."""
    content = text.encode("utf-8", "surrogateescape")
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
