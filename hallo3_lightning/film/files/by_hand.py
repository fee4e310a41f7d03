"""Ctrl-C where it does no harm."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C waits until this is done: a film of live speech goes on to its end with what was written before it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C comes to the first thread alone
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed and callable(before):
        before(signal.SIGINT, None)
