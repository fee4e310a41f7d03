"""Where runs are carried out: this machine (queue_local.py) or SLURM (queue_slurm.py)."""

from collections.abc import Sequence
from typing import Protocol

from hallo3_lightning.ablation.jobs import Job


class Queue(Protocol):
    """What a launcher needs of it."""

    poll_s: float
    """Seconds between two looks."""
    parallel: int
    """Runs at once."""
    hurry: bool
    """Set where stopping takes too long for somebody."""

    def look(self, jobs: Sequence[Job]) -> None:
        """Bring the stage of every job that is on its way up to date."""

    def start(self, jobs: Sequence[Job]) -> None:
        """Start those that can be started now."""

    def stop(self, jobs: Sequence[Job]) -> str:
        """The launcher was told to stop; says what became of its jobs."""

    def cancel(self, jobs: Sequence[Job]) -> str:
        """End every job; says what became of them."""
