"""What can animate: the runs below a folder, the arms of its grids, and what was named beside."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.places import places
from hallo3_lightning.errors import UsageError


@dataclass(frozen=True)
class Candidate:
    """Weights, and what to call them."""

    label: str
    weights: Path


@dataclass(frozen=True)
class Candidates:
    """All there are.

    Args:
        root: the folder of runs and grids.
        named: folders of weights that the user gave.
    """

    root: Path
    named: Sequence[Path] = ()

    def all(self) -> list[Candidate]:
        """What was named, then every run that has a checkpoint and heard sound, whatever grid it is of."""
        files = sorted({*self.root.glob("*/config.yaml"), *self.root.glob("*/*/config.yaml")})
        runs = [file.parent for file in files if (file.parent / "checkpoints").is_dir() and _may_speak(file.parent)]
        return [Candidate(str(path), path) for path in self.named] + [
            Candidate(str(run.relative_to(self.root)), run) for run in runs
        ]

    def grids(self) -> dict[str, Path]:
        """Name -> file of each grid that was launched here and whose file is still there."""
        return dict(self._grids())

    def arms(self, grid: Path) -> list[Candidate]:
        """One finished run of each arm, that with its first such seed. Raises UsageError where there is none."""
        folders = [(place.run, place.folder) for place in places(read(grid), self.root) if place.folder is not None]
        finished = [(run, folder.path) for run, folder in folders if folder.status().state == "finished"]
        found: dict[str, Candidate] = {}
        for run, path in finished:
            if _may_speak(path):
                found.setdefault(run.arm.name, Candidate(run.name, path))
        if not finished:
            raise UsageError(f"no run of {grid} is finished; `hallo3 status {grid}` says how far they are")
        if not found:
            raise UsageError(
                f"the runs of {grid} were trained without sound and move no mouth; choose a grid of audio phases"
            )
        return list(found.values())

    def _grids(self) -> Iterator[tuple[str, Path]]:
        for page in sorted(self.root.glob("*/grid.json")):
            try:
                file = self.root / json.loads(page.read_text())["grid"]
            except (
                ValueError,
                LookupError,
                TypeError,
            ):  # damaged: `hallo3 status` says so of the one that is asked for
                continue
            if file.is_file():
                yield page.parent.name, file


def _may_speak(run: Path) -> bool:
    """Whether a run learned from sound; animating says what is wrong with a config that does not tell."""
    try:
        config = yaml.safe_load((run / "config.yaml").read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return True
    return not isinstance(config, dict) or config.get("phase") != "identity"
