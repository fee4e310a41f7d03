"""What SLURM has of our arrays, asked of its queue: `sacct`, which submitit asks, needs accounting storage, and a cluster
may do without. An array is known here by its name."""

import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass

PATIENCE_S = 60
"""For an answer of the scheduler."""
FORM = "%j|%K|%i|%T|%N|%r"
"""Name, index in the array, number, state, nodes, reason."""
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "SUSPENDED")


@dataclass(frozen=True)
class Task:
    """A task of an array that is in the queue: waiting, or at work on `node`."""

    number: str
    state: str
    node: str = ""
    reason: str = ""

    @property
    def waits(self) -> bool:
        return self.state in WAITING

    def __str__(self) -> str:
        if self.waits:
            return f"job {self.number} waits ({self.reason})"
        return f"job {self.number} on {self.node}" if self.node else f"job {self.number}"


Tasks = Mapping[tuple[str, int], Task]
"""By the name of the array and the task's index in it."""


def tasks(arrays: Collection[str]) -> Tasks | None:
    """Every task of these arrays that is waiting or at work; None where the scheduler does not answer."""
    named = sorted(set(arrays) - {""})
    if not named:
        return {}
    command = ["squeue", "--noheader", "--array", f"--name={','.join(named)}", f"--format={FORM}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(_parsed(line) for line in done.stdout.splitlines() if line.count("|") >= FORM.count("|"))


def _parsed(line: str) -> tuple[tuple[str, int], Task]:
    array, index, number, state, node, reason = line.split("|", 5)
    return (array, int(index) if index.isdigit() else 0), Task(number, state, node, reason)
