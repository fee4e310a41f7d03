"""Runs on SLURM: arrays of jobs through submitit, those that others start from before the others.

A launcher submits and watches, and is not needed for anything: it may be killed, and the next one takes from the queue
what is there, from the runs' folders what is finished, and submits the rest.
"""

import json
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from submitit.core.utils import FailedJobError

from hallo3_lightning.ablation import attempts, squeue
from hallo3_lightning.ablation.claims import claimed, is_claimed
from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.ablation.task import become
from hallo3_lightning.errors import UsageError
from hallo3_lightning.training import launching

GONE_S = 6.0
"""A job that left the queue so long ago without a result has failed: a shared file system may tell of its end late."""
UNLIMITED = 256
"""Tasks of an array at once where nobody says how many."""


class SlurmQueue:
    """Submits what is ready, and what waits for something that SLURM has, as arrays.

    Args:
        folder: of the grid; submitit's own files go to slurm/ in it, the output of each run to the run's folder.
        jobs: all that may come.
        settings: of SLURM, on top of those of each run's config.
        parallel: tasks of each array at once.
        retries: how often a run that failed may be tried again.
    """

    poll_s = 2.0
    hurry = False

    def __init__(
        self,
        folder: Path,
        jobs: Sequence[Job],
        settings: Mapping[str, Any],
        parallel: int | None = None,
        retries: int = attempts.RETRIES,
    ) -> None:
        if shutil.which("sbatch") is None:
            raise UsageError(
                "--launcher slurm needs sbatch, which is not here; run it on a login node, or leave it out"
            )
        self.folder, self.retries, self.limit = folder, retries, parallel
        self.parallel = parallel or max(len(jobs), 1)
        self.settings = {job.name: _settings(job.config, settings) for job in jobs}
        for settings_of_run in self.settings.values():
            launching.options(settings_of_run)
        self.gone_since: dict[str, float] = {}
        self.live: squeue.Tasks = {}

    def look(self, jobs: Sequence[Job]) -> None:
        """Bring the stage of each job that is on its way up to date; where SLURM does not answer, leave it."""
        moving = [job for job in jobs if job.stage == "queued" or job.running]
        live = self._asked(moving)
        if live is None:
            return
        for job in moving:
            job.look()
            task = self._task(job)
            if job.has_finished():
                job.finishes()
            elif task is not None:
                self.gone_since.pop(job.name, None)
                self._follow(job, task)
            elif job.status.state != "running" and not is_claimed(job.folder):
                self._miss(job)

    def start(self, jobs: Sequence[Job]) -> None:
        """Submit what neither is finished nor in the queue nor running; a level at a time, as jobs name those before them."""
        while ready := [job for job in jobs if self._may_be_submitted(job)]:
            with claimed(ready) as mine:
                claims = {job.name for job, _ in mine}
                if self._asked(ready) is None:
                    return
                for job in ready:
                    if job.name not in claims:
                        job.stage = "theirs"
                free = [job for job in ready if job.name in claims and self._is_free(job)]
                for group in self._alike(free):
                    self._submit(group)

    def stop(self, jobs: Sequence[Job]) -> str:
        """Leave everything as it is. What is said of it."""
        left = [job for job in jobs if job.stage == "queued" or job.running]
        return f"{len(left)} runs stay on SLURM; the same command watches them again"

    def cancel(self, jobs: Sequence[Job]) -> str:
        """Cancel every job of the grid. What is said of it."""
        self._asked(jobs)
        tasks = [task for job in jobs if not job.done and (task := self._task(job))]
        if tasks:
            subprocess.run(["scancel", *(task.number for task in tasks)], timeout=squeue.PATIENCE_S, check=False)
        return f"cancelled {len(tasks)} jobs; the same command goes on with them"

    def _asked(self, jobs: Sequence[Job]) -> squeue.Tasks | None:
        starts = [attempts.read(job.folder).open for job in jobs]
        live = squeue.tasks([start.array for start in starts if start is not None])
        if live is not None:
            self.live = {**self.live, **live}
            gone = [
                key for key in self.live if key not in live and key[0] in {start.array for start in starts if start}
            ]
            for key in gone:
                del self.live[key]
        return live

    def _task(self, job: Job) -> squeue.Task | None:
        start = attempts.read(job.folder).open
        return None if start is None else self.live.get((start.array, start.task))

    def _follow(self, job: Job, task: squeue.Task) -> None:
        job.note = str(task)
        if task.waits:
            job.stage = "queued"
        elif job.stage != "ours":
            job.begins()

    def _miss(self, job: Job) -> None:
        """It is neither in the queue nor running nor finished."""
        if job.stage == "theirs" and job.status.state != "failed":
            job.stage = "waiting"  # somebody was about to submit it and did not, or ran it elsewhere and died
            return
        late = time.monotonic() - self.gone_since.setdefault(job.name, time.monotonic()) < GONE_S
        if late and job.status.state != "failed":
            return
        said = attempts.settle(job.folder).error
        job.fails(said or "its job left the queue before it began: cancelled, or refused")

    def _may_be_submitted(self, job: Job) -> bool:
        """What it starts from is finished, or has a job that it can be made to wait for."""
        if job.stage != "waiting" or job.needs is None:
            return job.stage == "waiting"
        moving = job.needs.stage == "queued" or job.needs.running
        return job.needs.stage == "finished" or (moving and self._task(job.needs) is not None)

    def _is_free(self, job: Job) -> bool:
        """Whether it is to be submitted; if not, its stage says why."""
        job.look()
        task = self._task(job)
        if job.has_finished():
            job.stage = "finished"
        elif task is not None:
            self._follow(job, task)
        elif job.status.state == "running":
            job.stage = "theirs"
        elif (refusal := attempts.refusal(job.folder, self.retries)) is not None:
            job.fails(refusal)
        else:
            return True
        return False

    def _alike(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Those that one array can hold: with the same options, after the same run."""

        def key(job: Job) -> tuple[str, str]:
            settings = self.settings[job.name]
            options = launching.options(settings) | asdict(launching.asked_for(settings))
            return self._before(job), json.dumps(options, sort_keys=True)

        for _, group in groupby(sorted(jobs, key=key), key):
            yield list(group)

    def _before(self, job: Job) -> str:
        """The number of the job that it waits for, if it waits for one."""
        task = self._task(job.needs) if job.needs is not None and job.needs.stage != "finished" else None
        return "" if task is None else task.number

    def _submit(self, jobs: Sequence[Job]) -> None:
        """As one array. Its name is written into the runs' folders first: whoever comes next finds it in the queue."""
        name = f"{re.sub('[^A-Za-z0-9._-]', '_', self.folder.name)}-{uuid.uuid4().hex[:8]}"
        settings, before = self.settings[jobs[0].name], self._before(jobs[0])
        executor = launching.executor(self.folder.absolute() / "slurm/%j", name, settings)
        executor.update_parameters(array_parallelism=self.limit or UNLIMITED)
        if before:
            executor.parameters["additional_parameters"] |= {"kill-on-invalid-dep": "yes"}
            executor.update_parameters(dependency=f"afterok:{before}")
        for index, job in enumerate(jobs):
            RunFolder.create(job.folder.path, {**job.config, **_in_job(job.config, settings)})
            attempts.begin(job.folder, attempts.Start(time.time(), name, index))
        try:
            with executor.batch():
                for job in jobs:
                    executor.submit(become, job.folder.command(), str(job.folder.log.absolute()))
        except (FailedJobError, subprocess.CalledProcessError) as error:
            for job in jobs:
                attempts.end(job.folder, None)
            raise UsageError(f"SLURM refused the jobs ({' '.join(str(error).split())}); mend --slurm.*") from None
        self._asked(jobs)
        for job in jobs:
            job.stage, job.note = "queued", str(self._task(job) or "")


def _settings(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config with the given settings of SLURM over its own; what is no training takes one process."""
    alone = {"trainer": {"devices": 1, "num_nodes": 1, "accelerator": "cpu"}, "parallel": {}}
    return launching.as_in_job({**alone, **config, "slurm": {**(config.get("slurm") or {}), **given}})


def _in_job(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the job must find in its config: the nodes that it has, whether it may requeue itself, and no new submission."""
    if "slurm" not in config:
        return {}
    return {"trainer": settings["trainer"], "slurm": {**config["slurm"], **settings["slurm"], "nodes": 0}}
