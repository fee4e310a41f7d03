"""Work shared by processes that torchrun or srun started side by side, on one machine or many that see one folder.

They exchange nothing but files: each does its share of a list that all of them reckon alike, each piece appears under its
name when it is whole, and who needs the pieces of all waits until they are there. So nothing has to meet at one moment, a
process that is started again does what is still missing of its share, and another number of processes goes on from the
same files.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hallo3_lightning.errors import UsageError

Item = TypeVar("Item")

NAMES = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))
"""Where torchrun and srun say which process this is, and of how many."""

LOCAL_NAMES = ("LOCAL_RANK", "SLURM_LOCALID")
"""Where they say which of the processes on its machine it is."""

STALLED_S = 4 * 3600.0
"""Without a new piece for so long, the process that makes it is taken for gone: a clip of minutes takes an hour."""
POLL_S = 1.0


@dataclass(frozen=True)
class Share:
    """This process's part: `rank` of `ranks`."""

    rank: int = 0
    ranks: int = 1

    @property
    def is_first(self) -> bool:
        """Of the one that speaks, and writes what is made of all pieces."""
        return self.rank == 0

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Its items of a list that all processes have."""
        return items[self.rank :: self.ranks]

    def place(self, out: Path) -> Path:
        """A folder that is this process's own: two evaluations of one rank shut each other out there. Raises UsageError
        where there can be none."""
        found = out if self.ranks == 1 or self.is_first else out / "ranks" / str(self.rank)
        try:
            found.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{out} cannot be made a folder to write to ({error.strerror}); give another with --out"
            ) from error
        return found

    def wait(self, left: Callable[[], int], what: str) -> None:
        """Until nothing is left. Raises UsageError when for long nothing has come."""
        before, since = left(), time.monotonic()
        while before:
            time.sleep(POLL_S)
            now = left()
            if now != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > STALLED_S:
                raise UsageError(
                    f"{now} {what} of other processes have not come, and none in the last {STALLED_S / 3600:.0f} hours; "
                    "see what ended those, and give the same command again: it goes on from what is there"
                )


def share_here(environment: Mapping[str, str] = os.environ) -> Share:
    """The share that the environment gives to this process; all of it where it says nothing. Raises UsageError."""
    for rank, ranks in NAMES:
        if rank in environment and ranks in environment:
            share = Share(_number(environment, rank), _number(environment, ranks))
            if share.rank >= share.ranks:
                raise UsageError(
                    f"{rank} is {share.rank} and {ranks} {share.ranks}; ranks count from 0 and end below {ranks}: start all "
                    f"processes with torchrun or srun, or unset both to evaluate in this one alone"
                )
            return share
    return Share()


def local_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Which of the processes on this machine this is; 0 where the environment does not say. Raises UsageError."""
    return next((_number(environment, name) for name in LOCAL_NAMES if name in environment), 0)


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment[name]
    if not (value.isascii() and value.isdigit()):
        raise UsageError(
            f"{name} is '{value}' in the environment; expected a whole number from 0 on, as torchrun and srun set it: "
            "unset it to evaluate in this process alone"
        )
    return int(value)
