"""What a job on SLURM does first. Of its own, so that a job imports nothing else before it becomes the run's process."""

import os
from collections.abc import Sequence
from pathlib import Path


def become(command: Sequence[str], log: str) -> None:
    """Go on as another program, whose output goes to the end of a log; all ranks of a job write into the same one."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    Path(log).touch()  # that it has begun shows before its first word
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ["PYTHONUNBUFFERED"] = "1"
    os.execv(command[0], list(command))
