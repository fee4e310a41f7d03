"""How a run becomes many processes: torchrun starts and restarts them, SLURM is asked for them."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lightning import Callback, LightningModule, Trainer

from hallo3_lightning.ablation.runs import named
from hallo3_lightning.cli import main
from hallo3_lightning.training.launching import requeue
from hallo3_lightning.training.settings import settings_of
from tests.behaviour.conftest import studio  # noqa: F401  (a fixture)
from tests.behaviour.studio import ROOT, checkpoint, scalars
from tests.behaviour.test_resume import same

TWO_RANKS = (
    "--trainer.devices=2",
    "--trainer.strategy=ddp",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.max_steps=5",
    "--trainer.val_check_interval=100",
    "--run.checkpoint_every=2",
)


class KillOnce(Callback):
    """Ends the second rank as a broken machine would, before the fourth step; only the first time."""

    def __init__(self, done: str) -> None:
        self.done = Path(done)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == 3 and trainer.global_rank == 1 and not self.done.exists():
            self.done.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def torchrun(*arguments: str) -> "subprocess.Popen[str]":
    """What the README says: `torchrun ... -m hallo3_lightning.cli fit ...`."""
    restarting = ["--standalone", "--nproc-per-node=2", "--max-restarts=2", "-m", "hallo3_lightning.cli"]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", *restarting, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_torchrun_starts_ranks_again_and_they_go_on(studio, tmp_path):  # noqa: F811
    whole = ("fit", *studio.identity, *TWO_RANKS, f"--run.root={tmp_path / 'whole'}")
    broken = ("fit", *studio.identity, *TWO_RANKS, f"--run.root={tmp_path / 'broken'}")
    kill = {"class_path": f"{__name__}.KillOnce", "init_args": {"done": str(tmp_path / "killed")}}
    processes = [torchrun(*whole), torchrun(*broken, f"--trainer.callbacks={json.dumps(kill)}")]
    try:
        said = [process.communicate(timeout=250)[0] for process in processes]
    finally:
        for process in processes:
            process.terminate()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    assert (tmp_path / "killed").exists()
    unbroken, run = studio.place(*whole), studio.place(*broken)
    assert "connectFullMesh" not in said[1], "the restarted ranks look for each other, not for the dead"
    assert said[0].count(f"finished: {unbroken.path}\n") == 1, "the first rank alone speaks"
    one, other = checkpoint(unbroken), checkpoint(run)
    assert same(one["state_dict"], other["state_dict"])
    assert same(one["optimizer_states"], other["optimizer_states"])
    assert scalars(run, "train/loss") == scalars(unbroken, "train/loss"), "no step is missing, doubled or different"


JOB = (
    "--slurm.nodes=2",
    "--slurm.partition=low",
    "--slurm.time=90",
    "--slurm.signal_margin_s=45",
    "--slurm.mem=10G",
    "--slurm.setup=[module load cuda]",
)


def script_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--print-sbatch"])
    assert ended.value.code == 0
    return capsys.readouterr().out.splitlines()


def test_the_printed_script_is_the_command_as_a_job(studio, tmp_path, capsys):  # noqa: F811
    named = f"--run.folder={tmp_path}/a name with spaces"
    command = ("fit", *studio.identity, "--trainer.devices=4", named, *JOB)
    script = script_of(capsys, *command)
    options = {line.removeprefix("#SBATCH ") for line in script if line.startswith("#SBATCH ")}
    assert options == {
        "--nodes=2",
        "--ntasks-per-node=4",
        "--mem=10G",
        "--partition=low",
        "--job-name='a name with spaces'",
        "--time=90",
        "--signal=USR1@45",
        "--open-mode=append",
        f"--output='{tmp_path}/a name with spaces/slurm/%j.log'",
        "--requeue",
    }
    assert script[0] == "#!/bin/bash"
    assert "module load cuda" in script
    srun, stop, *typed = shlex.split(script[-1])
    assert (srun, stop, typed[:3]) == ("srun", "--kill-on-bad-exit=1", [sys.executable, "-m", "hallo3_lightning.cli"])
    inside, outside = settings_of(typed[4:]), settings_of(command[1:])
    assert inside["slurm"].pop("nodes") == 0, "a job does not submit itself again"
    assert inside["trainer"].pop("num_nodes") == outside["slurm"].pop("nodes") == 2
    outside["trainer"].pop("num_nodes")
    assert inside == outside


def test_every_start_of_a_job_has_another_port(studio, tmp_path, capsys):  # noqa: F811
    script = script_of(capsys, "fit", *studio.identity, f"--run.folder={tmp_path}", *JOB)
    export = next(line for line in script if "MASTER_PORT" in line)
    ports = set()
    for job in ("7", "8"):
        for restarts in ({}, {"SLURM_RESTART_COUNT": "1"}, {"SLURM_RESTART_COUNT": "2"}):
            asked = ["bash", "-c", f"{export}; echo $MASTER_PORT"]
            said = subprocess.run(asked, env={"SLURM_JOB_ID": job} | restarts, capture_output=True, text=True).stdout
            ports.add(int(said))
    assert len(ports) == 6
    assert all(20000 <= port < 40000 for port in ports)


def test_a_job_writes_where_its_run_will_be(studio, tmp_path, capsys):  # noqa: F811
    """Clips of a step, by which a run is named among others, count the ranks of all nodes."""
    script = script_of(capsys, "fit", *studio.identity, f"--run.root={tmp_path}", "--trainer.devices=4", *JOB)
    inside = settings_of(shlex.split(script[-1])[6:])
    assert f"#SBATCH --output={named(inside).path}/slurm/%j.log" in script
    assert f"#SBATCH --job-name={named(inside).path.name}" in script


def test_gpus_are_asked_for_where_they_are_used(studio, tmp_path, capsys):  # noqa: F811
    on_gpus = (
        "fit",
        *studio.identity,
        f"--run.folder={tmp_path}",
        *JOB,
        "--trainer.accelerator=auto",
        "--trainer.devices=8",
    )
    script = script_of(capsys, *on_gpus, "--slurm.requeue=false")
    assert {"#SBATCH --gpus-per-node=8", "#SBATCH --ntasks-per-node=8", "#SBATCH --no-requeue"} <= set(script)
    assert "--cpus-per-task" not in script[-1]


def test_each_process_gets_the_cores_that_the_job_has(studio, tmp_path, capsys):  # noqa: F811
    """Since SLURM 22.05 srun does not take them over from sbatch."""
    cores = ("--trainer.devices=4", f"--run.folder={tmp_path}", *JOB, "--slurm.cpus_per_task=16")
    script = script_of(capsys, "fit", *studio.identity, *cores)
    assert "#SBATCH --cpus-per-task=16" in script
    assert script[-1].startswith("srun --kill-on-bad-exit=1 --cpus-per-task=16 ")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("--trainer.devices=auto", "trainer.devices is auto; a job must know how many GPUs of a node it takes"),
        ("--slurm.time=1", "slurm.signal_margin_s is 120 and slurm.time 1 minutes"),
        ("--parallel.shard=5", "makes 5 ranks, but trainer.num_nodes 2 x trainer.devices 1 gives 2; make them equal"),
        ("--slurm.partitoin=low", "no setting 'slurm.partitoin'; did you mean 'slurm.partition'?"),
        ("--run.signals_every=0", "run.signals_every is 0; expected 1 or more optimizer steps"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(given, says, studio, tmp_path, capsys):  # noqa: F811
    printed = [] if "signals_every" in given else ["--slurm.nodes=2", "--print-sbatch"]
    assert main(["fit", *studio.identity, f"--run.folder={tmp_path}", *printed, given]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_without_slurm_there_is_nothing_to_submit_to(studio, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["fit", *studio.identity, f"--run.folder={tmp_path}/run", *JOB]) == 2
    assert "slurm.nodes is 2, but " in capsys.readouterr().err


def test_a_process_of_no_job_requeues_nothing(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    assert requeue() is False
