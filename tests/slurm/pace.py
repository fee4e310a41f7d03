"""A callback that makes a job's first start slow, so that what is done to it finds it at work."""

import json
import os
import time
from typing import Any

from lightning import Callback, LightningModule, Trainer


class SlowAtFirst(Callback):
    """Each step takes longer until the job has been requeued once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
            time.sleep(self.seconds)


def slow_at_first(seconds: float) -> str:
    """The argument that puts it into a run."""
    found = {"class_path": f"{__name__}.SlowAtFirst", "init_args": {"seconds": seconds}}
    return f"--trainer.callbacks={json.dumps(found)}"
