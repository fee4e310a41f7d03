"""Jobs of two nodes on a real SLURM: what takes a node away from them is as if it had not been."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from hallo3_lightning.ablation.runs import RunFolder
from tests.behaviour.studio import ROOT, Studio, checkpoint, scalars
from tests.behaviour.test_resume import same
from tests.slurm.cluster import asked
from tests.slurm.conftest import TWO_NODES
from tests.slurm.pace import slow_at_first
from tests.slurm.waiting import until

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

OVER = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL")
LIMIT = ("--slurm.nodes=2", "--slurm.partition=low")


def typed(environment: Mapping[str, str], *arguments: str) -> str:
    """What `hallo3 ...` says."""
    command = [sys.executable, "-m", "hallo3_lightning.cli", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_job(environment: Mapping[str, str], job: str, fact: str) -> str:
    """A fact that SLURM has of a job, such as its JobState."""
    shown = asked(dict(environment), "scontrol", "show", "job", "-o", job)
    found = re.search(rf"\b{fact}=(\S+)", shown)
    return found[1] if found else ""


def output_of(run: RunFolder) -> str:
    """The end of all that its jobs wrote."""
    files = sorted(file for file in (run.path / "slurm").rglob("*") if file.suffix in (".log", ".out", ".err"))
    return "\n".join(f"-- {file.name}\n{file.read_text()[-3000:]}" for file in files)


def ends_as(unbroken: RunFolder, run: RunFolder, environment: Mapping[str, str], job: str) -> bool:
    """Whether the job was requeued, is completed, and left the same weights, optimizer, average and curves."""
    try:
        until(f"{run.path} is finished", lambda: of_job(environment, job, "JobState") in OVER, 300)
    except TimeoutError as error:
        raise TimeoutError(f"{error}; job {job} wrote:\n{output_of(run)}") from error
    one, other = checkpoint(unbroken), checkpoint(run)
    assert of_job(environment, job, "Restarts") == "1", output_of(run)
    assert of_job(environment, job, "JobState") == "COMPLETED", output_of(run)
    assert same(one["state_dict"], other["state_dict"])
    assert same(one["optimizer_states"], other["optimizer_states"])
    return scalars(run, "train/loss") == scalars(unbroken, "train/loss")


def test_a_job_that_is_preempted_goes_on(slurm, studio: Studio, unbroken, tmp_path: Path):
    command = ("fit", *studio.identity, *TWO_NODES, f"--run.root={tmp_path}", slow_at_first(1.0))
    run = studio.place(*command)
    said = typed(slurm, *command, *LIMIT, "--slurm.time=10")
    assert str(run.path) in said
    job = re.findall(r"job (\d+)", said)[0]
    until("it trains", lambda: run.status().step >= 2, 120)
    asked(slurm, "sbatch", "--exclusive", "-p", "high", "-N", "2", "-o", f"{tmp_path}/high.log", "--wrap", "sleep 1")
    assert ends_as(unbroken, run, slurm, job)


def test_a_job_that_runs_out_of_time_goes_on(slurm, studio: Studio, unbroken, tmp_path: Path):
    """Its 60 steps take three minutes at first, its limit is two, and SLURM tells it half a minute before, or a minute."""
    command = ("fit", *studio.identity, *TWO_NODES, f"--run.root={tmp_path}", slow_at_first(3.0))
    run = studio.place(*command)
    script = tmp_path / "job.sh"
    script.write_text(typed(slurm, *command, *LIMIT, "--slurm.time=2", "--slurm.signal_margin_s=30", "--print-sbatch"))
    job = re.findall(r"job (\d+)", asked(slurm, "sbatch", str(script)))[0]
    assert ends_as(unbroken, run, slurm, job)


def test_a_job_that_somebody_cancels_is_saved_and_not_requeued(slurm, studio: Studio, tmp_path: Path):
    command = ("fit", *studio.identity, *TWO_NODES, f"--run.root={tmp_path}", slow_at_first(1.0))
    run = studio.place(*command)
    job = re.findall(r"job (\d+)", typed(slurm, *command, *LIMIT, "--slurm.time=10"))[0]
    until("it trains", lambda: run.status().step >= 2, 120)
    asked(slurm, "scancel", job)
    until("it is stopped", lambda: run.status().state == "stopped", 60)
    until("the job is cancelled", lambda: of_job(slurm, job, "JobState") == "CANCELLED", 60)
    assert checkpoint(run)["global_step"] >= 2
    assert of_job(slurm, job, "Restarts") == "0"
