"""Work spread over processes that end with the one that started them, and a folder that one process writes at a time."""

import fcntl
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hallo3_lightning.errors import UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerDied(UsageError):
    """A worker process ended on the way."""


def spread(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, *, apart: bool = False
) -> Iterator[Result]:
    """The results of `work` on each item, as they are done; with one worker in this process, and in order.

    workers: processes; apart: also one worker is a process of its own. What is queued is given up when the caller stops
    asking. Raises WorkerDied for a worker that does.
    """
    if workers == 1 and not apart:
        yield from map(work, items)
        return
    # spawned: a forked child would inherit locks that threads of this process hold at that moment
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=end_with_parent)
    try:
        for done in as_completed([pool.submit(work, item) for item in items]):
            yield done.result()
    except BrokenProcessPool as error:
        raise WorkerDied(
            "a worker process died, for want of memory or in a library: what is done is kept; run again with "
            "--workers 1, which takes the items one by one"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """To be called first in a worker: one whose parent was killed would wait for work for ever.

    Ctrl-C ends it at once, where Python would first do what is queued.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def alone(folder: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """No other process is in this block for the folder. If one is: UsageError, in which `what` says what this one does,
    or with `wait` until it has left.

    The lock goes with the process that holds it, however that ends.
    """
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another process is {what} {folder}; wait for it or choose another folder") from error
        yield


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))
