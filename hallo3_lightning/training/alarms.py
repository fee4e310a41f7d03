"""Ring during validation: scalars `alarm/*`, above 0 where something is wrong, and a sentence for each that rings."""

import sys
from typing import Any

from lightning import Callback, LightningModule, Trainer

from hallo3_lightning.animate import windows
from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.alarms import SIGNATURES, alarms
from hallo3_lightning.evaluation.clip_metric import ClipMetric
from hallo3_lightning.evaluation.protocol import scorable
from hallo3_lightning.evaluation.statistics import Rows
from hallo3_lightning.find import find
from hallo3_lightning.training.checkpoints import step_at_hand
from hallo3_lightning.training.phase import UNSCORED_FRAMES, Phase


class Alarms(Callback):
    """Judges the clips that a validation generates; the floors are measured once, by the first of them."""

    def __init__(self) -> None:
        self.generated: dict[str, ClipMetric] = {}
        self.reconstruction: dict[str, ClipMetric] = {}
        self.floors: dict[str, Rows] | None = None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.generated, self.reconstruction = {}, {}

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        assert isinstance(pl_module, Phase)
        assert batch.video is not None
        if trainer.sanity_checking:
            return
        borders = _joins(batch.video.shape[1], pl_module)
        if not self.generated:
            self.generated = _metrics(batch, pl_module, floors=True)
            self.reconstruction = _metrics(batch, pl_module) if self.floors is None else {}
        for metric in self.generated.values():
            metric.update(outputs["generated"], batch, given=UNSCORED_FRAMES, borders=borders)
        if self.floors is None:
            video = pl_module.reconstructed(batch.video)
            for metric in self.reconstruction.values():
                metric.update(video, batch, given=UNSCORED_FRAMES, borders=borders)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        generated = {name: metric.rows() for name, metric in self.generated.items()}  # all ranks meet here
        if self.floors is None:
            self.floors = {name: metric.rows() for name, metric in self.reconstruction.items()}
        found = alarms(generated, self.floors)
        if not trainer.is_global_zero:
            return
        step = step_at_hand(trainer)
        for logger in trainer.loggers if found else ():
            logger.log_metrics({f"alarm/{alarm.name}": alarm.excess for alarm in found}, step)
        for alarm in found:
            if alarm.rings:
                sys.stdout.write(f"alarm at step {step}: {alarm.sentence}\n")


def _metrics(batch: Batch, phase: Phase, floors: bool = False) -> dict[str, ClipMetric]:
    """A fresh metric of every signature that such data allow; with `floors`, those too that are measured on the same clips."""
    hears = any(name.startswith("audio") for name in phase.denoiser.needs)
    wanted = [s for s in SIGNATURES if (batch.truth is not None or not s.procedural) and (hears or not s.hears)]
    names = [name for s in wanted for name in (s.metric, s.floor if floors else "") if name]
    return {name: find("evaluation.metrics", name)().to(phase.device) for name in scorable(batch, names)}


def _joins(total: int, phase: Phase) -> tuple[int, ...]:
    """The first frame after those that were given, and that of every further window."""
    given = (phase.motion_frames,) if phase.motion_frames else ()
    return given + tuple(w.start + w.kept_from for w in windows(total, phase.clip_frames, phase.motion_frames)[1:])
