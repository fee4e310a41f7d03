"""Training that goes on with another number of ranks: the same samples, the same noise, the same end.

Every leg is `hallo3 fit` in processes of their own, killed with SIGKILL in the middle, all but the last.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from hallo3_lightning.training.checkpoints import newest, step_of, tensors_of
from tests.behaviour.studio import ROOT, Studio

STEPS, SAVED_EVERY, GLOBAL_BATCH = 12, 3, 4


@dataclass(frozen=True)
class Leg:
    """Processes, batches a step that each of them takes, and at which checkpoint they are killed."""

    ranks: int
    accumulate: int
    workers: int
    killed_at: int | None


CHAIN = (Leg(1, 4, 2, 3), Leg(2, 2, 0, 6), Leg(4, 1, 1, 9), Leg(1, 4, 0, None))


def command(studio: Studio, folder: Path, leg: Leg) -> list[str]:
    spread = [f"--parallel.shard={leg.ranks}", f"--trainer.devices={leg.ranks}"] if leg.ranks > 1 else []
    return [
        *(sys.executable, "-m", "hallo3_lightning.cli", "fit", *studio.identity, *spread),
        f"--trainer.max_steps={STEPS}",
        f"--trainer.accumulate_grad_batches={leg.accumulate}",
        f"--data.batch_size={GLOBAL_BATCH // leg.ranks // leg.accumulate}",
        f"--data.num_workers={leg.workers}",
        "--trainer.limit_val_batches=0",
        f"--run.checkpoint_every={SAVED_EVERY}",
        f"--run.folder={folder}",
        "--seed_everything=3",
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(typed: list[str], ranks: int) -> list["subprocess.Popen[bytes]"]:
    """One process a rank, as torchrun starts them."""
    port, processes = free_port(), []
    for rank in range(ranks):
        placed: Mapping[str, str] = {}
        if ranks > 1:
            placed = {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
            placed |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
            placed |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **placed}
        processes.append(subprocess.Popen(typed, cwd=ROOT, env=environment, start_new_session=True))
    return processes


def played(typed: list[str], leg: Leg, checkpoints: Path) -> None:
    """Run a leg to its end, or kill all of it when its checkpoint is there."""
    processes = started(typed, leg.ranks)
    if leg.killed_at is None:
        assert [process.wait(timeout=240) for process in processes] == [0] * leg.ranks
        return
    while (last := newest(checkpoints)) is None or step_of(last) < leg.killed_at:
        assert all(process.poll() is None for process in processes), f"{leg} ended before it was killed"
        time.sleep(0.02)
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)


@pytest.mark.timeout(600)
def test_one_rank_then_two_then_four_then_one(studio, tmp_path):
    """Each step takes the same clips; ranks and accumulation say only who reads which and in what order sums are made."""
    played(command(studio, tmp_path / "unbroken", CHAIN[-1]), CHAIN[-1], tmp_path / "unbroken" / "checkpoints")
    for leg in CHAIN:
        played(command(studio, tmp_path / "chain", leg), leg, tmp_path / "chain" / "checkpoints")
    one, other = (tensors_of(newest(tmp_path / name / "checkpoints")) for name in ("unbroken", "chain"))
    assert one.keys() == other.keys()
    far = {name: float((one[name].double() - other[name].double()).abs().max()) for name in one if one[name].numel()}
    assert max(far.values()) <= 1e-6, max(far, key=lambda name: far[name])
    assert torch.equal(one["state_dict.average.updates"], other["state_dict.average.updates"])
