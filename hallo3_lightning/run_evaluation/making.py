"""Making the held-out clips of a run, one by one: in this process, or in workers that each hold the network."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import torch
from lightning import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment
from torch import Tensor

from datamodules.loader import HeldOutClips
from hallo3_lightning.animation.windows import windows
from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.conditions import Conditions
from hallo3_lightning.evaluation.measuring import repeatable
from hallo3_lightning.run_evaluation.clip_files import ClipFiles, Facts, box_of
from hallo3_lightning.run_evaluation.ground_truth import measured
from hallo3_lightning.run_evaluation.trained import Trained
from hallo3_lightning.training.phase import Phase


@dataclass(frozen=True)
class Clip:
    """One held-out clip: its place among them, and its name."""

    position: int
    name: str


@dataclass(frozen=True)
class Make:
    """Generates a clip and leaves its files; travels to worker processes, each of which reads the network once.

    A clip is generated alone, on one thread: neither the number of processes nor what else they make changes a bit of it.
    """

    run: Trained
    files: ClipFiles
    device: str

    def prepare(self) -> None:
        """Read the network into this process, unless it has it."""
        _studio(self.run, self.device)

    def __call__(self, clip: Clip) -> str:
        """Its name, when its files are there."""
        studio = _studio(self.run, self.device)
        batch = studio.clips[clip.position].to(studio.phase.device)
        if batch.counted is not None and not batch.counted.all():
            self.files.note(Facts(clip.name, left_out="; ".join(bad.reason for bad in batch.bad)), {})
            return clip.name
        with repeatable(), studio.precision(), torch.inference_mode():
            generated = studio.generate(batch)
            kept = measured(studio.phase, batch, generated, studio.borders(generated.shape[1]))
        self.files.save(studio.facts(clip.name, batch, generated), batch, generated, kept)
        return clip.name


@dataclass(frozen=True)
class Studio:
    """What a process generates with."""

    phase: Phase
    clips: HeldOutClips
    fabric: Fabric

    def precision(self) -> AbstractContextManager[None]:
        """That of the run."""
        return self.fabric.autocast()

    def generate(self, batch: Batch) -> Tensor:
        """uint8 [1, F, 3, H, W], as `hallo3 test` does it: from the first frames, with averaged weights."""
        assert batch.video is not None
        return self.phase.animated(batch, batch.video.shape[1])

    def borders(self, frames: int) -> tuple[int, ...]:
        """First frame of every window after the first."""
        passes = windows(frames, self.phase.clip_frames, self.phase.motion_frames)
        return tuple(window.start + window.kept_from for window in passes[1:])

    def facts(self, name: str, batch: Batch, generated: Tensor) -> Facts:
        """What is known of a clip."""
        conditions = Conditions(batch, self.phase.device)
        conditions.update(batch)
        return Facts(
            name=name,
            frames=generated.shape[1],
            procedural=batch.truth is not None,
            box=box_of(batch),
            borders=self.borders(generated.shape[1]),
            conditions={name: value for name, rows in conditions.rows().items() for value in rows.values()},
            identity=batch.identities[0] if batch.identities else "",
        )


@lru_cache(maxsize=1)
def _studio(run: Trained, device: str) -> Studio:
    settings = run.settings
    fabric = Fabric(
        accelerator="cuda" if device.startswith("cuda") else "cpu",
        devices=[int(device.partition(":")[2] or 0)] if device.startswith("cuda") else 1,
        precision=settings["trainer"]["precision"] or "32-true",
        plugins=LightningEnvironment(),  # processes that share the work each generate alone
    )
    phase = run.phase()
    fabric.setup_module(phase)
    return Studio(phase, held_out_clips(run), fabric)


def forget() -> None:
    """Let go of the network that this process has read."""
    _studio.cache_clear()


def held_out_clips(run: Trained) -> HeldOutClips:
    """The held-out clips of a run, each as a batch of one, by their place. Raises UsageError where they are too short."""
    return cast(HeldOutClips, run.data().test_dataloader().dataset)
