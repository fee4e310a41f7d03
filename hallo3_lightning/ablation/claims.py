"""Who may start a run: at most one launcher at a time, and none while the process that one has started is alive."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.runs import RunFolder

FILE = ".launch"


def is_claimed(run: RunFolder) -> bool:
    """Whether somebody is starting it, or has a process at work on it."""
    if not (run.path / FILE).is_file():
        return False
    with _opened(run) as file:
        return not locks(file)


@contextmanager
def claimed(jobs: Sequence[Job]) -> Iterator[list[tuple[Job, IO[str]]]]:
    """Those of the jobs that nobody else has, each with the open file whose lock is the claim, until the block is left.

    A process that inherits the open file keeps the claim for as long as it lives.
    """
    with ExitStack() as files:
        opened = [(job, files.enter_context(_opened(job.folder))) for job in jobs]
        yield [(job, file) for job, file in opened if locks(file)]


def locks(file: IO[str]) -> bool:
    """Whether the lock of an open file was free, and is now ours."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _opened(run: RunFolder) -> IO[str]:
    run.path.mkdir(parents=True, exist_ok=True)
    return (run.path / FILE).open("a")
