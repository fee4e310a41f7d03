"""What every training of ours is equipped with: callbacks and loggers."""

from collections.abc import Mapping
from typing import Any

from lightning import Callback
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.cost import part_of
from hallo3_lightning.training.alarms import Alarms
from hallo3_lightning.training.curves import Curves, LastRow
from hallo3_lightning.training.finite import Finite
from hallo3_lightning.training.parallel import Parallel
from hallo3_lightning.training.per_block import PerBlock
from hallo3_lightning.training.pictures import Samples
from hallo3_lightning.training.record import Predictions, Record
from hallo3_lightning.training.resume import CountTrained
from hallo3_lightning.training.saving import EveryFewSteps
from hallo3_lightning.training.signals import Guard
from hallo3_lightning.training.watch import Norms


def callbacks(
    run: RunFolder,
    settings: Mapping[str, Any],
    guard: Guard,
    goes_on_from: str | None,
    keeps_checkpoints: bool,
    shows_progress: bool,
) -> list[Callback]:
    """In the order in which they act. What was trained is counted before anything is saved."""
    chosen, parallel = settings["run"], Parallel(**settings["parallel"])
    found: list[Callback] = [
        CountTrained(),
        Finite(guard),
        guard,
        Record(run),
        Predictions(run),
        Alarms(run),
        LearningRateMonitor("step"),
        Norms(part_of),
        LastRow(),
        PerBlock(parallel.recompute, parallel.compile),
    ]
    if chosen["sample_every"]:
        found.append(Samples(chosen["sample_every"]))
    if keeps_checkpoints:
        every, kept, failure = (chosen[key] for key in ("checkpoint_every", "checkpoints_kept", "checkpoint_failure"))
        found.append(EveryFewSteps(run.checkpoints, every, kept, failure, goes_on_from))
    return [*found, RichProgressBar()] if shows_progress else found


def loggers(run: RunFolder, goes_on_from: int | None) -> list[Logger]:
    """TensorBoard and a csv.

    goes_on_from: what a killed process wrote behind that step is purged, since it is trained again; None purges nothing.
    """
    events = TensorBoardLogger(run.path, name="", version="tensorboard", purge_step=goes_on_from)
    return [events, Curves(run.path / "curves.csv", goes_on_from)]
