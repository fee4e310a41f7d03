"""Trains one small phase in many ways, on as many processes as were started: `python -m tests.training.on_ranks`.

Starting processes takes longer than all the training, so one start plays every case that is asked for.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from datamodules.talking_head import TalkingHead
from hallo3_lightning.conditioning.conditioner import Inputs
from hallo3_lightning.errors import UsageError
from hallo3_lightning.model.encoders.audio.log_mel import LogMel
from hallo3_lightning.model.frozen import Encoders
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.training.optimization import Optimization
from hallo3_lightning.training.parallel import Parallel, strategy_for
from hallo3_lightning.training.per_block import PerBlock
from hallo3_lightning.training.phase import Phase
from hallo3_lightning.training.resume import CountTrained
from tests import tiny

ROOT = Path(__file__).parents[2]
CLIPS = 4
"""Of a micro-batch, all ranks together."""
SIZE = Backbone(
    width=32,
    heads=2,
    blocks=3,
    time_width=24,
    text_width=9,
    text_tokens=6,
    latent_channels=16,
    latent_height=8,
    latent_width=8,
    latent_frames=3,
)
PHASES: dict[str, dict[str, Any]] = {
    "identity": {"identity": "reference_network+face_attention"},
    "audio": {
        "identity": "reference_network",
        "audio": "cross_attention",
        "trainable": ["conditioners.audio_*", "transformer.transformer_blocks.*.adapters.audio_*"],
    },
}


@dataclass(frozen=True)
class Case:
    """One way to train: a phase, how it lies on the ranks (shard 0: on all of them), options of the trainer."""

    phase: str
    parallel: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)


BOTH: dict[str, Any] = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5}
CASES = {
    "plain": Case("identity"),
    "identity": Case("identity", {}, BOTH),
    "recomputed": Case("identity", {"recompute": "full"}, BOTH),
    "every second recomputed": Case("identity", {"recompute": "every_2"}, BOTH),
    "attention kept": Case("identity", {"recompute": "attention_kept"}, BOTH),
    "gathered in bfloat16": Case("identity", {"gather": "bfloat16"}, BOTH),
    "blank": Case("identity", {"meta": True}, BOTH),
    "audio": Case("audio", {}, BOTH),
    "audio, compiled and recomputed": Case("audio", {"compile": "aot_eager", "recompute": "full"}, BOTH),
    "audio in mixed bfloat16": Case("audio", {}, BOTH | {"precision": "bf16-mixed"}),
    "audio, all in bfloat16": Case("audio", {"gather": "bfloat16"}, BOTH | {"precision": "bf16-mixed"}),
    "replicated": Case("identity", {"shard": 2, "replicate": 2}, BOTH),
}


@dataclass
class Played:
    """Loss of each micro-batch over all ranks, norm of each step's gradient before clipping, and what came out.

    state: whole tensors; held: numbers that the first rank keeps of parameters, of gradients' owners, and of the average.
    """

    losses: list[float]
    norms: list[float]
    state: dict[str, Tensor]
    held: dict[str, int]
    moments: int


class Notes(Callback):
    """What happened in training, over all ranks."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        self.losses.append(float(trainer.strategy.reduce(outputs["loss"].clone(), reduce_op="mean")))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        gradients = [whole(p.grad) for p in pl_module.parameters() if p.grad is not None]
        self.norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def phase_of(kind: str, folder: Path, blank: bool = False, kind_of: type[Phase] = Phase, **settings: Any) -> Phase:
    """A phase with every parameter off its start value, or one without numbers."""
    torch.manual_seed(0)
    inputs = Inputs(LogMel().layers, LogMel().channels, face_width=24)
    with torch.device("meta" if blank else "cpu"):
        phase = kind_of(
            backbone=SIZE,
            inputs=inputs,
            encoders=Encoders("patch", str(folder / "autoencoder"), "hashed_words", "", "log_mel", ""),
            options=tiny.OPTIONS,
            optimization=Optimization(learning_rate=2e-3),
            average_decay=0.5,
            **PHASES[kind] | settings,
        )
    if not blank:
        tiny.nudged(phase.denoiser)
    return phase


