"""Checkpoints that are whole or not there, and the newest of them."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from hallo3_lightning.errors import UsageError
from hallo3_lightning.weights.folder import is_weights, read


class WholeFiles(TorchCheckpointIO):
    """Writes aside, syncs, renames: a process killed while saving leaves the checkpoint before it untouched."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        final = Path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        aside = final.with_name(final.name + ".tmp")
        with aside.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(final)


class EveryFewSteps(ModelCheckpoint):
    """Keeps the newest checkpoint, as step=N.ckpt: every few steps, at the end, and where SIGTERM stops training."""

    def __init__(self, folder: Path, every: int) -> None:
        super().__init__(dirpath=folder, filename="{step}", every_n_train_steps=every, save_top_k=1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save_now(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Lightning raises this one between two steps, where the state is whole; others may come in the middle."""
        if isinstance(exception, SIGTERMException) and trainer.training:
            self._save_now(trainer)

    def _should_remove_checkpoint(self, trainer: Trainer, previous: str, current: str) -> bool:
        """Also the one that the run was resumed from: otherwise every resume would leave one more behind."""
        return Path(previous).parent == Path(current).parent and previous != current

    def _save_now(self, trainer: Trainer) -> None:
        if self._last_global_step_saved != trainer.global_step:
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))


def newest(folder: Path) -> Path | None:
    """The checkpoint of the highest step in a folder, None when there is none."""
    found = [(int(match[1]), path) for path in folder.glob("*.ckpt") if (match := re.search(r"step=(\d+)", path.name))]
    return max(found)[1] if found else None


def step_of(checkpoint: Path) -> int:
    """The step in its name."""
    match = re.search(r"step=(\d+)", checkpoint.name)
    return int(match[1]) if match else 0


def step_at_hand(trainer: Trainer) -> int:
    """The step of the weights in use: where nothing was trained, that of the checkpoint they came from."""
    return trainer.global_step or (step_of(Path(trainer.ckpt_path)) if trainer.ckpt_path else 0)


def weights(path: Path) -> dict[str, Tensor]:
    """What a phase would have saved: in a checkpoint file, in the newest one of a run's folder, or in a folder of
    weights that `hallo3 import-weights` or `export-weights` wrote; no pickled object is ever run.

    Raises UsageError when there is none or it cannot be read.
    """
    if is_weights(path):
        return {f"denoiser.{name}": value for name, value in read(path).items()}
    file = newest(path / "checkpoints") if path.is_dir() else path
    if file is None or not file.is_file():
        raise UsageError(
            f"no checkpoint at '{path}'; give a .ckpt file, the folder of a run that saved one, or a folder of weights"
        )
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    except (RuntimeError, KeyError, EOFError, OSError, ValueError, UnpicklingError) as error:
        reason = " ".join(str(error).split()).split(". ")[0]
        raise UsageError(
            f"'{file}' is not a checkpoint of ours, or is damaged ({type(error).__name__}: {reason}); "
            "name another, or remove it to start without it"
        ) from None


def refuse_another_model(module: nn.Module, given: Mapping[str, Tensor], source: str) -> None:
    """Raise a UsageError unless `given` has exactly the module's weights, each of its shape."""
    refuse_other_sizes(module, given, source)
    own = module.state_dict()
    differing = {"missing": [*(own.keys() - given.keys())], "unexpected": [*(given.keys() - own.keys())]}
    if any(differing.values()):
        said = ", ".join(f"{len(names)} {what} ({min(names)}, ...)" for what, names in differing.items() if names)
        raise UsageError(f"{source} is of another model: of its weights {said}; give both the same settings of model")


def refuse_other_sizes(module: nn.Module, given: Mapping[str, Tensor], source: str) -> None:
    """Raise a UsageError where a weight of `given` has another shape than the module's of that name."""
    own = module.state_dict()
    other = [name for name, value in given.items() if name in own and own[name].shape != value.shape]
    if other:
        raise UsageError(
            f"{source} is of a model of other sizes: {other[0]} is {list(given[other[0]].shape)} there and "
            f"{list(own[other[0]].shape)} here, and {len(other) - 1} more differ; give both the same model.backbone, "
            "model.inputs and model.options"
        )
