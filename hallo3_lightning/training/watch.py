"""What one looks at while a run trains: speed, memory, waiting for data, norms of gradients and updates.

Everything is logged every trainer.log_every_n_steps; between, no callback here waits for the device.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import Profiler
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from hallo3_lightning.batch import Batch
from hallo3_lightning.process_memory import peak_bytes
from hallo3_lightning.training.curves import log_interval
from hallo3_lightning.training.peaks import peak_of

NEXT_BATCH = "train_dataloader_next"
"""How Lightning's training loop names waiting for its loader."""


@dataclass(frozen=True)
class Work:
    """Of one clip in one training step: tokens of its sequence, and floating-point operations as hallo3_lightning.cost
    counts them (recomputed activations, frozen encoders and the moving average do not count)."""

    tokens: int
    operations: int


class DataWait(Profiler):
    """Seconds in which training waited for its loader, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self._since = 0.0

    def start(self, action_name: str) -> None:
        if action_name.endswith(NEXT_BATCH):
            self._since = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name.endswith(NEXT_BATCH):
            self.seconds += time.perf_counter() - self._since

    def summary(self) -> str:
        return ""


class Speed(Callback):
    """Logs speed/samples_per_s, speed/tokens_per_s, speed/tflops (of each device), speed/mfu where the device's peak is
    known, speed/data_wait (a share of the time) and memory/peak_gib of the first rank. Validation is no part of the time.

    Args:
        work: of one clip in one training step; asked for once, at the first log.
        data_wait: what Lightning tells of waiting for the loader; None where the user gave another profiler.
    """

    def __init__(self, work: Callable[[], Work], data_wait: DataWait | None) -> None:
        self.work, self.data_wait = work, data_wait
        self._work: Work | None = None
        self._begin()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_step = trainer.global_step
        self._begin()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        self._clips += len(batch)
        if not is_logged(trainer.global_step, self._last_step, trainer):
            return
        self._last_step = trainer.global_step
        device = trainer.strategy.root_device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        pl_module.log_dict(self._rates(trainer) | {"memory/peak_gib": peak_memory(device) / 2**30})
        self._begin()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._paused_at = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._paused += time.perf_counter() - self._paused_at

    def _begin(self) -> None:
        self._since, self._paused, self._paused_at, self._clips = time.perf_counter(), 0.0, 0.0, 0
        self._waited = self.data_wait.seconds if self.data_wait else 0.0

    def _rates(self, trainer: Trainer) -> dict[str, float]:
        """Since the last log."""
        seconds = max(time.perf_counter() - self._since - self._paused, 1e-9)
        self._work = self._work or self.work()
        per_device = self._clips / seconds
        samples = per_device * trainer.world_size
        flops = per_device * self._work.operations
        rates = {
            "speed/samples_per_s": samples,
            "speed/tokens_per_s": samples * self._work.tokens,
            "speed/tflops": flops / 1e12,
        }
        peak = peak_of(trainer.strategy.root_device)
        if peak is not None:
            rates["speed/mfu"] = flops / peak
        if self.data_wait is not None:
            rates["speed/data_wait"] = (self.data_wait.seconds - self._waited) / seconds
        return rates


class Norms(Callback):
    """Logs norm/gradient/<part> (before clipping) and norm/update/<part>: how far the optimizer moved each part.

    A step that is logged holds a copy of what trains, while its activations are already gone.

    Args:
        part_of: the part that a parameter of the denoiser is of, by its name.
    """

    def __init__(self, part_of: Callable[[str], str]) -> None:
        self.part_of = part_of
        self._before: dict[str, list[Tensor]] = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if (trainer.global_step + 1) % log_interval(trainer):
            return
        parts = self._parts(pl_module)
        gradients = {name: [p.grad for p in part if p.grad is not None] for name, part in parts.items()}
        pl_module.log_dict({f"norm/gradient/{name}": norm(part) for name, part in gradients.items()})
        self._before = {name: [p.detach().clone() for p in part] for name, part in parts.items()}

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        before, self._before = self._before, {}
        if not before:
            return
        after = self._parts(pl_module)
        moved = {name: [p - old for p, old in zip(part, before[name], strict=True)] for name, part in after.items()}
        pl_module.log_dict({f"norm/update/{name}": norm(part) for name, part in moved.items()})

    def _parts(self, pl_module: LightningModule) -> Mapping[str, list[nn.Parameter]]:
        parts: dict[str, list[nn.Parameter]] = {}
        for name, parameter in pl_module.denoiser.named_parameters():  # type: ignore[union-attr]
            if parameter.requires_grad:
                parts.setdefault(self.part_of(name), []).append(parameter)
        return parts


def norm(tensors: list[Tensor]) -> Tensor:
    """Of all their numbers together, also of those on other ranks."""
    total = get_total_norm(tensors)
    return total.full_tensor() if isinstance(total, DTensor) else total


def is_logged(step: int, last_step: int, trainer: Trainer) -> bool:
    """Whether a batch has ended a step that Lightning logs."""
    return step != last_step and step % log_interval(trainer) == 0


def peak_memory(device: torch.device) -> float:
    """Bytes: the most that tensors took since the last call on a GPU, the most that the process ever took on a CPU."""
    if device.type != "cuda":
        return peak_bytes()
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak
