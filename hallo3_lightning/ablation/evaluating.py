"""The scores of a grid's runs under the protocol that it names: each run's evaluation is a job of its own, behind the run."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.runs import RunFolder, Status
from hallo3_lightning.strict_json import read_json

EVALUATIONS = "evaluation"
"""In a run's folder: evaluations under protocols, each in a folder with the protocol's id."""

OURS = "evaluated_under"
"""Key of a job's config beside those of its run: file and hash of the protocol, and the device."""


class Protocol(TypedDict):
    """What identifies a protocol."""

    hash: str


class Scores(TypedDict):
    """What is read here of the scores of an evaluation."""

    protocol: Protocol


@dataclass(frozen=True)
class EvaluationFolder(RunFolder):
    """RUN/evaluation/<protocol id>, with the config of the run and what it is evaluated under."""

    trains = False

    @property
    def label(self) -> str:
        """What to call it where runs are listed."""
        return f"{self.path.parents[1].name}:{self.path.name}"

    def command(self) -> list[str]:
        """The argv of a process that makes it, goes on with it, or finds it finished."""
        under = self.config()[OURS]
        typed = ["evaluate", str(self.path.parents[1]), "--protocol", under["file"], "--device", under["device"]]
        return [sys.executable, "-m", "hallo3_lightning.cli", *typed]

    def status(self) -> Status:
        """From what `hallo3 evaluate` leaves, and from whether a live process holds its lock."""
        if self.is_locked():
            return Status("running")
        try:
            asked, made = self.config()[OURS]["hash"], read_json(self.path / "metrics.json", Scores)
        except FileNotFoundError:
            return Status("stopped" if (self.path / "generation.json").is_file() else "pending")
        except (ValueError, KeyError, TypeError):
            return Status("pending")
        return Status("finished" if made["protocol"]["hash"] == asked else "pending")


def evaluation_job(run: Job, protocol: Path) -> Job:
    """The job that evaluates a run under the protocol of a file, when that is finished."""
    from hallo3_lightning.evaluation.recipe import read_recipe  # late: who lists runs has no use for metrics

    recipe = read_recipe(str(protocol))
    device = "cpu" if run.config["trainer"]["accelerator"] == "cpu" else "auto"
    under = {"file": str(protocol), "hash": recipe.hash, "device": device}
    folder = EvaluationFolder(run.folder.path / EVALUATIONS / recipe.id)
    return Job(f"{run.name}:{recipe.id}", folder, {**run.config, OURS: under}, needs=run)


def is_evaluation(path: Path) -> bool:
    """Whether a folder is one of these."""
    return path.parent.name == EVALUATIONS
