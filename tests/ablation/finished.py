"""Folders of a finished grid with made-up but lawful results, for what only reads them."""

import json
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from hallo3_lightning.ablation.grid import Grid, read
from hallo3_lightning.ablation.places import write_places
from hallo3_lightning.ablation.runs import RunFolder, Status

CLIPS = 6
SCORES = {"a": {0: 0.50, 1: 0.60}, "b": {0: 0.30, 1: 0.30}, "c": {0: 0.02, 1: 0.0}}
"""Arm -> seed -> mouth correlation."""
OTHERS = {
    "mouth_lag": (-0.5, "frames", None),
    "identity_distance": (3.25, "deviations", False),
    "temporal_jitter": (1.25, "grey levels", None),
    "seam": (0.25, "grey levels", False),
    "psnr": (22.5, "dB", True),
}
"""Metric -> score of every clip, unit, whether more is better."""


def grid_file(folder: Path, **page) -> Path:
    (folder / "grids").mkdir(parents=True, exist_ok=True)
    (folder / "base.yaml").write_text("phase: audio\n")
    file = folder / "grids" / "ways.yaml"
    ways = {"question": "Which way?", "base": ["base.yaml"], "axes": {"model.audio": [*SCORES]}, "seeds": [0, 1]}
    file.write_text(yaml.safe_dump({**ways, "baseline": "b", **page}))
    return file


def finish(
    folder: RunFolder,
    score: float,
    *,
    protocol: str = "aaaa1111",
    steps: int = 500,
    parameters: int = 1000,
    clips: int = CLIPS,
) -> None:
    """Results in the form of metrics.json: clips spread by ±0.1 about the score, the control about 0."""
    spread = {f"clip-{i}": 0.1 * (-1) ** i for i in range(clips)}
    n = {"n": clips, "std_error": 0.04}
    generated = {
        "mouth_correlation": {clip: score + apart for clip, apart in spread.items()},
        **{name: dict.fromkeys(spread, value) for name, (value, _, _) in OTHERS.items()},
    }
    known = {"mouth_correlation": ("correlation", True), **{name: about[1:] for name, about in OTHERS.items()}}
    values = {"mouth_correlation": score, **{name: value for name, (value, _, _) in OTHERS.items()}}
    correlation = {**n, "unit": "correlation", "higher_is_better": True}
    report = {
        "protocol": {"id": "tiny-v1", "hash": protocol},
        "metrics": {
            name: {"value": values[name], **n, "unit": unit, "higher_is_better": better}
            for name, (unit, better) in known.items()
        },
        "controls": {
            "reconstruction": {"mouth_correlation": {"value": 0.75, **correlation}},
            "shuffled_audio": {"mouth_correlation": {"value": 0.0, **correlation}},
        },
        "rows": {
            "generated": generated,
            "reconstruction": {"mouth_correlation": dict.fromkeys(spread, 0.75)},
            "shuffled_audio": {"mouth_correlation": {k: -v for k, v in spread.items()}},
        },
        "missing": {},
        "curves": {},
    }
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.samples.mkdir(exist_ok=True)
    (folder.path / "metrics.json").write_text(json.dumps(report))
    folder.record_facts(trainable_parameters=parameters, total_parameters=9000, steps=steps, seconds=61.0)
    folder.record(Status("finished", steps, steps, 0.1, 40.0, 61.0))
    shape = (2, 17, 3, 20, 24)
    noise = torch.Generator().manual_seed(0)
    names = ("truth", "generated", "reconstruction")
    save_file(
        {name: torch.randint(0, 255, shape, dtype=torch.uint8, generator=noise) for name in names},
        folder.samples / "clips.safetensors",
    )


def finished_grid(
    folder: Path, skip: tuple[str, ...] = (), odd: dict[str, dict] | None = None, **page
) -> tuple[Path, Path]:
    """A grid file and the root of its runs, all finished but those in `skip`; `odd`: run -> arguments of finish."""
    file, root = grid_file(folder, **page), folder / "runs"
    grid: Grid = read(file)
    names = [run.name for run in grid.runs()]
    write_places(grid, root, {name: grid.folder(root) / f"{name}-00000000" for name in names}, [])
    for run in grid.runs():
        if run.name not in skip:
            how = {
                "parameters": {"a": 1100, "b": 1080, "c": 1060}.get(run.arm.name, 1000),
                **(odd or {}).get(run.name, {}),
            }
            finish(
                RunFolder(grid.folder(root) / f"{run.name}-00000000"),
                SCORES[run.arm.name.split(",")[0]][run.seed],
                **how,
            )
    return file, root
