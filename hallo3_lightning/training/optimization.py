"""Optimizer and learning rate over the steps of a run."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True)
class Optimization:
    """AdamW and its schedule; the defaults are the published ones.

    Args:
        learning_rate: at its highest.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        weight_decay: on matrices; norms and biases have none.
        warmup: share of the steps in which the rate rises from 0.
        schedule: how it falls to 0 from there.
    """

    learning_rate: float = 1e-5
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 1e-4
    warmup: float = 0.01
    schedule: Literal["constant", "linear", "cosine"] = "linear"


def optimizer_for(module: nn.Module, settings: Optimization, num_steps: int) -> dict[str, Any]:
    """What `configure_optimizers` returns for the module's trainable parameters."""
    trainable = [
        (name, p) for name, p in module.named_parameters() if p.requires_grad
    ]  # named: so checkpoints know them
    groups: list[dict[str, Any]] = [
        {"params": [named for named in trainable if named[1].ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [named for named in trainable if named[1].ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = AdamW(groups, lr=settings.learning_rate, betas=(settings.beta1, settings.beta2), eps=1e-8, fused=True)
    optimizer._step_supports_amp_scaling = False  # as fused, Lightning would not clip it under any mixed precision
    schedule = LambdaLR(optimizer, lambda step: rate(step, num_steps, settings))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def rate(step: int, num_steps: int, settings: Optimization) -> float:
    """Share of the highest learning rate at a step, in [0, 1]."""
    warm = max(1, round(settings.warmup * num_steps))
    if step < warm:
        return (step + 1) / warm
    passed = min(1.0, (step - warm) / max(1, num_steps - warm))
    return {"constant": 1.0, "linear": 1 - passed, "cosine": (1 + math.cos(math.pi * passed)) / 2}[settings.schedule]
