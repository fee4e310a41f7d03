"""Waiting for something that another process does."""

import time
from collections.abc import Callable


def until(what: str, is_true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Returns as soon as it is; raises TimeoutError that says what did not happen."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s, and it is not true that {what}")
        time.sleep(0.2)
