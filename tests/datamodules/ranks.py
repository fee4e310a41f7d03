"""A small training that may be killed: real ranks of Lightning's DDP over gloo, the real data module, a linear model."""

import json
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from einops import reduce
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn

from datamodules.talking_head import TalkingHead, data_parallel_place
from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.clip_mean import ClipMean
from hallo3_lightning.training.checkpoints import newest
from hallo3_lightning.training.resume import CountTrained
from hallo3_lightning.training.saving import EveryFewSteps
from hallo3_lightning.training.writing import Folders

PATIENCE_S = 60
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["lightning", "datamodules.talking_head", "hallo3_lightning.evaluation.clip_mean"])


@dataclass(frozen=True)
class Leg:
    """One start of the training: ranks, clips of a micro-batch, micro-batches of a step, and where rank 0 dies.

    dies_at: micro-batches of this leg before rank 0 kills itself; None to reach the end.
    """

    world: int
    batch_size: int
    accumulate: int
    workers: int
    steps: int
    dies_at: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


class Linear(LightningModule):
    """Guesses the mean of the reference from the mean of each frame and the sound's loudness."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 1)
        self.mean = ClipMean()

    def errors(self, batch: Batch) -> Tensor:
        frames = reduce(batch.video.float(), "b f c h w -> b f", "mean") / 255
        loud = batch.waveform.abs().mean(dim=1, keepdim=True)
        wanted = reduce(batch.reference.float(), "b c h w -> b 1", "mean") / 255
        return reduce((self.layer(torch.cat([frames, loud], dim=1)) - wanted) ** 2, "b 1 -> b", "sum")

    def training_step(self, batch: Batch) -> Tensor:
        return self.errors(batch).mean()

    def validation_step(self, batch: Batch) -> None:
        errors = self.errors(batch)
        self.mean.update(errors, batch)
        self.log("error", self.mean, batch_size=len(batch))
        self.all_gather(errors.sum())  # like a sharded forward pass, hangs where ranks have unequally many batches

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), 0.01)


class Watch(Callback):
    """Writes "step position key" of each clip before it is trained on, and dies where it is told."""

    def __init__(self, keys: Path, dies_at: int | None) -> None:
        self.keys = keys
        self.dies_at = dies_at
        self.batches = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, *_: Any) -> None:
        if self.batches == self.dies_at and trainer.global_rank == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.batches += 1
        with self.keys.open("a") as file:
            for position, key in zip(batch.positions.tolist(), batch.keys, strict=True):
                file.write(f"{trainer.global_step} {position} {key}\n")


def trainer_of(leg: Leg, folder: Path, **options: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=leg.world,
        strategy="ddp" if leg.world > 1 else "auto",
        max_steps=leg.steps,
        accumulate_grad_batches=leg.accumulate,
        use_distributed_sampler=False,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


def train(leg: Leg, folder: Path, name: str, rank: int) -> None:
    """Go on from the newest checkpoint of the folder."""
    folder.mkdir(exist_ok=True)
    watch = Watch(folder / f"{name}-rank{rank}.log", leg.dies_at)
    callbacks = [CountTrained(), watch, EveryFewSteps(folder / "checkpoints", every=3)]
    trainer = trainer_of(leg, folder, callbacks=callbacks, plugins=[Folders()], limit_val_batches=0)
    data = TalkingHead(batch_size=leg.batch_size, num_workers=leg.workers, clip_frames=5, eval_frames=5, **leg.data)
    trainer.fit(Linear(), datamodule=data, ckpt_path=newest(folder / "checkpoints"), weights_only=True)


def validate(leg: Leg, folder: Path, rank: int) -> None:
    """Train, and validate after the second step; writes this rank's rows, its error, and its place."""
    folder.mkdir(exist_ok=True)
    data = TalkingHead(batch_size=leg.batch_size, clip_frames=5, eval_frames=5, eval_batch_size=2, **leg.data)
    rows = Rows()
    trainer = trainer_of(leg, folder, callbacks=[CountTrained(), rows], val_check_interval=leg.steps)
    trainer.fit(Linear(), datamodule=data)
    error = float(trainer.callback_metrics["error"])
    said = {"rows": rows.rows, "batches": rows.batches, "error": error, "seen": data.samples_seen}
    (folder / f"{leg.world}-rank{rank}.json").write_text(json.dumps(said))


class Rows(Callback):
    """Which clips were validated: key, position, and whether it counts."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, bool]] = []
        self.batches = 0

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, *_: Any) -> None:
        self.rows += zip(batch.keys, batch.positions.tolist(), batch.counted.tolist(), strict=True)
        self.batches += 1


def place(leg: Leg, folder: Path, rank: int) -> None:
    """Where ranks that share one replica of a model stand, and where they do not."""
    strategy = ModelParallelStrategy(data_parallel_size=1, tensor_parallel_size=2, process_group_backend="gloo")
    trainer = Trainer(accelerator="cpu", devices=2, strategy=strategy, use_distributed_sampler=False, logger=False)
    trainer.strategy.connect(Linear())
    trainer.strategy.setup_environment()
    (folder / f"place{rank}.json").write_text(json.dumps(data_parallel_place(trainer)))
    trainer.strategy.barrier()  # else the first to end takes the meeting place of the others with it


def started(work: Any, leg: Leg, *arguments: Any) -> list[int | None]:
    """Run work(leg, *arguments, rank) on every rank; exit statuses. When one rank dies, the others are killed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [SERVER.Process(target=_rank, args=(rank, port, work, leg, arguments)) for rank in range(leg.world)]
    for process in ranks:
        process.start()
    ranks[0].join(PATIENCE_S)
    for process in ranks[1:]:
        process.join(PATIENCE_S if ranks[0].exitcode == 0 else 0)
    for process in ranks:
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in ranks]


def _rank(rank: int, port: int, work: Any, leg: Leg, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    if leg.world > 1:
        os.environ |= {
            "TORCHELASTIC_RUN_ID": "test",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(leg.world),
            "LOCAL_WORLD_SIZE": str(leg.world),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "GROUP_RANK": "0",
        }
    work(leg, *arguments, rank)
