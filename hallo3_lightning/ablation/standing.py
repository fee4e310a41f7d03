"""Where every run of a grid stands: from the runs' own files, and from the queue of SLURM for those that it has.

Nothing heavy is imported here: it is asked often, and of a hundred runs.
"""

import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Group
from rich.live import Live

from hallo3_lightning.ablation import attempts, squeue
from hallo3_lightning.ablation.claims import is_claimed
from hallo3_lightning.ablation.freezing import say_edits
from hallo3_lightning.ablation.grid import Grid, read
from hallo3_lightning.ablation.places import ROOT, ancestors, places
from hallo3_lightning.ablation.runs import RunFolder, Status
from hallo3_lightning.ablation.status import NEVER, Row, counted, page_console, table

REFRESH_S = 2.0
PAGE_S = 60.0
"""Between two tables where output is no terminal."""
AROUND = 7
"""Lines beside the rows: question, headings, edges, counts."""
OVER = ("finished", "failed")


def status(grid: Path, *, root: Path = ROOT, watch: bool = False) -> int:
    """Print the table of the grid's runs; 0 whatever their state.

    watch: again and again, until all have ended, or q or Ctrl-C.
    """
    page = read(grid)
    console = page_console()
    rows = standing(page, root)
    if watch and console.is_terminal:
        with Live(console=console, auto_refresh=False, screen=False) as live, _keys():
            while True:
                seen = _fitting(rows, console.height)
                live.update(_shown(page, seen, rows, console.width, "q ends watching, and nothing else"), refresh=True)
                if _is_over(rows) or _pressed_q(REFRESH_S):
                    return 0
                rows = standing(page, root)
    console.print(_shown(page, rows, rows, console.width))
    say_edits(console, page, root)
    while watch and not _is_over(rows):
        time.sleep(PAGE_S)
        rows = standing(page, root)
        console.print(_shown(page, rows, rows, console.width))
    return 0


def standing(grid: Grid, root: Path) -> list[Row]:
    """A row for each run that others start from, and for each run of the grid."""
    folders: list[tuple[str, RunFolder | None]] = [(run.label, run) for run in ancestors(grid, root)]
    folders += [(place.run.name, place.folder) for place in places(grid, root)]
    starts = [attempts.read(run).open for _, run in folders if run is not None]
    tasks = squeue.tasks([start.array for start in starts if start is not None])
    return [Row(name, NEVER, "not launched") if run is None else _row(name, run, tasks) for name, run in folders]


def _row(name: str, run: RunFolder, tasks: squeue.Tasks | None) -> Row:
    now, start = run.status(), attempts.read(run).open
    if now.state in OVER:
        return Row(name, now)
    if start is not None and start.array and tasks is None:
        return Row(name, now, "SLURM does not answer", run.where())
    task = tasks.get((start.array, start.task)) if start is not None and tasks else None
    if task is not None:
        return _on_slurm(name, now, task)
    if now.state == "running":
        return Row(name, now, where=run.where())
    if is_claimed(run):
        return Row(name, now, "starting")
    ended = attempts.judged(run)
    return Row(name, replace(now, state="failed", error=ended.error) if ended.error else now)


def _on_slurm(name: str, now: Status, task: squeue.Task) -> Row:
    """The queue's word stands over that of files, which a cluster's machines may not see at once."""
    if task.waits:
        return Row(name, now, str(task))
    return Row(name, replace(now, state="running"), "" if now.state == "running" else "starting", str(task))


def _fitting(rows: Sequence[Row], height: int) -> Sequence[Row]:
    """The rows, without those of finished runs where a screen of that height has no room for all."""
    if len(rows) + AROUND <= height:
        return rows
    return [row for row in rows if row.status.state != "finished"]


def _shown(grid: Grid, seen: Sequence[Row], rows: Sequence[Row], width: int, hint: str = "") -> Group:
    said = counted(row.status for row in rows)
    return Group(table(seen, grid.question, width=width), f"{said}; {hint}" if hint else said)


def _is_over(rows: Sequence[Row]) -> bool:
    return all(row.status.state in OVER for row in rows)


@contextmanager
def _keys() -> Iterator[None]:
    """Each key is read as it is pressed, where there is a keyboard."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _pressed_q(seconds: float) -> bool:
    """Whether q was pressed in that time."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return False
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable) and sys.stdin.read(1).lower() == "q"
