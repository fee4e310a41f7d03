"""Where every run of a grid stands, from the runs' own files."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.places import ROOT, ancestors, places
from hallo3_lightning.ablation.runs import State, Status

COLOURS: dict[State, str] = {
    "pending": "dim",
    "running": "cyan",
    "stopped": "yellow",
    "failed": "red",
    "finished": "green",
}
HEADINGS = ("run", "state", "step", "samples/s", "loss", "time", "seen", "note")
UNSURE = ("running", "stopped")
"""States of which one wants to know when the run was last heard of."""
NEVER = Status("pending")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    status: Status
    note: str = ""


def status(grid: Path, *, root: Path = ROOT) -> int:
    """Print the table of the grid's runs; 0 whatever their state."""
    page = read(grid)
    rows = [Row(run.path.name, run.status()) for run in ancestors(page, root)]
    rows += [
        Row(place.run.name, place.folder.status()) if place.folder else Row(place.run.name, NEVER, "not launched")
        for place in places(page, root)
    ]
    console = Console()
    console.print(table(rows, page.question))
    console.print(counted(row.status for row in rows))
    return 0


def table(rows: Iterable[Row], title: str, caption: str = "") -> Table:
    """State, step, speed, loss and age of each run; a column of which nothing is known is left out."""
    page = Table(title=title or None, caption=caption or None, box=SIMPLE_HEAD, padding=(0, 1), title_justify="left")
    cells = [_cells(row) for row in rows]
    known = [i for i in range(len(HEADINGS)) if i < 2 or any(line[i] for line in cells)]
    for i in known:
        text = HEADINGS[i] in ("run", "state", "note")
        page.add_column(HEADINGS[i], justify="left" if text else "right", no_wrap=HEADINGS[i] != "note")
    for line in cells:
        page.add_row(*(line[i] for i in known))
    return page


def counted(statuses: Iterable[Status]) -> str:
    """How many runs are in which state, in one line."""
    counts = Counter(status.state for status in statuses)
    return ", ".join(f"{counts[state]} {state}" for state in COLOURS if counts[state]) or "no runs"


def duration(seconds: float) -> str:
    """5 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _cells(row: Row) -> list[str]:
    now = row.status
    started = now.state != "pending" or now.updated
    return [
        row.name,
        f"[{COLOURS[now.state]}]{now.state}[/]",
        f"{now.step}/{now.max_steps}" if now.max_steps else "",
        "" if now.samples_per_s is None else f"{now.samples_per_s:.1f}",
        "" if now.loss is None else f"{now.loss:.4f}",
        duration(now.seconds) if started else "",
        f"{duration(max(time.time() - now.updated, 0))} ago" if now.updated and now.state in UNSURE else "",
        escape((now.error if now.state == "failed" else "") or row.note),
    ]
