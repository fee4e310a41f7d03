"""Runs as many processes: ranks that torchrun started again, and jobs on SLURM (script, submission, requeueing).

A job that is requeued types its command again, and goes on from the newest complete checkpoint in the run's folder.
"""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.parallel import Parallel

if TYPE_CHECKING:
    from submitit import SlurmExecutor

PRINT = "--print-sbatch"

PORT = "export MASTER_PORT=$((20000 + (SLURM_JOB_ID * 17 + ${SLURM_RESTART_COUNT:-0}) % 20000))"
"""Another one at every start: that of a start before may still be taken."""

PATIENCE_S = 60
"""For an answer of the scheduler."""


@dataclass(frozen=True)
class Slurm:
    """A job on SLURM.

    Args:
        nodes: machines of the job; 0 trains here and now.
        partition: where it waits.
        account: who pays.
        qos: quality of service.
        constraint: features that its nodes must have.
        time: minutes until SLURM ends it; it is requeued and goes on.
        signal_margin_s: seconds before that at which it is told to save; more than a step and a checkpoint take.
        requeue: whether a job that is preempted or out of time goes back into the queue.
        cpus_per_task: cores of each process.
        mem: main memory of a node, as SLURM writes it (200G).
        setup: lines of shell that come before the command.
    """

    nodes: int = 0
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: int = 1440
    signal_margin_s: int = 120
    requeue: bool = True
    cpus_per_task: int | None = None
    mem: str | None = None
    setup: Sequence[str] = ()


def sbatch_script(arguments: Sequence[str], settings: Mapping[str, Any], run: RunFolder) -> str:
    """What `sbatch` takes to run `hallo3 <arguments>`; settings are those of `as_in_job`.

    Makes the folder of its output, which SLURM does not.
    """
    (run.path / "slurm").mkdir(parents=True, exist_ok=True)
    job, nodes = asked_for(settings), settings["trainer"]["num_nodes"]
    lines_of = options(settings) | {
        "job-name": run.path.name,
        "time": job.time,
        "signal": f"USR1@{job.signal_margin_s}",
        "open-mode": "append",
        "output": f"{run.path.absolute()}/slurm/%j.log",
    }
    lines = [f"#SBATCH --{name}={shlex.quote(str(value))}" for name, value in lines_of.items()]
    lines += ["#SBATCH --requeue" if job.requeue else "#SBATCH --no-requeue", "", PORT, *job.setup]
    typed = shlex.join([sys.executable, "-m", "hallo3_lightning.cli", *command_in_job(arguments, nodes)])
    lines += [f"cd {shlex.quote(str(Path.cwd()))}", shlex.join(["srun", *_srun(job)]) + f" {typed}"]
    return "\n".join(["#!/bin/bash", *lines, ""])


def submit(arguments: Sequence[str], settings: Mapping[str, Any], run: RunFolder) -> str:
    """Give `hallo3 <arguments>` to SLURM; the job's number. Its output goes to slurm/<number>/ in the run's folder."""
    from submitit.core.utils import FailedJobError

    from hallo3_lightning.cli import main

    nodes = settings["trainer"]["num_nodes"]
    jobs = executor(run.path.absolute() / "slurm/%j", run.path.name, settings)
    try:
        return str(jobs.submit(main, command_in_job(arguments, nodes)).job_id)
    except (FailedJobError, subprocess.CalledProcessError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"SLURM refused the job ({reason}); mend the settings of slurm") from None


def executor(folder: Path, name: str, settings: Mapping[str, Any]) -> "SlurmExecutor":
    """What gives jobs of these settings to SLURM; its own files go to the folder, in which %j is the job's number."""
    from submitit import SlurmExecutor

    job, nodes = asked_for(settings), settings["trainer"]["num_nodes"]
    try:
        found = SlurmExecutor(folder)
    except RuntimeError as error:
        raise UsageError(f"slurm.nodes is {nodes}, but {error}; submit from a login node, or leave it out") from None
    found.update_parameters(
        **{name.replace("-", "_"): value for name, value in options(settings).items()},
        job_name=name,
        time=job.time,
        signal_delay_s=job.signal_margin_s,
        setup=[PORT, *job.setup],
        srun_args=_srun(job),
        additional_parameters={"requeue" if job.requeue else "no-requeue": True},
    )
    return found


