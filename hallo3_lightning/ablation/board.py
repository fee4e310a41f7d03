"""TensorBoard's folder for a grid: every run under its readable name, its curves by link, settings, results and clips.

<grid>/tensorboard/<arm>-seed<k>/   links to the run's own event files, and two of ours: one with its settings, whose name
                                    sorts before them, and one with its results, whose name sorts after them
<grid>/tensorboard/truth/           the true clips, and the layout of the charts

TensorBoard takes HParams' columns from the first run that it reads, whichever that is, and leaves cells empty without a
word. So every finished run declares all of them, and only what every one has; until one is finished, none is declared.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from hallo3_lightning.ablation import board_events
from hallo3_lightning.ablation.grid import Grid
from hallo3_lightning.ablation.places import Place, places
from hallo3_lightning.ablation.results import Result, collect
from hallo3_lightning.ablation.runs import RunFolder

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "tensorboard"
TRUTH = "truth"
"""The run that holds what all runs have in common."""

FIRST, LAST = "events.out.tfevents.0000000000.board", "events.out.tfevents.9999999999.board"
"""What the names of our files begin with; a hash of what is in them follows."""

SHOWN = 4
"""Clips of each run."""


def write_board(grid: Grid, root: Path) -> Path:
    """Bring the folder up to date and return it; what has not changed is not written again."""
    folder = grid.folder(root) / FOLDER
    started = [place for place in places(grid, root) if place.folder is not None and place.folder.path.is_dir()]
    results = {result.name: result for result in collect(grid, root)[0]}
    metrics, stamps = _metrics([*results.values()]), [*dict.fromkeys(r.stamp for r in results.values() if r.stamp)]
    _forget(folder, keep=[TRUTH, *(place.run.name for place in started)])
    for place in started:
        home = folder / place.run.name
        _link(home, place.folder)
        _start(grid, place, home)
        _end(grid, results.get(place.run.name), metrics, stamps, home)
    _common(folder / TRUTH, started, [*results.values()])
    return folder


def _metrics(results: Sequence[Result]) -> list[str]:
    """Those that every finished run has a number of."""
    first = results[0].report["metrics"] if results else {}
    return [name for name in first if all(_value(result, name) is not None for result in results)]


def _value(result: Result, name: str) -> float | None:
    told = result.report["metrics"].get(name)
    return None if told is None else told["value"]


def _forget(folder: Path, keep: Iterable[str]) -> None:
    """Remove runs that are no longer of the grid."""
    for run in folder.iterdir() if folder.is_dir() else []:
        if run.name not in keep:
            rmtree(run)


def _link(home: Path, run: RunFolder | None) -> None:
    """The run's event files by name, and no others but ours."""
    assert run is not None
    home.mkdir(parents=True, exist_ok=True)
    files = {file.name: file for file in run.tensorboard.glob("events.out.tfevents.*")}
    for there in home.iterdir():
        if there.name not in files and not there.name.startswith((FIRST, LAST)):
            there.unlink()
    for name, file in files.items():
        if not os.path.lexists(home / name):
            (home / name).symlink_to(os.path.relpath(file, home))


def _start(grid: Grid, place: Place, home: Path) -> None:
    given = board_events.settings(grid, place.run)
    _write(home, FIRST, given, lambda: board_events.session_start(place.run.name, given))


def _end(grid: Grid, result: Result | None, metrics: Sequence[str], stamps: Sequence[str], home: Path) -> None:
    if result is None:
        _sweep(home, LAST)
        return
    values = {name: result.report["metrics"][name]["value"] for name in metrics}
    file = _clips_file(result)
    said = [grid.question, [board_events.settings(grid, run) for run in grid.runs()], values, stamps, _age(file)]

    def made() -> list[Any]:
        clips = board_events.clips(_clips(result, "generated"), [result.stamp] if result.stamp else [])
        return [*board_events.session_end(grid, metrics, stamps, values), *clips]

    _write(home, LAST, said, made, int(result.facts["steps"]))


def _common(home: Path, started: Sequence[Place], results: Sequence[Result]) -> None:
    """The layout once there are curves, and the true clips of the first run that has kept them."""
    tags = sorted({tag for place in started for tag in _tags(place.folder)})
    if tags:
        _write(home, FIRST, tags, lambda: board_events.layout(tags))
    kept = next((result for result in results if _clips_file(result).is_file()), None)
    if kept is not None:
        _write(home, LAST, _age(_clips_file(kept)), lambda: board_events.clips(_clips(kept, "truth")))


def _tags(run: RunFolder | None) -> set[str]:
    """What the run has logged so far: the second column of its curves.csv."""
    assert run is not None
    file = run.path / "curves.csv"
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()[1:] if file.is_file() else []
    return {fields[1] for line in lines if len(fields := line.split(",")) == 3}


def _clips_file(result: Result) -> Path:
    return result.folder.samples / "clips.safetensors"


def _clips(result: Result, source: str) -> Mapping[str, "Tensor"]:
    """Name -> frames uint8 [F, 3, H, W] of the first clips that a run has kept; none where the file is damaged."""
    names = [*result.report.get("curves", {})]
    try:
        with safe_open(_clips_file(result), framework="pt") as file:
            videos = file.get_tensor(source)[:SHOWN]
    except (OSError, SafetensorError):
        return {}
    return {names[i] if i < len(names) else str(i): video for i, video in enumerate(videos)}


def _age(file: Path) -> int:
    """Changes when the file does; 0 where there is none."""
    return file.stat().st_mtime_ns if file.is_file() else 0


def _write(home: Path, stem: str, said: Any, values: Any, step: int = 0) -> None:
    """One of our files, unless one that says the same is there; in place of one that says something else."""
    sign = hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=6).hexdigest()
    file = home / f"{stem}.{sign}"
    if not file.is_file():
        board_events.write(file, values(), step)
    _sweep(home, stem, keep=file.name)


def _sweep(home: Path, stem: str, keep: str = "") -> None:
    for old in home.glob(f"{stem}.*"):
        if old.name != keep:
            old.unlink()
