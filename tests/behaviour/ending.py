"""A callback that ends its process at a step: what a power cut, a scheduler or a user does, at a known moment."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer


class EndAt(Callback):
    """Sends this process a signal once a number of steps is done and in the curves, before the next one."""

    def __init__(self, step: int, by: str) -> None:
        self.step = step
        self.by = signal.Signals[by]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            for logger in trainer.loggers:
                logger.save()
            os.kill(os.getpid(), self.by)


class KillWhenNamed(Callback):
    """Kills this process as soon as a checkpoint has its name: before its step is in the curves."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        path = Path(trainer.default_root_dir) / "checkpoints" / f"step={self.step}.ckpt"
        threading.Thread(target=self._watch, args=(path,), daemon=True).start()

    def _watch(self, path: Path) -> None:
        while not path.is_dir():
            time.sleep(0.0001)
        os.kill(os.getpid(), signal.SIGKILL)


class StopAt(Callback):
    """Ends training by Lightning's own flag, as early stopping does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == self.step


def ending(step: int, by: str) -> str:
    """The argument that puts EndAt into a run."""
    return _callback("EndAt", step=step, by=by)


def killing_when_named(step: int) -> str:
    """The argument that puts KillWhenNamed into a run."""
    return _callback("KillWhenNamed", step=step)


def stopping(step: int) -> str:
    """The argument that puts StopAt into a run."""
    return _callback("StopAt", step=step)


def _callback(name: str, **arguments: Any) -> str:
    return f"--trainer.callbacks={json.dumps({'class_path': f'{__name__}.{name}', 'init_args': arguments})}"
