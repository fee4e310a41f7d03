"""Runs on this machine: processes of it, as many at once as it has cores and GPUs for.

Not submitit's local executor, which is made for trying a job out: it has no queue and hands no GPU out (each of its jobs
sees GPU 0), it ends a job two minutes after its start unless told otherwise and kills it one second after asking it to
stop, its processes die with the launcher's terminal, and nothing keeps a second launcher from starting the same run.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from typing import IO, Any

from hallo3_lightning.ablation import attempts, gpus
from hallo3_lightning.ablation.claims import claimed
from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.runs import RunFolder

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
GRACE_S = 30.0
"""Time that a run has to save itself when it is told to stop."""


class LocalQueue:
    """Keeps so many runs going.

    Args:
        jobs: all that may come.
        parallel: runs at once; by default as many as there are GPUs for, or cores where no run takes a GPU.
        retries: how often a run that failed may be tried again.
    """

    poll_s = 0.2

    def __init__(self, jobs: Sequence[Job], parallel: int | None = None, retries: int = attempts.RETRIES) -> None:
        names = gpus.visible() if any(_may_use_gpus(job.config) for job in jobs) else []
        self.gpus = gpus.Gpus(names)
        self.wanted = {job.name: gpus.wanted(job.config, len(names)) for job in jobs}
        most = max(self.wanted.values(), default=0)
        ranks = max((_ranks(job.config) for job in jobs), default=1)
        self.parallel = parallel or max(len(names) // most if most else cores() // ranks, 1)
        self.threads = max(cores() // (self.parallel * ranks), 1)
        self.retries = retries
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.hurry = False
        """Set by a second signal: who is being stopped is killed."""

    def look(self, jobs: Sequence[Job]) -> None:
        """Bring the stage of each job that somebody runs up to date."""
        for job in jobs:
            if job.stage == "ours":
                self._look_at_ours(job)
            elif job.stage == "theirs":
                _look_at_theirs(job)

    def start(self, jobs: Sequence[Job]) -> None:
        """Start what is ready while there is room, or find out that it is finished or that another process has it."""
        for job in jobs:
            if job.ready and sum(other.running for other in jobs) < self.parallel:
                self._start(job)

    def stop(self, jobs: Sequence[Job]) -> str:
        """End our processes: they may save themselves for a while, and are then killed. What is said of it."""
        ours = [job for job in jobs if job.stage == "ours"]
        self._signal(ours, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while any(self.processes[job.name].poll() is None for job in ours):
            if time.monotonic() > deadline or self.hurry:
                self._signal(ours, signal.SIGKILL)
            time.sleep(0.05)
        for job in ours:
            job.look()
            job.stage = "waiting"
            attempts.end(job.folder, None)
        return f"stopped {len(ours)} runs; the same command goes on with them"

    cancel = stop

    def _start(self, job: Job) -> None:
        """Its claim is inherited by the process: until it takes the run's own lock, seconds later, nobody starts it again."""
        with claimed([job]) as mine, ExitStack() as leases:
            if not mine:
                job.stage = "theirs"
                return
            job.look()
            if job.status.state == "running" or job.has_finished():
                job.stage = "theirs" if job.status.state == "running" else "finished"
                return
            refusal = attempts.refusal(job.folder, self.retries)
            if refusal is not None:
                job.fails(refusal)
                return
            handed = self.gpus.take(self.wanted[job.name])
            if handed is None:
                return
            for file in handed.values():
                leases.enter_context(closing(file))
            RunFolder.create(job.folder.path, job.config)
            attempts.begin(job.folder, attempts.Start(time.time()))
            self.processes[job.name] = self._spawned(job.folder, list(handed), [mine[0][1], *handed.values()])
        job.begins()

    def _spawned(self, run: RunFolder, handed: Sequence[str], kept: Sequence[IO[str]]) -> "subprocess.Popen[bytes]":
        """The run's process, in a session of its own so that it outlives us."""
        # who has said how many threads a process may have is obeyed: at tiny sizes two are slower than one
        environment = {**dict.fromkeys(THREADS, str(self.threads)), **os.environ, "PYTHONUNBUFFERED": "1"}
        if self.gpus.names:
            environment[gpus.VISIBLE] = ",".join(handed)
        with run.log.open("ab") as log:
            return subprocess.Popen(
                run.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                pass_fds=[file.fileno() for file in kept],
            )

    def _look_at_ours(self, job: Job) -> None:
        code = self.processes[job.name].poll()
        job.look()
        if code is None:
            return
        if job.status.state == "finished":
            job.finishes()
            attempts.end(job.folder, None)
        elif job.status.state == "running":
            job.stage = "theirs"
        else:
            fresh = job.status.updated >= job.started_at
            job.fails((job.status.error if fresh else "") or _last_words(job.folder, code))
            attempts.end(job.folder, job.error)

    def _signal(self, jobs: Sequence[Job], which: signal.Signals) -> None:
        """To their processes, with all that those have started."""
        for job in jobs:
            process = self.processes[job.name]
            if process.poll() is None:
                os.killpg(process.pid, which)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _look_at_theirs(job: Job) -> None:
    """One that failed is left to the next launch, as one of ours would be; one that vanished is started again."""
    with claimed([job]) as mine:
        job.look()
        if job.status.state == "finished":
            job.finishes()
        elif mine and job.status.state == "failed":
            job.fails(attempts.settle(job.folder).error or job.status.error)
        elif mine and job.status.state != "running":
            job.stage = "waiting"


def _ranks(config: Mapping[str, Any]) -> int:
    """Processes of a run that trains on the CPU."""
    trainer = config.get("trainer", {})
    devices = str(trainer.get("devices", 1))
    return int(devices) if trainer.get("accelerator") == "cpu" and devices.isdigit() else 1


def _may_use_gpus(config: Mapping[str, Any]) -> bool:
    return config.get("trainer", {}).get("accelerator", "cpu") != "cpu"


def _last_words(run: RunFolder, code: int) -> str:
    """What the process said last, else how it ended."""
    last = attempts.last_line(run.log)
    end = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return last if last and code > 0 else end
