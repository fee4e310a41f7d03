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
        """A folder that is this process's own: two evaluations of one rank shut each other out there."""
        found = out if self.ranks == 1 or self.is_first else out / "ranks" / str(self.rank)
        found.mkdir(parents=True, exist_ok=True)
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
    """The share that the environment gives to this process; all of it where it says nothing."""
    for rank, ranks in NAMES:
        if rank in environment and ranks in environment:
            return Share(int(environment[rank]), int(environment[ranks]))
    return Share()