def data(folder: Path, world: int) -> TalkingHead:
    return TalkingHead(str(folder), clip_frames=9, batch_size=CLIPS // world, eval_batch_size=2, eval_frames=16)


def trainer_for(case: Case, world: int, *callbacks: Callback, steps: int = 3) -> Trainer:
    parallel = Parallel(
        **{"shard": world} | (case.parallel if world > 1 else case.parallel | {"shard": 1, "replicate": 1})
    )
    return Trainer(
        accelerator="cpu",
        devices=world,
        strategy=strategy_for(parallel, "auto", case.trainer.get("precision", "32-true")),
        max_steps=steps,
        max_epochs=-1,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[CountTrained(), PerBlock(parallel.recompute, parallel.compile), *callbacks],
        **{"limit_val_batches": 0} | case.trainer,
    )


def played(case: Case, folder: Path, world: int) -> Played:
    torch._dynamo.reset()
    notes = Notes()
    trainer = trainer_for(case, world, notes)
    phase = phase_of(case.phase, folder, blank=case.parallel.get("meta", False))
    trainer.fit(phase, datamodule=data(folder, world))
    return Played(
        notes.losses,
        notes.norms,
        {name: whole(value) for name, value in phase.state_dict().items()},
        {name: held(getattr(phase, name)) for name in ("denoiser", "average")},
        sum(held_tensor(m["exp_avg"]) for m in trainer.optimizers[0].state.values()),
    )


@dataclass
class Seen:
    """What validation, test and prediction show of a phase that was not trained here: frames and scores."""

    predicted: list[Tensor]
    validated: dict[str, float]
    tested: dict[str, float]


def looked_at(folder: Path, world: int) -> Seen:
    """Prediction comes first: what is called first must not take itself for the whole."""
    phase = phase_of("identity", folder)
    for copy in phase.average.buffers():
        if copy.is_floating_point():
            copy += 0.1 * tiny.draw(*copy.shape, name="average")
    trainer, clips = trainer_for(Case("identity", trainer={"limit_val_batches": 1.0}), world), data(folder, world)
    predicted = trainer.predict(phase, datamodule=clips)
    validated = trainer.validate(phase, datamodule=clips, verbose=False)[0]
    trainer.test(phase, datamodule=clips, verbose=False)
    assert phase.evaluation is not None
    tested = {name: score["value"] for name, score in phase.evaluation.report()["metrics"].items()}
    return Seen(predicted, {name: float(value) for name, value in validated.items()}, tested)


class Stray(Phase):
    """Weighs its loss by a parameter of its own, which belongs to no unit that is sharded."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.loss_weight = nn.Parameter(torch.ones(()))


def refused(folder: Path, world: int) -> str:
    """What training a parameter outside the shards is told."""
    try:
        trainer_for(CASES["plain"], world).fit(
            phase_of("identity", folder, kind_of=Stray), datamodule=data(folder, world)
        )
    except UsageError as error:
        return str(error)
    return ""


def held(module: nn.Module) -> int:
    """Numbers that this process keeps of a module."""
    return sum(map(held_tensor, [*module.parameters(), *module.buffers()]))


def held_tensor(tensor: Tensor) -> int:
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).numel()


def start(world: int, out: Path, folder: Path, *cases: str) -> "list[subprocess.Popen[bytes]]":
    """Processes that play cases; the first of them leaves a file for each in `out`."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.training.on_ranks",
        str(world),
        str(out),
        str(folder),
        *cases,
    ]
    return [
        subprocess.Popen(command, cwd=ROOT, env=os.environ | places | {"LOCAL_RANK": str(rank)})
        for rank in range(world)
    ]


def ended(processes: "list[subprocess.Popen[bytes]]", timeout_s: float = 200) -> None:
    """Wait for processes, all of which must end well; when one does not, the rest is stopped."""
    try:
        for process in processes:
            assert process.wait(timeout_s) == 0
    finally:
        for process in processes:
            process.kill()


SHOWS: dict[str, Callable[[Path, int], Any]] = {"looked at": looked_at, "refused": refused}


def main(world: int, out: Path, folder: Path, cases: list[str]) -> None:
    torch.set_num_threads(1)
    for name in cases:
        result = SHOWS[name](folder, world) if name in SHOWS else played(CASES[name], folder, world)
        if os.environ["LOCAL_RANK"] == "0":
            torch.save(result, out / f"{name}.pt")


if __name__ == "__main__":
    from tests.training import on_ranks  # whose classes a reader finds again, not this script's

    on_ranks.main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
