"""What a probe of a run measures."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from hallo3_lightning.ablation.runs import write_atomically
from hallo3_lightning.process_memory import peak_bytes


class Stopwatch(Callback):
    """Writes {"began", "steps", "validation", "test", "memory"}: seconds since 1970 of the first batch's start, seconds of
    each batch by what was done with it, and the most bytes that tensors took on a GPU, or the process on a CPU."""

    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self.began = 0.0
        self.seconds: dict[str, list[float]] = {"steps": [], "validation": [], "test": []}
        self.memory = 0.0
        self._since = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began, self._since = time.time(), time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._note("steps", trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._note("validation", trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = self.began or time.time()
        self._since = time.perf_counter()

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._note("test", trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def _note(self, what: str, trainer: Trainer) -> None:
        device = trainer.strategy.root_device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.memory = max(self.memory, _taken(device))
        now = time.perf_counter()
        self.seconds[what].append(now - self._since)
        self._since = now

    def _write(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            found = {"began": self.began, **self.seconds, "memory": self.memory}
            write_atomically(self.file, json.dumps(found))


def _taken(device: torch.device) -> float:
    """Bytes at the most, without resetting what others count from."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_bytes()
