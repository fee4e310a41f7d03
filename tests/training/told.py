"""Two ranks that are told to stop in many ways: `python -m tests.training.told`, once for each rank.

Starting processes takes longer than all the training, so one start plays every case.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer

from hallo3_lightning.cli import main
from tests.behaviour.studio import Studio

FOUR = (
    "--trainer.max_steps=4",
    "--trainer.devices=2",
    "--trainer.num_sanity_val_steps=0",
    "--data.eval_batch_size=1",
    "--run.checkpoint_every=100",
)

SENT = {
    "one": [{"hook": "on_train_batch_start", "rank": 1, "by": "SIGUSR1"}],
    "both": [
        {"hook": "on_before_backward", "rank": 0, "by": "SIGTERM"},
        {"hook": "on_train_batch_end", "rank": 1, "by": "SIGTERM"},
    ],
    "validating": [{"hook": "on_validation_batch_end", "rank": 1, "by": "SIGUSR2"}],
}
"""What each case's processes send themselves, at what moment of the step after the second."""


class Tell(Callback):
    """Sends this process a signal at a hook, once two steps are done and if it is that rank."""

    def __init__(self, hook: str, rank: int, by: str) -> None:
        self.rank, self.by = rank, signal.Signals[by]
        setattr(self, hook, self._send)
        self.step = 3 if hook == "on_train_batch_end" else 2

    def _send(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            self.step = -1
            os.kill(os.getpid(), self.by)


class CountBroadcasts(Callback):
    """How often Python asks for a broadcast from within the second step to the end of the third."""

    calls = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == 1:
            self.real = dist.broadcast
            dist.broadcast = self._count

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == 3:
            dist.broadcast = self.real

    def _count(self, *args: Any, **kwargs: Any) -> Any:
        CountBroadcasts.calls += 1
        return self.real(*args, **kwargs)


class Hang(Callback):
    """The second rank stops answering behind its first step."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_rank == 1:
            time.sleep(8)
            os._exit(0)


def with_callbacks(*named: tuple[str, dict[str, Any]]) -> str:
    found = [{"class_path": f"tests.training.told.{name}", "init_args": arguments} for name, arguments in named]
    return f"--trainer.callbacks={json.dumps(found)}"


def typed(studio: Studio, out: Path, case: str) -> tuple[str, ...]:
    """The command of a case; all cases are the same run in different folders, all but one sharded."""
    spread = "--trainer.strategy=ddp" if case == "whole on each" else "--parallel.shard=2"
    return ("fit", *studio.identity, *FOUR, spread, f"--run.root={out / case}")


def status_of(arguments: Sequence[str]) -> int:
    """With which status `hallo3 ...` would have left."""
    try:
        return main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


def play(studio: Studio, out: Path) -> dict[str, Any]:
    """Exit statuses by case, and the checkpoints that were there after the signal."""
    played: dict[str, Any] = {
        "unbroken": status_of([*typed(studio, out, "unbroken"), with_callbacks(("CountBroadcasts", {}))])
    }
    played["broadcasts"] = CountBroadcasts.calls
    played["whole on each"] = status_of(typed(studio, out, "whole on each"))
    for case, sent in SENT.items():
        command = typed(studio, out, case)
        told = status_of([*command, with_callbacks(*(("Tell", arguments) for arguments in sent))])
        run = studio.place(*command)
        played[case] = {
            "status": told,
            "state": run.status().state,
            "step": run.status().step,
            "checkpoints": [path.name for path in run.checkpoints.iterdir()],
            "resumed": status_of(command),
        }
    command = (*typed(studio, out, "hung"), "--parallel.timeout_s=3")
    played["hung"] = status_of([*command, with_callbacks(("Hang", {}))])
    return played


if __name__ == "__main__":
    from tests.training import told  # the module that the command line finds the callbacks in, which this one is not

    torch.set_num_threads(1)
    place = Path(sys.argv[2])
    result = told.play(Studio(Path(sys.argv[1])), place)
    (place / "played.json").write_text(json.dumps(result))
    os._exit(0)  # the hung rank is gone: nothing waits for it
