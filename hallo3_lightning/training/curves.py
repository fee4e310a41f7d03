"""Everything that a run logs as one table, for those who do not open TensorBoard."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from hallo3_lightning.ablation.runs import write_atomically

OF_VALIDATION = ("val/", "alarm/")
"""What Lightning still holds, in a step behind a validation, of that."""

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


class LastRow(Callback):
    """Carries the numbers of a step in its checkpoint: Lightning logs them when that is there already, and a process
    killed in between would leave a gap for ever."""

    def __init__(self) -> None:
        self.step = 0
        self.metrics: dict[str, float] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not trainer.training:  # in a validation the step before it is logged
            return
        shown = {name: value for name, value in trainer.logged_metrics.items() if not name.startswith(OF_VALIDATION)}
        metrics = {name: float(value) for name, value in shown.items()}
        checkpoint["last_row"] = {"step": trainer.global_step - 1, "metrics": metrics}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        row = checkpoint.get("last_row", {})
        self.step, self.metrics = row.get("step", 0), row.get("metrics", {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what is missing, if it is of a step that is logged."""
        tables = [logger for logger in trainer.loggers if isinstance(logger, Curves)]
        if not self.metrics or not tables or (self.step + 1) % log_interval(trainer):
            return
        there = {name for step, name, _ in rows(tables[0].file) if step == self.step}
        missing = {name: value for name, value in self.metrics.items() if name not in there}
        for logger in trainer.loggers if missing else ():
            logger.log_metrics(missing, step=self.step)


def log_interval(trainer: Trainer) -> int:
    """Optimizer steps between two that are logged."""
    return trainer.log_every_n_steps  # type: ignore[attr-defined]


def rows(file: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) of a table that is there; a line that was not finished, or is damaged, is left out."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return [row for line in text.splitlines(keepends=True)[1:] if (row := _row(line)) is not None]


def _row(line: str) -> tuple[int, str, float] | None:
    fields = line.split(",")
    if len(fields) != 3 or not line.endswith("\n"):
        return None
    try:
        return int(fields[0]), fields[1], float(fields[2])
    except ValueError:
        return None
