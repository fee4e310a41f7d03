"""Signals that stop a run: each rank only notes one, all ranks agree between two steps, save, and end together.

Lightning's own handlers send and save from within the handler, in the middle of whatever its rank is doing: they
collide with the collectives of the step, and the run hangs or dies. So they are replaced.
"""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from hallo3_lightning.errors import UsageError

LISTENED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""A scheduler sends the first when it takes the machine back, one of the others some time before a limit."""

MID_VALIDATION = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
"""What Lightning's loop takes for a validation that was cut short in its first batch, and so begins again."""

TIMED_OUT = ("Timed out waiting", "Connection closed by peer", "Connection reset by peer", "Watchdog caught collective")
"""How gloo and NCCL say that another rank did not come."""


class Stopped(SIGTERMException):
    """Told to end by a signal; what was trained is saved. Leaves the process with status 128 + signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


class Agreement:
    """A group of all ranks for single numbers, apart from that of training: on the CPU, so that no device waits.

    To be built on all ranks at the same time.
    """

    def __init__(self, timeout_s: float) -> None:
        together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self._group = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_s)) if together else None

    def highest(self, value: int) -> int:
        """Of what the ranks say; every rank must ask."""
        if self._group is None:
            return value
        told = torch.tensor([value])
        dist.all_reduce(told, dist.ReduceOp.MAX, group=self._group)
        return int(told)

    def all_of(self, value: Any) -> list[Any]:
        """What each rank says, by rank; every rank must ask."""
        if self._group is None:
            return [value]
        told: list[Any] = [None] * dist.get_world_size(self._group)
        dist.all_gather_object(told, value, group=self._group)
        return told


class Ear:
    """Notes the last signal that this process was sent, and does nothing else about it."""

    def __init__(self) -> None:
        self.heard = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """From before anything is loaded, for that takes minutes, until the last test is done."""
        before = self.listen()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def listen(self) -> Mapping[int, Any]:
        """Take the place of whoever listened, and say who it was."""
        return {number: signal.signal(number, self._note) for number in LISTENED}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.heard = number


class Guard(Callback):
    """Ends a run between two steps when any rank has been sent a signal: a checkpoint is saved, then Stopped is raised.

    Args:
        ear: of this process.
        every: optimizer steps between two looks at whether any rank was sent one.
        timeout_s: how long a rank waits for the others.
    """

    def __init__(self, ear: Ear, every: int = 1, timeout_s: float = 600.0) -> None:
        if every < 1:
            raise UsageError(f"run.signals_every is {every}; expected 1 or more optimizer steps")
        self.ear, self.every, self.timeout_s = ear, every, timeout_s
        self._ending = 0
        self._looked_at = 0
        self._agreement: Agreement | None = None

    @property
    def agreement(self) -> Agreement:
        """Of all ranks; to be asked for on all of them."""
        if self._agreement is None:
            self._agreement = Agreement(self.timeout_s)
        return self._agreement

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        _ = self.agreement

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ear.listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ear.listen()
        without_lightnings_broadcast(trainer)
        self._looked_at = trainer.global_step
        self._raise_if_agreed()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Saves here, where other checkpoints are saved; raises at the next hook, when the step is in the curves."""
        step = trainer.global_step
        if step == self._looked_at:
            return
        self._looked_at = step
        if step % self.every == 0 and step != trainer.max_steps:
            self._ending = self.agreement.highest(self.ear.heard)
            if self._ending:
                _save(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._raise_if_ending()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._raise_if_ending()

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """A validation may take longer than a scheduler waits, so one is left; a resumed run begins it again."""
        self._ending = self.agreement.highest(self.ear.heard)
        if self._ending and not trainer.sanity_checking and trainer.state.fn == "fit":
            _save(trainer)
        self._raise_if_ending()

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._raise_if_agreed()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.validating and self._ending:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            for counts in (progress["total"], progress["current"]):
                counts.update(MID_VALIDATION)

    def _raise_if_agreed(self) -> None:
        self._ending = self.agreement.highest(self.ear.heard)
        self._raise_if_ending()

    def _raise_if_ending(self) -> None:
        if self._ending:
            raise Stopped(self._ending)


def without_lightnings_broadcast(trainer: Trainer) -> None:
    """Take out what Lightning does before each step on several ranks: it sends the first rank's flag through the device
    and waits for it there (lightning 2.6, `_TrainingEpochLoop._broadcast_sigterm_tensor`). There is no public way.
    """
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]


def hung(error: BaseException, timeout_s: float) -> str | None:
    """For an error that means that another rank did not come: what that is, and which setting says how long to wait."""
    if not isinstance(error, RuntimeError) or not any(words in str(error) for words in TIMED_OUT):
        return None
    return (
        "another rank did not answer: it has ended, hangs, or takes longer than parallel.timeout_s "
        f"({timeout_s:g} s); see what it wrote last, and raise parallel.timeout_s if it was only slow"
    )


def _nothing() -> None:
    pass


def _save(trainer: Trainer) -> None:
    for callback in trainer.checkpoint_callbacks:
        save_now = getattr(callback, "save_now", None)
        if save_now is not None:
            save_now(trainer)
