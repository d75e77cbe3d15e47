"""
What becomes of a state that Terraform could not save: a former run's waits to be pushed, this run's is kept; and
whether a state and its digest agree, which such a run may have left apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from tfguard import errors
from tfguard.lock import protocol
from tfguard.lock.queue import Queue


class Unsaved:
    """Looks and keeps while the lock is held. `post` hears what was found and done."""

    def __init__(
        self, surroundings: protocol.Surroundings, queue: Queue, post: Callable[[protocol.Word], None]
    ) -> None:
        self._surroundings = surroundings
        self._queue = queue
        self._post = post

    def waiting_place(self) -> str:
        """
        Return where a former run's state waits to be pushed, empty if none does. Costs nothing where none was noted.

        Raises as a store does.
        """
        place = self._queue.errored
        if not place or self._surroundings.is_there(place):
            return place
        self._queue.change(lambda state: state.with_errored(""))
        return ""

    def keep(self, path: str, push_error: str, lock_id: str) -> None:
        """Copy this run's state beside the state, and note where: it could not be pushed, for `push_error`."""
        try:
            place = self._surroundings.keep_copy(path, lock_id)
        except errors.TfguardError as error:
            self._post(protocol.Rescued(result="left", path=path, error=str(error)))
            return
        self._queue.change(lambda state: state.with_errored(place))
        self._post(protocol.Rescued(result="kept", path=path, place=place, error=push_error))

    def check_digest(self) -> None:
        """Tell of a state and a digest that do not agree, as after a run that died between the two writes."""
        with contextlib.suppress(errors.TfguardError, errors.Conflict):
            found = self._surroundings.digest_mismatch()
            if found is not None:
                self._post(found)
