"""Where the runs of a grid lie: root/<grid>/grid.json.

To find a run's folder takes its whole resolved config, seconds of imports; so the launcher writes it down.
"""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from hallo3_lightning.ablation.caching import CacheFolder
from hallo3_lightning.ablation.evaluating import EvaluationFolder, is_evaluation
from hallo3_lightning.ablation.grid import Grid, Run
from hallo3_lightning.ablation.meaning import NAMED_CACHE
from hallo3_lightning.ablation.runs import RunFolder, write_atomically
from hallo3_lightning.errors import UsageError
from hallo3_lightning.strict_json import read_json

ROOT = Path("runs")
"""Folder of runs where no other is given."""


class Entry(TypedDict):
    """A run in grid.json."""

    folder: str
    overrides: dict[str, Any]


class Written(TypedDict):
    """grid.json: the grid's file and its runs, as seen from root."""

    grid: NotRequired[str]
    runs: dict[str, Entry]
    ancestors: list[str]


NOTHING: Written = {"runs": {}, "ancestors": []}


@dataclass(frozen=True)
class Place:
    """A run of the grid and the folder that the launcher gave it; None where it was never launched."""

    run: Run
    folder: RunFolder | None


def write_places(grid: Grid, root: Path, folders: Mapping[str, Path], ancestors: Sequence[Path]) -> None:
    """Add run name -> folder to root/<grid>/grid.json, with what each run was then; paths are relative to root.

    Runs that are no longer of the grid keep their entries. Raises UsageError where the folder is another grid's.
    """
    known = _parsed(_file(grid, root)) or NOTHING
    _refuse_namesake(grid, root, known)
    runs = {run.name: run for run in grid.runs()}

    def relative(folder: Path) -> str:
        return os.path.relpath(folder, root)

    entries = {
        name: {"folder": relative(folder), "overrides": dict(runs[name].overrides)} for name, folder in folders.items()
    }
    page = {
        "grid": os.path.relpath(grid.path.resolve(), root.resolve()),
        "runs": {**known["runs"], **entries},
        "ancestors": sorted({*known["ancestors"], *map(relative, ancestors)}),
    }
    write_atomically(_file(grid, root), json.dumps(page, indent=1))


def places(grid: Grid, root: Path) -> list[Place]:
    """Every run of the grid with its folder; a run whose settings have changed since has none."""
    written = _written(grid, root)["runs"]
    return [Place(run, _folder(root, run, written.get(run.name))) for run in grid.runs()]


def ancestors(grid: Grid, root: Path) -> list[RunFolder]:
    """Runs that runs of the grid start from, caches that they read, and their evaluations under the grid's protocol."""
    folders = [root / path for path in _written(grid, root)["ancestors"]]
    return [_of_its_kind(path) for path in folders]


def _of_its_kind(path: Path) -> RunFolder:
    if is_evaluation(path):
        return EvaluationFolder(path)
    return CacheFolder(path) if NAMED_CACHE.fullmatch(path.name) else RunFolder(path)


def command(verb: str, grid: Path, root: Path) -> str:
    """What to type for a verb on the grid, for hints."""
    return shlex.join(["hallo3", verb, str(grid), *([] if root == ROOT else ["--root", str(root)])])


def check_folder(option: str, folder: Path) -> None:
    """Raise a UsageError where the folder could not be made because a file is in its way."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), Path())
    if not there.is_dir():
        raise UsageError(f"{option} is {folder}, but {there} is a file; name a folder")


def check_root(root: Path) -> None:
    """Raise a UsageError where --root, of which something is to be read, is no folder; the default may be made yet."""
    check_folder("--root", root)
    if root != ROOT and not root.is_dir():
        raise UsageError(
            f"--root is {root}, which is not there; name the folder of runs that `hallo3 ablate` was given"
        )


def _folder(root: Path, run: Run, entry: Entry | None) -> RunFolder | None:
    if entry is None or entry["overrides"] != dict(run.overrides):
        return None
    return RunFolder(root / entry["folder"])


def _file(grid: Grid, root: Path) -> Path:
    return grid.folder(root) / "grid.json"


def _written(grid: Grid, root: Path) -> Written:
    """What the launcher wrote; empty where it never did."""
    file = _file(grid, root)
    if not file.is_file():
        return NOTHING
    page = _parsed(file)
    if page is None:
        raise UsageError(f"{file} is damaged; `{command('ablate', grid.path, root)}` writes it again")
    _refuse_namesake(grid, root, page)
    return page


def _parsed(file: Path) -> Written | None:
    """The page, None where there is none or where it is not of the form that write_places gives it."""
    try:
        return read_json(file, Written)
    except (FileNotFoundError, ValueError):
        return None


def _refuse_namesake(grid: Grid, root: Path, page: Written) -> None:
    """Two grid files of one name would share a folder and take each other's runs for their own.

    A file that is no longer where it was has been moved, with its checkout or without; one that is the same word for
    word is a copy of the project with the same root.
    """
    if "grid" not in page:
        return
    other = Path(os.path.normpath(root.resolve() / page["grid"]))
    if other.is_file() and other != grid.path.resolve() and other.read_bytes() != grid.path.read_bytes():
        raise UsageError(
            f"{grid.folder(root)} holds the runs of another grid file, {other}; rename {grid.path} or give another --root"
        )