def as_in_job(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that a submitted job sees: its nodes are those of the trainer, by which its run is named."""
    nodes = settings["slurm"]["nodes"] or settings["trainer"]["num_nodes"]
    return settings | {"trainer": settings["trainer"] | {"num_nodes": nodes}}


def command_in_job(arguments: Sequence[str], nodes: int) -> list[str]:
    """The command that each process of the job runs: the one given, without submitting it again."""
    given = [argument for argument in arguments if argument != PRINT]
    return [*given, "--slurm.nodes=0", f"--trainer.num_nodes={nodes}"]


def requeue() -> bool:
    """Put the SLURM job that this process is of back into the queue; whether there was one, and it was put.

    SLURM kills the job's processes soon after. A job that somebody cancelled stays cancelled: SLURM sends it the same
    signal, but no longer calls it running.
    """
    job = _job_id()
    if job is None:
        return False
    try:
        shown = _scontrol("show", "job", "-o", job)
        found = re.search(r"JobState=(\w+)", shown)
        if found is None or found[1] != "RUNNING":
            return False
        _scontrol("requeue", job)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or error
        sys.stderr.write(f"job {job} was not put back into the queue ({' '.join(str(said).split())})\n")
        return False
    return True


def meet_anew() -> None:
    """Let ranks that torchrun started find each other in a store of their own.

    torch 2.13 lets them share the store of torchrun, which is not emptied when it starts them again: ranks then find the
    addresses of the dead among those of the living, and which they read is a matter of who comes first. Where ranks
    make their own store they do so at MASTER_PORT; so the first one chooses a port, and tells it through the shared one.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    from torch.distributed import TCPStore

    shared = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    key = f"hallo3 port {os.environ['TORCHELASTIC_RESTART_COUNT']}"
    if os.environ["RANK"] == "0":
        with socket.socket() as found:
            found.bind(("", 0))
            shared.set(key, str(found.getsockname()[1]))
    os.environ["MASTER_PORT"] = shared.get(key).decode()
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"


def _scontrol(*arguments: str) -> str:
    return subprocess.run(
        ["scontrol", *arguments], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    ).stdout


def _job_id() -> str | None:
    """Of the job that `srun` started this process in."""
    if "SLURM_PROCID" not in os.environ or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")


def asked_for(settings: Mapping[str, Any]) -> Slurm:
    """The job that the settings ask for; UsageError where it could not save itself in time."""
    given = settings["slurm"]
    job = Slurm(**{field.name: given[field.name] for field in fields(Slurm)})
    if job.signal_margin_s >= 60 * job.time:
        raise UsageError(
            f"slurm.signal_margin_s is {job.signal_margin_s} and slurm.time {job.time} minutes: the job would be told to "
            "save before it starts; give more time or less margin"
        )
    return job


def _srun(job: Slurm) -> list[str]:
    """Options of srun; since SLURM 22.05 it does not take over the cores that sbatch was given."""
    return ["--kill-on-bad-exit=1", *([f"--cpus-per-task={job.cpus_per_task}"] if job.cpus_per_task else [])]


def options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Options that sbatch and submitit share; those not given are left to the cluster."""
    job, nodes = asked_for(settings), settings["trainer"]["num_nodes"]
    devices = _devices(settings["trainer"]["devices"])
    Parallel(**settings["parallel"]).refuse_other_world(nodes, devices)
    on_cpu = settings["trainer"]["accelerator"] == "cpu"
    given = {
        "nodes": nodes,
        "ntasks-per-node": devices,
        "gpus-per-node": None if on_cpu else devices,
        "cpus-per-task": job.cpus_per_task,
        "mem": job.mem,
        "partition": job.partition,
        "account": job.account,
        "qos": job.qos,
        "constraint": job.constraint,
    }
    return {name: value for name, value in given.items() if value is not None}


def _devices(given: Any) -> int:
    """Processes on a node."""
    if isinstance(given, list):
        return len(given)
    if str(given).isdigit() and int(given) > 0:
        return int(given)
    raise UsageError(
        f"trainer.devices is {given}; a job must know how many GPUs of a node it takes: give their number, as in "
        "--trainer.devices 8"
    )
