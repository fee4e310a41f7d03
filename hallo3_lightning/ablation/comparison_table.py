"""A comparison on the terminal: one table, or as many side by side as its width holds metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hallo3_lightning.ablation.comparison_page import FACTS, Cell, caption, fact_lines, heading, lines, metrics

DIM = {"control": "dim", "ceiling": "dim", "claimed": "italic"}
"""Styles of lines that are no arms."""

LABEL_SHARE = 0.4
"""Of the width, that names of arms may take."""


def show(console: Console, comparison: Mapping[str, Any]) -> None:
    """Print the table whole; where the width is too small, the facts as lines and the metrics in several tables."""
    for stamp in comparison["stamps"]:
        console.print(stamp, style="bold red", markup=False, highlight=False)
    console.print(
        comparison["question"] or comparison["grid"], style="bold", markup=False, highlight=False, soft_wrap=True
    )
    whole = _table(comparison, list(metrics(comparison)), console.width, facts=True)
    if _fits(console, whole):
        console.print(whole)
    else:
        for part in _parts(console, comparison):
            console.print(_table(comparison, part, console.width))
    console.print(caption(comparison), style="dim", markup=False, highlight=False)
    for line in [] if _fits(console, whole) else fact_lines(comparison):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _fits(console: Console, table: Table) -> bool:
    unbounded = console.options.update(max_width=100_000)
    return console.measure(table, options=unbounded).maximum <= console.width


def _parts(console: Console, comparison: Mapping[str, Any]) -> list[list[str]]:
    """The metrics in as few groups as fit, one at least in each."""
    parts: list[list[str]] = []
    for name in metrics(comparison):
        if parts and _fits(console, _table(comparison, [*parts[-1], name], console.width)):
            parts[-1].append(name)
        else:
            parts.append([name])
    return parts


def _table(comparison: Mapping[str, Any], chosen: Sequence[str], width: int, facts: bool = False) -> Table:
    """Some metrics of every line: score, difference, interval, p, one below the other."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    known = metrics(comparison)
    table.add_column("arm", max_width=int(LABEL_SHARE * width), overflow="fold")
    for name in chosen:
        table.add_column(escape(_stacked(heading(name, known[name]), known[name]["unit"])), justify="right")
    for name in FACTS if facts else ():
        table.add_column(_stacked(name), justify="right")
    rows = [line for line in lines(comparison) if line.kind == "arm" or line.cells.keys() & set(chosen)]
    for line, following in zip(rows, [*rows[1:], None], strict=True):
        cells = [_text(line.cells.get(name, Cell())) for name in chosen]
        ends = following is None or (line.kind == "arm") != (following.kind == "arm")
        row = [line.label, *cells, *(line.facts if facts else ())]
        table.add_row(*map(escape, row), style=DIM.get(line.kind, ""), end_section=ends)
    return table


def _stacked(name: str, unit: str = "") -> str:
    """A heading of short lines: the last word with its arrow, the unit below."""
    *first, last = name.split(" ")
    tail = [" ".join([*first[-1:], last]), *first[:-1]] if last[0] in "↑↓→" else [last, *first]
    return "\n".join([*([" ".join(tail[1:])] if tail[1:] else []), tail[0], *([unit] if unit else [])])


def _text(cell: Cell) -> str:
    score = f"{cell.score} {cell.mark}".strip()
    gap = f"{cell.gap} {cell.p}".strip()
    return "\n".join(part for part in (score, cell.coverage, gap, cell.interval) if part)
