"""Where the behaviour tests work: what they type, and how they look at what a run left behind."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hallo3_lightning.ablation.runs import RunFolder, named
from hallo3_lightning.cli import main
from hallo3_lightning.training.checkpoints import newest
from hallo3_lightning.training.settings import settings_of
from hallo3_lightning.training.writing import Folders

ROOT = Path(__file__).parents[2]
TINY = ROOT / "experiments/tiny"

LAYER = """
model:
  backbone: {{width: 32, heads: 2, blocks: 2, time_width: 24}}
  encoders: {{video_folder: {folder}/shards/autoencoder}}
  options:
    cross_attention: {{tokens: 2, width: 16, hidden: 20}}
    adaln: {{tokens: 2, width: 16, hidden: 20}}
    token_concat: {{tokens: 2, width: 16, hidden: 20}}
    face_attention: {{width: 14}}
    face_adaln: {{width: 14}}
  sampling: {{steps: 2}}
data: {{shards: {folder}/shards, batch_size: 3, eval_batch_size: 2}}
trainer: {{max_steps: 2, val_check_interval: 2, log_every_n_steps: 1}}
run: {{root: {folder}/runs, ancestors: {folder}/runs, sample_every: 0}}
"""


@dataclass(frozen=True)
class Studio:
    """A folder with shards/, small.yaml and runs/."""

    folder: Path

    @property
    def identity(self) -> tuple[str, ...]:
        """What one types after a verb for the small phase 1."""
        return "--config", str(TINY / "identity.yaml"), "--config", str(self.folder / "small.yaml")

    @property
    def audio(self) -> tuple[str, ...]:
        """The same for phase 2, from the small phase 1."""
        below = f"--model.init_from=[{TINY / 'identity.yaml'}, {self.folder / 'small.yaml'}]"
        return "--config", str(TINY / "audio.yaml"), "--config", str(self.folder / "small.yaml"), below

    @property
    def runs(self) -> list[str]:
        """Names of all the run folders."""
        return sorted(path.name for path in (self.folder / "runs").glob("*"))

    def run(self, *arguments: str) -> RunFolder:
        """Type `hallo3 ...` in this process, which must go well, and give the run's folder."""
        assert main(arguments) == 0
        return self.place(*arguments)

    def place(self, *arguments: str) -> RunFolder:
        """The folder that a command line means."""
        return named(settings_of(arguments[1:]))


def process(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Type `hallo3 ...` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "hallo3_lightning.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def events(run: RunFolder) -> EventAccumulator:
    """Everything in a run's TensorBoard folder."""
    return EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0, "images": 0}).Reload()


def scalars(run: RunFolder, tag: str) -> list[tuple[int, float]]:
    """(step, value) of a tag, as TensorBoard shows them."""
    return [(event.step, event.value) for event in events(run).Scalars(tag)]


def checkpoint(run: RunFolder) -> dict[str, Any]:
    path = newest(run.checkpoints)
    assert path is not None
    return Folders().load_checkpoint(path)


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
