"""How long a grid will still take, from the measured speeds of its runs and nothing else."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.status import duration

SETTLED_S = 3.0
"""A speed measured over less time than this is not yet one."""


@dataclass(frozen=True)
class TimeLeft:
    """Seconds until the last run ends, None while no speed is known.

    `at_least`: no run has ended yet, so that start, evaluation and pictures are not known and not counted.
    """

    seconds: float | None
    at_least: bool = False

    def __str__(self) -> str:
        if self.seconds is None:
            return "time left: not known before the first steps"
        return f"time left: {'more than' if self.at_least else 'about'} {duration(self.seconds)}"


def time_left(jobs: Sequence[Job], parallel: int) -> TimeLeft:
    """Play the rest of the grid through, `parallel` runs side by side, at the speeds seen so far."""
    if all(_step_s(job) is None for job in jobs):
        return TimeLeft(0.0 if all(job.done for job in jobs) else None)
    overhead = _mean(_overhead_s(job) for job in jobs)
    left = [job for job in jobs if not job.done and not _cannot_run(job)]
    seconds = played(left, parallel, lambda job: _remaining_s(job, jobs, overhead or 0.0))
    return TimeLeft(seconds, at_least=overhead is None and bool(left))


def played(jobs: Sequence[Job], parallel: int, seconds_of: Callable[[Job], float]) -> float:
    """Seconds until the last job ends when so many go side by side, each after the one that it starts from."""
    ends: dict[str, float] = {}
    slots = [0.0] * parallel
    for job in sorted(jobs, key=lambda job: not job.running):
        slot = min(range(parallel), key=slots.__getitem__)
        begin = max(slots[slot], ends.get(job.needs.name, 0.0) if job.needs else 0.0)
        slots[slot] = ends[job.name] = begin + seconds_of(job)
    return max(slots)


def _remaining_s(job: Job, jobs: Sequence[Job], overhead: float) -> float:
    steps = max(_max_steps(job) - job.status.step, 0)
    alike = [other for other in jobs if other.config.get("phase") == job.config.get("phase")]
    pace = _step_s(job) or _mean(map(_step_s, alike)) or _mean(map(_step_s, jobs)) or 0.0
    spent = time.monotonic() - job.started_s - _stepping_s(job) if job.stage == "ours" else 0.0
    return steps * pace + max(overhead - spent, 0.0)


def _step_s(job: Job) -> float | None:
    """Seconds a step, as seen by us, else as the run itself has recorded."""
    if job.first_step and job.last_step and _stepping_s(job) > SETTLED_S:
        return _stepping_s(job) / (job.last_step[1] - job.first_step[1])
    if job.stage != "failed" and job.status.step and job.status.seconds > SETTLED_S:
        return job.status.seconds / job.status.step
    return None


def _stepping_s(job: Job) -> float:
    """Seconds between the first and the last step that we saw."""
    return job.last_step[0] - job.first_step[0] if job.first_step and job.last_step else 0.0


def _overhead_s(job: Job) -> float | None:
    """Seconds of a finished process of ours that were not steps: imports, evaluation, pictures."""
    return None if job.took_s is None else max(job.took_s - _stepping_s(job), 0.0)


def _cannot_run(job: Job) -> bool:
    return job.needs is not None and job.needs.stage == "failed"


def _max_steps(job: Job) -> int:
    if not job.folder.trains:
        return 0
    return job.status.max_steps or int(job.config.get("trainer", {}).get("max_steps") or 0)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
