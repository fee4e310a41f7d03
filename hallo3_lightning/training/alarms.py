"""Ring in validation and test: scalars `alarm/*`, above 0 where something is wrong, and a sentence for each that rings."""

import json
import sys
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from hallo3_lightning.ablation.runs import RunFolder, write_atomically
from hallo3_lightning.animation.windows import windows
from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.alarms import SIGNATURES, Alarm, alarms
from hallo3_lightning.evaluation.clip_metric import ClipMetric
from hallo3_lightning.evaluation.protocol import scorable
from hallo3_lightning.evaluation.statistics import Rows
from hallo3_lightning.find import find
from hallo3_lightning.training.checkpoints import step_at_hand
from hallo3_lightning.training.phase import UNSCORED_FRAMES, Phase


class Evidence:
    """Scores of generated clips and of their reconstructions, of every signature that data like a batch allow."""

    def __init__(self, batch: Batch, phase: Phase, *, with_floors: bool = True) -> None:
        """with_floors: whether reconstructions are to be scored too."""
        self.generated = _metrics(batch, phase, of_chance=True)
        self.reconstruction = _metrics(batch, phase) if with_floors else {}

    def update(self, generated: Tensor, reconstruction: Tensor | None, batch: Batch, phase: Phase) -> None:
        """Add B clips, uint8 [B, F, 3, H, W] each."""
        borders = _joins(generated.shape[1], phase)
        given = min(UNSCORED_FRAMES, generated.shape[1] - 1)
        for metrics, video in ((self.generated, generated), (self.reconstruction, reconstruction)):
            for metric in metrics.values():
                assert video is not None
                metric.update(video, batch, given=given, borders=borders)


class Alarms(Callback):
    """Judges the clips that a validation or a test generates; the floors are measured once, by the first of either.

    A test's alarms stand in the run's metrics.json too.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.evidence: Evidence | None = None
        self.frames = 0
        self.floors: dict[int, dict[str, Rows]] = {}
        """Of clips of so many frames: those of a test are longer."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.evidence = None

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.evidence = None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        if not trainer.sanity_checking:
            self._take(pl_module, outputs["generated"], batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        self._take(pl_module, outputs["generated"], batch, outputs["reconstruction"])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._ring(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = self._ring(trainer)
        report = self.run.metrics()
        if trainer.is_global_zero and report is not None:
            told = [alarm.as_json() for alarm in found]
            write_atomically(self.run.path / "metrics.json", json.dumps({**report, "alarms": told}, indent=1))

    def _take(
        self, phase: LightningModule, generated: Tensor, batch: Batch, reconstruction: Tensor | None = None
    ) -> None:
        assert isinstance(phase, Phase)
        assert batch.video is not None
        if self.evidence is None:
            self.frames = generated.shape[1]
            self.evidence = Evidence(batch, phase, with_floors=self.frames not in self.floors)
        wanted = reconstruction is None and bool(self.evidence.reconstruction)
        self.evidence.update(generated, phase.reconstructed(batch.video) if wanted else reconstruction, batch, phase)

    def _ring(self, trainer: Trainer) -> list[Alarm]:
        if self.evidence is None:
            return []
        generated = {name: metric.rows() for name, metric in self.evidence.generated.items()}  # all ranks meet here
        if self.frames not in self.floors:
            self.floors[self.frames] = {name: metric.rows() for name, metric in self.evidence.reconstruction.items()}
        found = alarms(generated, self.floors[self.frames])
        if trainer.is_global_zero:
            step = step_at_hand(trainer)
            prefix = "test/alarm" if trainer.testing else "alarm"
            for logger in trainer.loggers if found else ():
                logger.log_metrics({f"{prefix}/{alarm.name}": alarm.excess for alarm in found}, step)
            for alarm in found:
                if alarm.rings:
                    sys.stdout.write(f"alarm at step {step}: {alarm.sentence}\n")
        return found


def _metrics(batch: Batch, phase: Phase, *, of_chance: bool = False) -> dict[str, ClipMetric]:
    """A fresh metric of every signature that such data allow; `of_chance`: those too that say what chance gives."""
    hears = any(name.startswith("audio") for name in phase.denoiser.needs)
    wanted = [s for s in SIGNATURES if (batch.truth is not None or not s.procedural) and (hears or not s.hears)]
    names = [name for s in wanted for name in (s.metric, s.floor if of_chance else "") if name]
    return {name: find("evaluation.metrics", name)().to(phase.device) for name in scorable(batch, names)}


def _joins(total: int, phase: Phase) -> tuple[int, ...]:
    """The first frame after those that were given, and that of every further window."""
    given = (phase.motion_frames,) if phase.motion_frames else ()
    return given + tuple(w.start + w.kept_from for w in windows(total, phase.clip_frames, phase.motion_frames)[1:])
