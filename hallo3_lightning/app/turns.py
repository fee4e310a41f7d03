"""Whose films are made now: one user's at a time, in the order in which they asked."""

import threading
import time
from collections.abc import Iterator

from hallo3_lightning.app.screening import LOOK_EVERY_S, Screening, Shown, Wanted


class Turns:
    """Everything that was asked for and is not over yet. It can be stopped from the moment on at which it was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: dict[Screening, str] = {}  # in the order in which they came

    def shown(self, user: str, screening: Screening, wanted: Wanted) -> Iterator[Shown]:
        """What to show that user while others are before it, and then of its own films; stopped when nobody looks any more."""
        with self._lock:
            self._users[screening] = user
        try:
            while not screening.is_stopped and (before := self._before(screening)):
                yield Shown(f"<p>waiting for those who asked before: {before}</p>", "")
                time.sleep(LOOK_EVERY_S)
            yield from screening.shown(wanted)
        finally:
            self._end(screening)

    def stop(self, user: str) -> None:
        """All that this user asked for."""
        with self._lock:
            own = [screening for screening, asked in self._users.items() if asked == user]
        for screening in own:
            self._end(screening)

    def stop_all(self) -> None:
        with self._lock:
            everything = [*self._users]
        for screening in everything:
            screening.stop()

    def _before(self, screening: Screening) -> int:
        """How many are to be waited for."""
        with self._lock:
            waiting = [*self._users]
        return waiting.index(screening) if screening in waiting else 0

    def _end(self, screening: Screening) -> None:
        """Stop it before the next one begins."""
        screening.stop()
        with self._lock:
            self._users.pop(screening, None)
