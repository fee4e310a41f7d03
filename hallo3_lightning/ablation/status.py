"""How runs are shown: a table of where each stands, and the words for counts and durations."""

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hallo3_lightning.ablation.runs import State, Status

COLOURS: dict[State, str] = {
    "pending": "dim",
    "running": "cyan",
    "stopped": "yellow",
    "failed": "red",
    "finished": "green",
}
HEADINGS = ("run", "state", "step", "samples/s", "loss", "time", "left", "seen", "where", "note")
ALWAYS = ("run", "state")
FOLDING = {"run": 24, "note": 20}
"""Columns that may go over several lines, and the width that they keep."""
SPARE = ("seen", "where", "samples/s", "time", "left")
"""Columns to do without where the width is too small, in this order."""
AROUND = 3
"""What a column takes beside its text: padding and the line to the next; one more for the table."""
WIDTH = 150
"""Columns of a table where it goes into a file or a pipe."""
SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal obeys: colours and titles whole, and every other control character but tab and new line."""
UNSURE = ("running", "stopped")
"""States of which one wants to know when the run was last heard of."""
NEVER = Status("pending")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    status: Status
    note: str = ""
    where: str = ""
    """The machine, and the process or job, of a run that is at work."""


def page_console() -> Console:
    """The terminal, or a page of WIDTH columns where output goes into a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH)


def table(rows: Iterable[Row], title: str, caption: str = "", width: int = WIDTH) -> Table:
    """State, step, speed, loss and age of each run; a column of which nothing is known is left out.

    Where the width is too small, names and notes go over several lines, and after them the SPARE columns go.
    """
    page = Table(
        title=shown(title) or None, caption=caption or None, box=SIMPLE_HEAD, padding=(0, 1), title_justify="left"
    )
    lines = [dict(zip(HEADINGS, _cells(row), strict=True)) for row in rows]
    known = [heading for heading in HEADINGS if heading in ALWAYS or any(line[heading] for line in lines)]
    for heading in _fitting(known, lines, width):
        folds = heading in FOLDING
        page.add_column(
            heading,
            justify="left" if folds or heading == "state" else "right",
            no_wrap=not folds,
            overflow="fold",
        )
    for line in lines:
        page.add_row(*(line[str(column.header)] for column in page.columns))
    return page


def shown(text: str) -> str:
    """Text from elsewhere, such as the last line of a log, for a table or a line: nothing in it is markup, and no terminal
    obeys it."""
    return escape(SEQUENCE.sub("", text))


def _fitting(headings: Sequence[str], lines: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """The headings without as many of the spare ones as it takes for the rest to stand in one line each."""
    widest = {
        heading: max(cell_len(heading), *(Text.from_markup(line[heading]).cell_len for line in lines), 0)
        for heading in headings
    }
    needed = {heading: min(widest[heading], FOLDING.get(heading, widest[heading])) + AROUND for heading in headings}
    kept = list(headings)
    for spare in SPARE:
        if spare in kept and sum(needed[heading] for heading in kept) + 1 > width:
            kept.remove(spare)
    return kept


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


def _left(now: Status) -> str:
    """Time to the last step at the pace so far; scoring comes after it."""
    if now.state != "running" or not now.step or now.step >= now.max_steps:
        return ""
    return duration((now.max_steps - now.step) * now.seconds / now.step)


def _cells(row: Row) -> list[str]:
    now = row.status
    started = now.state != "pending" or now.updated
    return [
        escape(row.name),
        f"[{COLOURS[now.state]}]{now.state}[/]",
        f"{now.step}/{now.max_steps}" if now.max_steps else "",
        "" if now.samples_per_s is None else f"{now.samples_per_s:.1f}",
        "" if now.loss is None else f"{now.loss:.4f}",
        duration(now.seconds) if started else "",
        _left(now),
        f"{duration(max(time.time() - now.updated, 0))} ago" if now.updated and now.state in UNSURE else "",
        shown(row.where),
        shown((now.error if now.state == "failed" else "") or row.note),
    ]
