"""Everything that a run logs as one table, for those who do not open TensorBoard."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from hallo3_lightning.ablation.runs import write_atomically

HEADER = "step,name,value\n"


class Curves(Logger):
    """Appends `step,name,value` lines to a file; whole lines, so that a killed process leaves a table.

    Args:
        file: the table.
        from_step: what it holds from there on is dropped, as those steps are trained again; None keeps all.
    """

    def __init__(self, file: Path, from_step: int | None) -> None:
        super().__init__()
        self.file, self.from_step = file, from_step
        self._started = False

    @property
    def name(self) -> str:
        return "curves"

    @property
    def version(self) -> str:
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> "Curves":
        """Lightning asks for it when a run begins, and not before."""
        self._start()
        return self

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._start()
        lines = [f"{step or 0},{name},{float(value)!r}\n" for name, value in metrics.items() if name != "epoch"]
        with self.file.open("a") as file:
            file.write("".join(lines))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """They are in the run's config.yaml."""

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        kept = rows(self.file)
        if self.from_step is not None:
            kept = [row for row in kept if row[0] < self.from_step]
        write_atomically(self.file, HEADER + "".join(f"{step},{name},{value!r}\n" for step, name, value in kept))


def log_interval(trainer: Trainer) -> int:
    """Optimizer steps between two that are logged."""
    return trainer.log_every_n_steps  # type: ignore[attr-defined]


def rows(file: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) of a table that is there; a line that was not finished is left out."""
    found = []
    for line in file.read_text().splitlines(keepends=True)[1:] if file.is_file() else []:
        fields = line.split(",")
        if len(fields) == 3 and line.endswith("\n"):
            found.append((int(fields[0]), fields[1], float(fields[2])))
    return found
