"""From a grid to jobs: the whole config and the folder of each run, after those of the runs that it starts from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hallo3_lightning.ablation import runs
from hallo3_lightning.ablation.grid import Grid, Run
from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.errors import UsageError


def plan(grid: Grid, selected: Sequence[Run], root: Path) -> list[Job]:
    """A job for each selected run, after a job for each run that it starts from."""
    jobs: dict[Path, Job] = {}
    ordered = []
    for run in selected:
        placing = {
            "run.root": str(grid.folder(root)),
            "run.name": run.arm.name,
            "run.ancestors": str(root),
            "run.evaluate": True,
        }
        config = runs.resolve(grid.base, {**run.overrides, **placing})
        _check_ancestor(grid, config)
        folder = runs.named(config, root=grid.folder(root), name=run.arm.name)
        ordered.append(Job(run.name, folder, config, needs=_ancestor(config, root, jobs)))
    return [*jobs.values(), *ordered]


def _check_ancestor(grid: Grid, config: Mapping[str, Any]) -> None:
    """Configs name what they start from as seen from the project's folder: said here, where somebody is elsewhere."""
    lost = next((file for file in runs.ancestor(config) or [] if not Path(file).is_file()), None)
    if lost is None:
        return
    homes = [folder for folder in grid.path.resolve().parents if (folder / lost).is_file()]
    do = f"run this from {homes[0]}" if homes else "run this from the folder above experiments/, or mend its name"
    raise UsageError(f"{grid.path} starts from {lost}, which is not in {Path.cwd()}; {do}")


def _ancestor(config: Mapping[str, Any], root: Path, jobs: dict[Path, Job]) -> Job | None:
    """The job for the run that a config starts from, made once for all that share it."""
    files = runs.ancestor(config)
    if files is None:
        return None
    above = runs.resolve(files, {"run.root": str(root), "run.ancestors": str(root)})
    folder = runs.named(above, root=root)
    if folder.path not in jobs:
        needs = _ancestor(above, root, jobs)
        jobs[folder.path] = Job(folder.path.name, folder, above, needs)
    return jobs[folder.path]
