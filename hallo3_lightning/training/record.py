"""Callbacks that keep a run's folder true: its status, its facts, its metrics, its samples."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from lightning import Callback, LightningModule, Trainer
from safetensors.torch import save_file
from torch import Tensor

from datamodules.loader import HeldOutClips
from hallo3_lightning.ablation.runs import RunFolder, Status, write_atomically
from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation import rows_file
from hallo3_lightning.evaluation.conditions import Conditions
from hallo3_lightning.evaluation.file_names import file_names
from hallo3_lightning.evaluation.identities import Identities
from hallo3_lightning.training.checkpoints import step_at_hand
from hallo3_lightning.training.kept_clips import KeptClips
from hallo3_lightning.training.phase import Phase
from hallo3_lightning.training.pictures import gif

KEPT_CLIPS = 8
"""Clips of a test that are kept to be looked at and listened to, as videos with sound."""

SHOWN_CLIPS = 4
"""Of those, the first, that are kept as frames too: as many as TensorBoard shows; pictures show three."""

MOST_BYTES = 2**29
"""Of these frames: three clips at full size, 49 of 480 x 720 from three sources, are 457 MB, and eight were 1.2 GB."""


class Record(Callback):
    """Writes status.json every few seconds, facts.json, and after a test metrics.json, rows.jsonl and samples/: clips as
    frames (clips.safetensors) and as videos with sound."""

    def __init__(self, run: RunFolder, every_s: float = 2.0) -> None:
        self.run = run
        self.every_s = every_s
        self.written = 0.0
        self.started = 0.0
        self.first_step = 0
        self.seconds_before = 0.0
        self.clips: dict[str, list[Tensor]] = {}
        self.videos = KeptClips(run.samples, KEPT_CLIPS)
        self.conditions: Conditions | None = None
        self.identities = Identities()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.started, self.first_step = time.monotonic(), trainer.global_step
        self.seconds_before = self.run.facts().get("seconds", 0.0) if trainer.global_step else 0.0
        parameters = list(pl_module.denoiser.parameters())  # type: ignore[union-attr]
        if trainer.is_global_zero:
            self.run.record_facts(
                trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
                total_parameters=sum(p.numel() for p in parameters),
            )
        self._write(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if time.monotonic() - self.written > self.every_s:
            self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        have = sum(len(part) for part in self.clips.get("truth", []))
        videos = {"truth": batch.video} | outputs
        room = slice(0, max(0, shown_clips(sum(video[0].numel() for video in videos.values())) - have))
        for name, video in videos.items():
            self.clips.setdefault(name, []).append(video[room].cpu())
        if trainer.is_global_zero:
            self.videos.add(batch, videos)
        if self.conditions is None:
            self.conditions = Conditions(batch, pl_module.device)
        self.conditions.update(batch)
        self.identities.see(batch, pl_module.device)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Phase)
        assert pl_module.evaluation is not None
        report = {**pl_module.evaluation.report(), "identities": self.identities.known()}
        conditions = {} if self.conditions is None else self.conditions.rows()
        if not trainer.is_global_zero:
            return
        curves = report["curves"].values()
        clips = {name: torch.cat(parts) for name, parts in self.clips.items()}
        for name, key in (("aperture", "true"), ("measured", "measured")):
            clips[name] = torch.tensor([curve[key] for curve in curves])[: len(clips["truth"])]
        self.run.samples.mkdir(parents=True, exist_ok=True)
        save_file(clips, self.run.samples / "clips.safetensors")
        self.videos.close()
        write_atomically(self.run.path / rows_file.NAME, "\n".join([*rows_file.lines_of(report, conditions), ""]))
        write_atomically(self.run.path / "metrics.json", json.dumps(report, indent=1))
        if trainer.logger is not None:
            scores = {f"test/{name}": metric["value"] for name, metric in report["metrics"].items()}
            trainer.logger.log_metrics(scores, step_at_hand(trainer))

    def _write(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        self.written = time.monotonic()
        elapsed = self.written - self.started
        done = trainer.global_step - self.first_step
        data = trainer.datamodule  # type: ignore[attr-defined]
        per_step = data.batch_size * trainer.world_size * trainer.accumulate_grad_batches
        loss = trainer.callback_metrics.get("train/loss")
        seconds = self.seconds_before + elapsed
        self.run.record(
            Status(
                state="running",
                step=trainer.global_step,
                max_steps=int(trainer.max_steps),
                loss=None if loss is None else round(float(loss), 5),
                samples_per_s=round(done * per_step / elapsed, 2) if done and elapsed > 0 else None,
                seconds=round(seconds, 1),
            )
        )
        self.run.record_facts(steps=trainer.global_step, seconds=round(seconds, 1))


def shown_clips(num_bytes: int) -> int:
    """How many clips are kept as frames, one of which is so large in all sources together; never none."""
    return min(SHOWN_CLIPS, max(MOST_BYTES // num_bytes, 1))


class Predictions(Callback):
    """Writes each predicted clip into the run's predictions/, as <sample>.npy (uint8 [F, H, W, 3]) and <sample>.gif."""

    def __init__(self, run: RunFolder) -> None:
        self.folder = run.path / "predictions"
        self.names: Sequence[str] = ()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        clips = getattr(trainer.predict_dataloaders, "dataset", None)
        assert isinstance(clips, HeldOutClips)
        (takes,) = clips.sources
        self.names = file_names([takes.samples.key(number) for number in range(clips.count)])

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        assert batch.positions is not None
        for number, video in zip(batch.positions.tolist(), outputs, strict=True):
            frames = rearrange(video, "f c h w -> f h w c").cpu().numpy()
            np.save(self.folder / f"{self.names[number]}.npy", frames)
            (self.folder / f"{self.names[number]}.gif").write_bytes(gif(frames))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            sys.stdout.write(f"predicted: {self.folder}\n")
