"""A folder that is complete or not there, however the process that writes it ends."""

import fcntl
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from itertools import takewhile
from pathlib import Path

from safetensors import SafetensorError

from hallo3_lightning.errors import UsageError


@contextmanager
def written_aside(out: Path, size: int) -> Iterator[Path]:
    """A new folder beside `out` that becomes it at the end; nothing is left of it if anything fails, SIGTERM included.

    What a process left that could not clean up (SIGKILL, a power cut) is removed first.
    Raises UsageError where `out` exists, its place cannot be written, or `size` bytes do not fit.
    """
    if os.path.lexists(out):
        what = "is a link to nothing" if not out.exists() else "exists"
        raise UsageError(f"'{out}' {what}; name a folder that does not exist, or remove it first")
    with ended_by_sigterm(), _parents_of(out), _claimed(out) as aside:
        free = shutil.disk_usage(aside).free
        if free < size:
            raise UsageError(
                f"'{out}' would take {size / 1e9:.1f} GB but {free / 1e9:.1f} GB are free; make room first"
            )
        try:
            yield aside
            aside.rename(out)
        except (OSError, SafetensorError) as error:
            raise UsageError(
                f"'{out}' could not be written ({error}); nothing of it was kept; make room or mend that, and try again"
            ) from None


@contextmanager
def _claimed(out: Path) -> Iterator[Path]:
    """A new folder beside `out`, locked as long as this process lives, and gone at the end unless it was renamed."""
    for left in out.parent.glob(f"{escape(out.name)}.*.tmp"):
        if left.is_dir() and (lock := _locked(left)) is not None:
            sys.stderr.write(f"removing {left}, which a process that was killed left behind\n")
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    aside = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    aside.mkdir()
    lock = _locked(aside)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock until it is closed; None where another process does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the process as an exception does, so that what was begun is cleared."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what signals do
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _parents_of(out: Path) -> Iterator[None]:
    """Folders for `out` to be in; those that were not there are removed again if anything fails."""
    missing = list(takewhile(lambda folder: not os.path.lexists(folder), out.absolute().parents))
    there = out.absolute().parents[len(missing)]
    if not there.is_dir():
        raise UsageError(f"'{out}' cannot be made, as '{there}' is no folder; name another place")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        for folder in missing:
            with suppress(OSError):  # it may hold what another process wrote in the meantime
                folder.rmdir()
        if isinstance(error, OSError):
            raise UsageError(f"'{out}' cannot be made there ({error}); name another place") from None
        raise
