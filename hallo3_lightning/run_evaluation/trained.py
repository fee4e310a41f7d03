"""A trained run, from its folder: the phase with its newest weights, and its data."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datamodules.cached import refuse_other_encoders
from datamodules.talking_head import TalkingHead
from hallo3_lightning.ablation.meaning import ancestor, scores_only
from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.blank import fill
from hallo3_lightning.training.checkpoints import newest, step_of
from hallo3_lightning.training.command_line import checkpoint_of_ancestor
from hallo3_lightning.training.phase import Phase
from hallo3_lightning.training.settings import phase_built, settings_of


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
        return settings_of(self._arguments)

    def data(self) -> TalkingHead:
        """Its data, outside of any trainer."""
        return TalkingHead(**self.settings["data"])

    def phase(self) -> Phase:
        """Its phase with the averaged weights of the checkpoint, on the CPU and ready to evaluate with."""
        phase: Phase = phase_built(self._arguments)
        fill(phase.denoiser, phase.denoiser, phase.given, phase.seed)
        phase.average.follow(phase.denoiser)
        refuse_other_encoders(self.settings["data"]["cache"] or (), phase.encoders)
        return phase.eval()

    @property
    def _arguments(self) -> list[str]:
        given = {"model.init_from": self.checkpoint, **dict(self.overrides)}  # it has what the run's ancestor gave
        return [f"--config={self.folder / 'config.yaml'}", *(f"--{key}={value}" for key, value in given.items())]


def trained(folder: Path, overrides: Mapping[str, Any]) -> Trained:
    """The run of a folder; one that trains nothing has the weights of the run that it scores.

    Raises UsageError for one without a checkpoint.
    """
    run = RunFolder(folder)
    if not run.config_file.is_file():
        raise UsageError(f"{folder} is no run: it has no config.yaml; give the folder that `hallo3 fit` made")
    found = newest(run.checkpoints)
    if found is None and scores_only(config := run.config()) and ancestor(config) is not None:
        found = checkpoint_of_ancestor(config)
    if found is None:
        raise UsageError(
            f"{folder} is not trained: it has no complete checkpoint; train it with `hallo3 fit --config "
            f"{run.config_file}`"
        )
    return Trained(folder, found, tuple(overrides.items()))
