"""A trained run, from its folder: the phase with its newest weights, and its data."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from datamodules.cached import refuse_other_encoders
from datamodules.talking_head import TalkingHead
from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.blank import fill
from hallo3_lightning.training.checkpoints import newest, step_of
from hallo3_lightning.training.command_line import ConfigOnly
from hallo3_lightning.training.phase import Phase


@dataclass(frozen=True)
class Trained:
    """A run with a checkpoint; travels to worker processes.

    overrides: settings that stand in for the run's own, by dotted key.
    """

    folder: Path
    checkpoint: Path
    overrides: tuple[tuple[str, Any], ...]

    @property
    def step(self) -> int:
        """Optimizer steps of the weights."""
        return step_of(self.checkpoint)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The resolved config, as plain values."""
        return ConfigOnly(self._arguments).settings

    def data(self) -> TalkingHead:
        """Its data, outside of any trainer."""
        return TalkingHead(**self.settings["data"])

    def phase(self) -> Phase:
        """Its phase with the averaged weights of the checkpoint, on the CPU and ready to evaluate with."""
        phase = _Built(self._arguments).phase
        fill(phase.denoiser, phase.denoiser, phase.given, phase.seed)
        phase.average.follow(phase.denoiser)
        refuse_other_encoders(self.settings["data"]["cache"] or (), phase.encoders)
        return phase.eval()

    @property
    def _arguments(self) -> list[str]:
        given = {"model.init_from": self.checkpoint, **dict(self.overrides)}  # it has what the run's ancestor gave
        return ["fit", f"--config={self.folder / 'config.yaml'}", *(f"--{key}={value}" for key, value in given.items())]


def trained(folder: Path, overrides: Mapping[str, Any]) -> Trained:
    """The run of a folder. Raises UsageError for one without a checkpoint."""
    run = RunFolder(folder)
    if not run.config_file.is_file():
        raise UsageError(f"{folder} is no run: it has no config.yaml; give the folder that `hallo3 fit` made")
    found = newest(run.checkpoints)
    if found is None:
        raise UsageError(
            f"{folder} is not trained: it has no complete checkpoint; train it with `hallo3 fit --config "
            f"{run.config_file}`"
        )
    return Trained(folder, found, tuple(overrides.items()))


class _Built(ConfigOnly):
    """Builds the phase of a config."""

    phase: Any  # its name until it is built, as of any command line

    def instantiate_classes(self) -> None:
        with torch.device("meta") if self.settings["parallel"]["meta"] else nullcontext():
            self.phase = self.parser.instantiate_classes(self.config)["fit"]["model"]
