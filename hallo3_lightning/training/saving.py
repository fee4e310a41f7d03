"""When checkpoints are saved, which of them stay, and what happens where one cannot be written."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch.distributed as dist
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.checkpoints import by_step, torn
from hallo3_lightning.training.writing import ASIDE, AWAY, Folders, SaveFailed, Writer, removed

OnFailure = Literal["go_on", "stop"]


class EveryFewSteps(Checkpoint):
    """Keeps the newest checkpoints: every few optimizer steps, at the end, and where SIGTERM stops training.

    Args:
        folder: where they are, as step=N.ckpt.
        every: optimizer steps between two.
        keep: complete ones that stay; the newest complete one always does.
        on_failure: whether a run goes on or stops where one cannot be written.
        goes_on_from: the one that this process found to go on from.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        keep: int = 2,
        on_failure: OnFailure = "stop",
        goes_on_from: str | None = None,
    ) -> None:
        for name, number in {"run.checkpoints_kept": keep, "run.checkpoint_every": every}.items():
            if number < 1:
                raise UsageError(f"{name} is {number}; expected 1 or more")
        self.folder, self.every, self.keep, self.on_failure = folder, every, keep, on_failure
        self.goes_on_from = goes_on_from
        self.saved_step = self.tried_step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        refuse_other_choices(self.goes_on_from)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.saved_step = self.tried_step = trainer.global_step
        if trainer.is_global_zero:
            for left in (*self.folder.glob(f"*{ASIDE}"), *self.folder.glob(f"*{AWAY}")):
                shutil.rmtree(left, ignore_errors=True)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Between two optimizer steps gradients are under way, which no checkpoint holds: only where the step has moved.

        Behind a validation that is due now: else a kill within it would leave a gap in its curves.
        """
        step = trainer.global_step
        if step % self.every == 0 and step != self.tried_step and not _validates_now(trainer):
            self.save_now(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (
            trainer.state.fn == TrainerFn.FITTING
            and not trainer.sanity_checking
            and trainer.global_step % self.every == 0
        ):
            self.save_now(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save_now(trainer)
        self._guarded(trainer, lambda: _writer_of(trainer).wait())
        self._forget(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Lightning raises this one between two steps, where the state is whole; others may come in the middle."""
        if isinstance(exception, SIGTERMException) and trainer.training:
            self.save_now(trainer)
            self._guarded(trainer, lambda: _writer_of(trainer).wait())

    def save_now(self, trainer: Trainer) -> None:
        """Save this step if it is not saved; all ranks call it."""
        step = self.tried_step = trainer.global_step
        if step == self.saved_step:
            return
        if self._guarded(trainer, lambda: trainer.save_checkpoint(self.folder / f"step={step}.ckpt")):
            self.saved_step = step
        self._forget(trainer)

    def _guarded(self, trainer: Trainer, save: Callable[[], None]) -> bool:
        """Whether it went well, on every rank."""
        try:
            save()
            told_by_all(trainer)
        except SaveFailed as failure:
            if self.on_failure == "stop":
                raise
            rank_zero_warn(f"{failure}; training goes on")
            return False
        return True

    def _forget(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        there = by_step(self.folder)
        complete = [path for path in there if torn(path) is None]
        for path in there[there.index(complete[0]) :] if complete else []:
            if path not in complete[: self.keep]:
                removed(path)


def refuse_other_choices(chosen: str | None) -> None:
    """Raise a UsageError on every rank unless all found the same checkpoint to go on from; every rank calls it."""
    if not dist.is_initialized():
        return
    found: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, chosen)
    if len(set(found)) > 1:
        told = ", ".join(f"rank {rank}: {Path(path).name if path else 'none'}" for rank, path in enumerate(found))
        raise UsageError(
            f"the ranks found different checkpoints to go on from ({told}): the folder of the run does not look the same "
            "from all nodes; wait until it does, or mend its file system, and start again"
        )


def told_by_all(trainer: Trainer) -> None:
    """Raise SaveFailed on all ranks where the one that saves for all could not."""
    plugin = trainer.strategy.checkpoint_io if not hasattr(trainer.strategy, "writer") else None
    if isinstance(plugin, Folders):
        failure, plugin.failure = trainer.strategy.broadcast(plugin.failure), None
        if failure is not None:
            raise SaveFailed(failure)


def _validates_now(trainer: Trainer) -> bool:
    """Whether Lightning validates behind this micro-batch; it counts them as its own loop does."""
    if not trainer.enable_validation or trainer.check_val_every_n_epoch is not None:
        return False
    interval = trainer.val_check_batch
    return isinstance(interval, int) and (trainer.fit_loop.total_batch_idx + 1) % interval == 0


def _writer_of(trainer: Trainer) -> Writer:
    """Sharded strategies write themselves, others through their plugin."""
    return getattr(trainer.strategy, "writer", None) or trainer.strategy.checkpoint_io.writer  # type: ignore[attr-defined]
