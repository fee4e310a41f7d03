"""Stops a run whose loss or gradients are no longer numbers, before the weights are saved."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from hallo3_lightning.batch import Batch
from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.curves import log_interval
from hallo3_lightning.training.signals import Guard


class NotFinite(UsageError):
    """The loss or a gradient is infinite or not a number."""


class Finite(Callback):
    """Raises NotFinite, on all ranks, with the samples of the first step that was not finite.

    On a CPU each step is looked at before the optimizer moves; on a GPU that would wait for the device, so what it finds
    is kept there, and looked at every trainer.log_every_n_steps and before anything is saved.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._first_loss: Tensor | None = None
        self._first_gradient: Tensor | None = None
        self._keys: dict[int, list[str]] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._forget()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, *_: Any) -> None:
        self._keys.setdefault(trainer.global_step, []).extend(batch.keys)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._first_loss = _first(self._first_loss, ~torch.isfinite(loss.detach()), trainer.global_step)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if trainer.precision != "16-mixed":  # there infinite gradients are expected, and their steps left out
            self._first_gradient = _first(self._first_gradient, ~_finite(optimizer), trainer.global_step)
        if trainer.strategy.root_device.type == "cpu" or (trainer.global_step + 1) % log_interval(trainer) == 0:
            self._check()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit":
            self._check()

    def _check(self) -> None:
        loss, gradient = (NEVER if first is None else int(first) for first in (self._first_loss, self._first_gradient))
        if self.guard.agreement.highest(int(min(loss, gradient) < NEVER)):
            told = self.guard.agreement.all_of((loss, gradient, self._keys))
            raise NotFinite(_said(told))
        self._forget()

    def _forget(self) -> None:
        self._first_loss, self._first_gradient, self._keys = None, None, {}


NEVER = 2**62
"""A step that no run reaches."""


def _first(found: Tensor | None, is_bad: Tensor, step: int) -> Tensor:
    """The first step that was bad, kept where the numbers are."""
    now = torch.where(is_bad, step, NEVER)
    return now if found is None else torch.minimum(found, now)


def _finite(optimizer: Optimizer) -> Tensor:
    """Whether this rank's part of all gradients is: their norms are numbers only then."""
    given = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    parts = [gradient.to_local() if isinstance(gradient, DTensor) else gradient for gradient in given]
    return torch.isfinite(torch.stack(torch._foreach_norm(parts)).sum()) if parts else torch.tensor(True)


def _said(told: list[tuple[int, int, dict[int, list[str]]]]) -> str:
    """Ranks whose own loss was not finite are named; gradients are everybody's."""
    losses = [loss for loss, _, _ in told]
    step = min(min(loss, gradient) for loss, gradient, _ in told)
    of_loss = step in losses
    keys = [key for loss, _, by_step in told if loss == step or not of_loss for key in by_step.get(step, [])]
    named = ", ".join(f"'{key}'" for key in dict.fromkeys(keys))
    return (
        f"step {step + 1}: the {'loss is' if of_loss else 'gradients are'} not finite, on the samples {named}; nothing of "
        "it is saved, and the checkpoint before it stays: look at these samples, lower "
        "model.optimization.learning_rate, or set trainer.gradient_clip_val"
    )
