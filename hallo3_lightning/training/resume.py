"""Exact resume with any number of ranks and any accumulation: what Lightning's own counters leave undone."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from hallo3_lightning.batch import Batch


class CountTrained(Callback):
    """Tells the data module what was trained, and lets a checkpoint go on under another accumulation.

    Lightning restores how many micro-batches there were, and steps the optimizer whenever that count is a multiple of
    accumulate_grad_batches: after a change of it, or from a checkpoint within an accumulation, the first step would be
    of too few. So the count is moved to what it would be had the whole run been accumulated as it is now.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.limit_train_batches != 1.0:  # epochs that the user has limited begin an accumulation each
            return
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        moved = checkpoint["global_step"] * trainer.accumulate_grad_batches - progress["current"]["ready"]
        for counts in (progress["current"], progress["total"]):
            for name in counts:
                counts[name] += moved

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Before a checkpoint of the step is saved: checkpoint callbacks come last."""
        trainer.datamodule.trained(batch)  # type: ignore[attr-defined]
