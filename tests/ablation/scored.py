"""Runs of a grid whose tests gave the scores that a test of comparisons asks for, and nothing else."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from hallo3_lightning.ablation.comparison import compared
from hallo3_lightning.ablation.grid import Grid, read
from hallo3_lightning.ablation.places import write_places
from hallo3_lightning.ablation.results import collect
from hallo3_lightning.ablation.runs import RunFolder, Status

Scores = Mapping[str, Sequence[Mapping[str, float]]]
"""Arm -> clip -> score, for each seed."""


def write(
    place: Path,
    metrics: Mapping[str, tuple[bool | None, Scores]],
    identities: Mapping[str, str] | None = None,
    **page,
) -> tuple[Path, Path]:
    """A grid file and the root of its finished runs; metrics: name -> whether more is better, scores."""
    arms = [*next(iter(metrics.values()))[1]]
    (place / "grids").mkdir(parents=True, exist_ok=True)
    (place / "base.yaml").write_text("phase: audio\n")
    file = place / "grids" / "asked.yaml"
    seeds = max(len(runs) for _, scores in metrics.values() for runs in scores.values())
    told = {"question": "Which?", "base": ["base.yaml"], "arms": {arm: {"model.audio": arm} for arm in arms}}
    told |= {"seeds": [*range(seeds)], "baseline": arms[-1], "decide_by": [*metrics]}
    file.write_text(yaml.safe_dump({**told, **page}, sort_keys=False))
    grid, root = read(file), place / "runs"
    folders = {run.name: grid.folder(root) / f"{run.name}-00000000" for run in grid.runs()}
    write_places(grid, root, folders, [])
    for run in grid.runs():
        scores = {name: told[run.arm.name] for name, (_, told) in metrics.items()}
        if all(run.seed < len(runs) for runs in scores.values()):
            rows = {name: dict(runs[run.seed]) for name, runs in scores.items()}
            about = {name: better for name, (better, _) in metrics.items()}
            finish(RunFolder(folders[run.name]), rows, about, identities or {})
    return file, root


def finish(
    folder: RunFolder,
    rows: Mapping[str, Mapping[str, float]],
    better: Mapping[str, bool | None],
    identities: Mapping[str, str],
) -> None:
    """metrics.json of a test with those scores."""
    about = {
        name: {"value": sum(told.values()) / len(told), "n": len(told), "unit": "", "higher_is_better": better[name]}
        for name, told in rows.items()
    }
    report = {"protocol": {"id": "t", "hash": "00"}, "metrics": about, "controls": {}, "missing": {}, "curves": {}}
    folder.path.mkdir(parents=True)
    (folder.path / "metrics.json").write_text(
        json.dumps({**report, "rows": {"generated": rows}, "identities": identities})
    )
    folder.record_facts(trainable_parameters=1000, total_parameters=2000, steps=9, seconds=1.0)
    folder.record(Status("finished", 9, 9))


def comparison(
    place: Path,
    metrics: Mapping[str, tuple[bool | None, Scores]],
    identities: Mapping[str, str] | None = None,
    **page,
) -> dict:
    """What compare makes of such runs."""
    file, root = write(place, metrics, identities, **page)
    grid: Grid = read(file)
    return compared(grid, *collect(grid, root))
