"""
What a run changes, as its page tells it: how many of what, and each resource; of a run that failed on its way, what it
had done by then and what it had not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cached_property

from msgspec import structs

from tfguard.report.headline import counts
from tfguard.report.resources import folded, listed
from tfguard.report.said import Said
from tfguard.terraform.plan_json import PlannedChanges
from tfguard.terraform.plan_text import Rows, RunText

#: What may end after having done a part.
_CHANGING = frozenset({"apply", "destroy"})
#: What an apply changes in a state alone, and so says nothing of when it does.
_SILENT = frozenset({"move", "forget"})


def come_to(planned: PlannedChanges | None, said: Said, *, is_plan: bool) -> PlannedChanges | None:
    """
    Return what a plan would do; once an apply has closed, what it has done, to the resources of the plan.

    `planned` is the saved plan, if there is one.
    """
    closing = said.closing
    if closing is None or not closing.is_done:
        # What an apply plans says nothing of what it came to.
        return planned or (closing if is_plan else None)
    # Of what only moves in the state, or leaves it, and of outputs the closing line says nothing.
    if planned is not None:
        silent = structs.replace(closing, moved=planned.moved, forget=planned.forget, rows=planned.rows)
        return structs.replace(silent, has_changes=closing.has_changes or planned.has_changes)
    read = said.changes
    is_silent = bool(_silent(read.planned) or read.outputs)
    return structs.replace(closing, has_changes=closing.has_changes or is_silent)


class Changed:
    """What the run's text and its saved plan tell."""

    def __init__(self, command: str, outcome: str, changes: PlannedChanges | None, said: Said) -> None:
        self.said = said
        self._command = command
        self._is_good = outcome == "succeeded"
        self._changes = changes

    @property
    def _read(self) -> RunText:
        return self.said.changes

    @cached_property
    def _done(self) -> Rows:
        """What has been done, both halves of a replacement as one, and an import with what else was done there."""
        done = self._read.done if self._command in _CHANGING else ()
        halves = Counter(address for action, address in set(done) if action in ("create", "delete"))
        whole = {address for address, count in halves.items() if count > 1}
        rows = (("replace", address) if address in whole else (action, address) for action, address in done)
        return tuple(dict.fromkeys(_with_imports(list(rows))))

    @cached_property
    def done(self) -> PlannedChanges | None:
        """What a run that ended on its way had done by then; None if it is no such run, or says of nothing."""
        if not self._is_half or not self._done:
            return None
        each = Counter(action for action, _ in self._read.done)
        sums = (each["create"], each["update"], each["delete"], each["import"])
        return PlannedChanges(*sums, has_changes=True, rows=self._done, is_done=True)

    @property
    def _is_half(self) -> bool:
        """Whether it may have done a part. An apply that has counted what it did has come to its end."""
        is_closed = self._changes is not None and self._changes.is_done
        return self._command in _CHANGING and not self._is_good and not is_closed

    def counts(self) -> str:
        """Say how many of what, what is lost first."""
        changes = self._changes
        if self._is_half:
            return " ".join(self._half_counts())
        if changes is None or (self._command and not changes.has_changes):
            return ""  # The head says so.
        if not changes.rows:
            changes = _with_silent(changes, self._rows_of_text())
        if self._command.startswith("plan") and not self._is_good:
            return f"Planned before it ended: {_told(changes)}."
        return f"{_told(changes)}." if changes.has_changes or changes.is_done else "No changes."

    def _half_counts(self) -> Iterator[str]:
        planned = self._changes
        if planned is None and (closing := self.said.closing) is not None and not closing.is_done:
            planned = _with_silent(closing, self._read.planned)
        if self.done is not None:
            least = "at least " if self._read.is_cut else ""
            yield f"Done before it ended: {least}{_told(self.done)}."
        elif self._read.is_cut:
            yield "What was done before it ended stands in a part of Terraform's text that is not here."
        elif self._is_untouched():
            yield "It ended before it began to change anything."
        if planned is not None:
            yield f"Planned: {_told(planned)}."

    def _is_untouched(self) -> bool:
        """Whether Terraform says why it ended, and nothing of having begun; nor was there anything to do silently."""
        return bool(self.said.first_error) and not self._read.has_begun and not _silent(self._read.planned)

    def resources(self, room: int, code: Callable[[str], str]) -> str:
        """List them in at most `room` bytes; `code` writes a word of a stranger's."""
        read, changes = self._read, self._changes or PlannedChanges()
        rows = changes.rows or self._rows_of_text()
        if not self._is_half:
            drifted = {address for _, address in read.drifted} if changes.drift else frozenset()
            rows = tuple(row for row in rows if row[1] not in drifted)
            parts = [listed(rows, read.blocks, room, is_done=changes.is_done, code=code)]
        else:
            left = tuple(_left(rows or read.planned, self._done))
            # Of what is not finished the block stands there, and once is enough.
            shown = {address for _, address in left}
            blocks = {address: block for address, block in read.blocks.items() if address not in shown}
            open_end = ", not known to be finished" if read.is_cut else ", not finished"
            parts = [
                listed(self._done, blocks, room // 2, is_done=True, code=code),
                listed(left, read.blocks, room // 2 - 2, is_done=False, code=code, besides=open_end),
            ]
        return "\n\n".join(filter(None, parts))

    def _rows_of_text(self) -> Rows:
        """Of an apply that made its plan itself, only its own words name the resources."""
        if self._command not in _CHANGING:
            return ()
        return tuple(_and_silent(self._done, self._read.planned)) if self._is_good else ()

    def outputs(self, room: int) -> str:
        """What would change in outputs, folded."""
        title = "<p><strong>Outputs</strong></p>\n\n"
        made = title + folded("Changes to outputs", self._read.outputs) if self._read.outputs else ""
        return made if len(made.encode()) <= room else f"{title}<p>What changes has no room here: the log has it.</p>"

    def outside(self, room: int, code: Callable[[str], str]) -> str:
        """What has changed outside Terraform. It is no part of what the run does, and in no count of that."""
        read = self._read
        return listed(read.drifted, read.drift_blocks, room, is_done=True, code=code, besides=" outside Terraform")


def _left(planned: Rows, done_rows: Rows) -> Iterator[tuple[str, str]]:
    """
    What was planned and is not known to be done. Of a replacement the second half may be missing.

    What only moves is none of it: with the first state that an apply saves, all moves are done.
    """
    done: defaultdict[str, set[str]] = defaultdict(set)
    for action, address in done_rows:
        done[address].update(action.split(", "))
    for action, address in planned:
        halves = done[address] & {"create", "delete"}
        if "replace" in action.split(", ") and len(halves) == 1:
            yield ("create" if "delete" in halves else "delete"), address
        elif left := [word for word in action.split(", ") if word != "move" and word not in done[address]]:
            yield ", ".join(left), address


def _with_imports(rows: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    imported = {address for action, address in rows if action == "import"}
    others = {address for action, address in rows if action != "import"}
    for action, address in rows:
        if action != "import":
            yield f"{action}, import" if address in imported else action, address
        elif address not in others:
            yield action, address


def _silent(planned: Rows) -> dict[str, list[str]]:
    """What of a plan no apply tells of, by address."""
    return {
        address: words
        for action, address in planned
        if (words := [each for each in action.split(", ") if each in _SILENT])
    }


def _and_silent(done: Rows, planned: Rows) -> Iterator[tuple[str, str]]:
    """What has been done, and what of the plan was done silently: beside that, or alone."""
    silent = _silent(planned)
    for action, address in done:
        yield ", ".join([action, *silent.pop(address, ())]), address
    yield from ((", ".join(words), address) for address, words in silent.items())


def _with_silent(changes: PlannedChanges, rows: Rows) -> PlannedChanges:
    """With the resources; and what only moves in the state, or leaves it, which no closing line counts."""
    each = Counter(word for action, _ in rows for word in action.split(", "))
    return structs.replace(changes, moved=each["move"], forget=each["forget"], rows=rows)


def _nothing(changes: PlannedChanges) -> str:
    return "nothing added, changed or destroyed" if changes.is_done else "nothing to add, change or destroy"


def _told(changes: PlannedChanges) -> str:
    lost, rest = counts(changes)
    return ", ".join(filter(None, [f"**{lost}**" if lost else "", rest])) or _nothing(changes)
