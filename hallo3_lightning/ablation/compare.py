"""compare: one table of a grid's results, what it says in words, and its files."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from hallo3_lightning.ablation.comparison import DRAWS, compared
from hallo3_lightning.ablation.comparison_files import WRITERS, wanted_formats
from hallo3_lightning.ablation.comparison_page import sentences
from hallo3_lightning.ablation.comparison_table import show
from hallo3_lightning.ablation.freezing import say_edits
from hallo3_lightning.ablation.grid import Grid, read
from hallo3_lightning.ablation.log import add_entry, log_of
from hallo3_lightning.ablation.numerals import counted
from hallo3_lightning.ablation.places import ROOT, check_folder, command
from hallo3_lightning.ablation.results import Result, check_comparable, collect
from hallo3_lightning.ablation.runs import write_atomically
from hallo3_lightning.ablation.status import page_console
from hallo3_lightning.errors import UsageError

ALL = ",".join(WRITERS)


def compare(
    grid: Path,
    *,
    root: Path = ROOT,
    out: Path | None = None,
    formats: str = ALL,
    protocol: str | None = None,
    log: bool = False,
    draws: int = DRAWS,
) -> int:
    """Print the table and write its files, a picture, and TensorBoard's page; 1 while runs are missing.

    out: folder for the files; default root/<grid>. formats: of the files, with commas. protocol: whose evaluations are
    compared; default the grid's, or the runs' own test. log: also an entry in experiments/LOG.md. draws: for distances
    of sets.
    """
    wanted, folder = wanted_formats(formats), _folder(out)
    if draws < 0:
        raise UsageError(f"--draws is {draws}; expected 0 for no intervals of distances of sets, or some hundred")
    ways = read(grid)
    results, missing = collect(ways, root, protocol)
    console = page_console()
    if results:
        check_comparable(ways, results)
        comparison = compared(ways, results, missing, draws)
        _print(console, comparison)
        _write(console, ways, results, comparison, wanted, root, folder or ways.folder(root))
    say_edits(console, ways, root)
    _print_missing(console, ways, missing, grid, root)
    if log:
        if not results:
            raise UsageError(f"no run of {grid} is finished: there is nothing to log")
        typed = shlex.join(["--protocol", protocol]) if protocol else ""
        _log(console, grid, comparison, f"{command('compare', grid, root)} {typed}".strip())
    return int(bool(missing))


def _folder(out: Path | None) -> Path | None:
    if out is not None:
        check_folder("--out", out)
    return out


def _print(console: Console, comparison: Mapping[str, Any]) -> None:
    show(console, comparison)
    for sentence in sentences(comparison):
        console.print(sentence, soft_wrap=True, highlight=False, markup=False)


def _print_missing(console: Console, grid: Grid, missing: Mapping[str, str], file: Path, root: Path) -> None:
    for name, why in missing.items():
        console.print(f"[yellow]missing:[/] {name}: {escape(why)}", soft_wrap=True, highlight=False)
    if missing:
        are = f"{counted(len(grid.runs()), 'run')} {'is' if len(missing) == 1 else 'are'} missing"
        line = f"{len(missing)} of {are}; {command('ablate', file, root)} goes on with what is not trained"
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _write(
    console: Console,
    grid: Grid,
    results: Sequence[Result],
    comparison: Mapping[str, Any],
    wanted: Sequence[str],
    root: Path,
    folder: Path,
) -> None:
    from hallo3_lightning.ablation.board import write_board
    from hallo3_lightning.ablation.picture import draw

    files = {f"comparison.{WRITERS[name][0]}": WRITERS[name][1](comparison) for name in wanted}
    for name, text in files.items():
        write_atomically(folder / name, text)
    for file in draw(grid, results, folder / "comparison.png"):
        console.print(f"[yellow]not in the picture:[/] {file} is damaged", soft_wrap=True, highlight=False)
    write_board(grid, root)
    console.print(f"written to {folder}: {', '.join(files)}, comparison.png", soft_wrap=True, highlight=False)


def _log(console: Console, grid: Path, comparison: Mapping[str, Any], typed: str) -> None:
    log = log_of(grid)
    new = add_entry(log, comparison, typed)
    said = f"logged in {log}" if new else f"{log} has these runs with these numbers already: nothing added"
    console.print(said, soft_wrap=True, highlight=False, markup=False)
