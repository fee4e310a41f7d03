"""Strata for the eye: a table, a page of markdown, a picture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from hallo3_lightning.evaluation.rows_file import GENERATED, Scored
from hallo3_lightning.evaluation.strata import SURE, Cell, Score, Strata

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red")
"""Of sources, in their order: what was generated comes first."""

BETTER = {True: "↑", False: "↓", None: "→0"}


def table(strata: Strata, found: Scored) -> Table:
    """Cells with their clips and every metric; below each cell its floor and ceiling; grey where clips are few."""
    page = Table(
        title=f"{strata.dimension.name} ({strata.dimension.unit})",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    page.add_column(strata.dimension.name)
    page.add_column("clips", justify="right")
    for heading in _headings(strata, found):
        page.add_column(escape(heading), justify="right")
    for cell in strata.cells:
        for source, cells in _lines(strata, cell):
            label = cell.label if source == GENERATED else f"  {_words(source)}"
            clips = _clips(cell) if source == GENERATED else ""
            grey = cell.few or source != GENERATED
            page.add_row(label, clips, *cells, style="bright_black" if grey else "")
    return page


def markdown(strata: Strata, found: Scored, least: int) -> str:
    """The same table, few clips marked, and what can be said of it in words."""
    headings = [strata.dimension.name, "clips", *_headings(strata, found)]
    lines = [f"## {strata.dimension.name} ({strata.dimension.unit})", "", "| " + " | ".join(headings) + " |"]
    lines.append("|---" + "|---:" * (len(headings) - 1) + "|")
    for cell in strata.cells:
        for source, cells in _lines(strata, cell):
            first = [f"{cell.label} (few)" if cell.few else cell.label, _clips(cell)]
            lines.append("| " + " | ".join([*(first if source == GENERATED else [_words(source), ""]), *cells]) + " |")
    return "\n".join([*lines, "", caption(strata, found, least), "", *(f"- {s}" for s in sentences(strata)), ""])


def sentences(strata: Strata) -> list[str]:
    """What the cells' differences say, one line a metric and cell."""
    if not strata.contrasts:
        return [f"No two cells of {strata.dimension.name} have enough clips to be compared."]
    return [_sentence(strata, contrast) for contrast in strata.contrasts]


def _sentence(strata: Strata, contrast: Any) -> str:
    difference, where = contrast.difference, f"{strata.dimension.name} {contrast.cell} against {contrast.against}"
    numbers = f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], corrected p {contrast.p:.3g}"
    if contrast.p < SURE:
        return f"{_words(contrast.metric)}: {where} differs by {numbers}."
    return (
        f"{_words(contrast.metric)}: no difference found of {where} ({numbers}); "
        f"one of {difference.detectable:.3f} would have been, nine times of ten."
    )


def page(strata: Sequence[Strata], found: Scored) -> dict[str, Any]:
    """The contents of strata.json."""
    return {"stamps": [*found.stamps], "strata": {one.dimension.name: _plain(one) for one in strata}}


def draw(strata: Sequence[Strata], found: Scored, path: Path) -> None:
    """Write a picture: a row of panels a dimension, a panel a metric, 95 % intervals, grey where clips are few."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(metric for one in strata for _, _, metric in one.scores))
    figure = Figure(figsize=(2.6 * len(metrics) + 0.6, 2.3 * len(strata) + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(strata), len(metrics), squeeze=False)
    for row, one in zip(axes, strata, strict=True):
        for axis, metric in zip(row, metrics, strict=True):
            _panel(axis, one, metric)
            axis.set_title(f"{_words(metric)} {BETTER[found.metrics[GENERATED, metric].higher_is_better]}", fontsize=8)
            axis.set_ylabel(found.metrics[GENERATED, metric].unit, fontsize=7)
    handles = {
        text: handle for axis in axes.flat for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=7)
    if found.stamps:
        figure.suptitle("; ".join(found.stamps), fontsize=9)
    figure.savefig(path, dpi=120)


def _panel(axis: Any, strata: Strata, metric: str) -> None:
    sources = dict.fromkeys(source for _, source, m in strata.scores if m == metric)
    for place, source in enumerate(sources):
        style = {"fmt": "o" if source == GENERATED else "_", "markersize": 4}
        axis.errorbar([], [], [], color=COLOURS[place % len(COLOURS)], label=_words(source), **style)
        for x, cell in enumerate(strata.cells):
            interval = strata.scores[cell.label, source, metric].interval
            if interval is None:
                continue
            reach = interval.high - interval.mean if interval.identities > 1 else 0.0
            colour = "silver" if cell.few else COLOURS[place % len(COLOURS)]
            axis.errorbar(x + 0.15 * place, interval.mean, reach, color=colour, **style)
    ticks = [f"{cell.label}\nn={len(cell.chosen)}" for cell in strata.cells]
    axis.set_xticks(range(len(ticks)), ticks, fontsize=6)
    axis.set_xlim(-0.5, len(ticks) - 0.3)
    axis.set_xlabel(strata.dimension.name, fontsize=7)
    axis.tick_params(axis="y", labelsize=6)


def _lines(strata: Strata, cell: Cell) -> Iterator[tuple[str, list[str]]]:
    metrics = list(dict.fromkeys(metric for _, _, metric in strata.scores))
    sources = dict.fromkeys([GENERATED, *(source for _, source, _ in strata.scores)])
    for source in sources:
        yield source, [_cell(strata.scores.get((cell.label, source, metric))) for metric in metrics]


def _cell(score: Score | None) -> str:
    if score is None or score.interval is None:
        return "–"
    reach = "" if score.interval.identities < 2 else f" ±{score.interval.high - score.interval.mean:.2f}"
    return f"{score.interval.mean:.2f}{reach}" + (f" ({score.unscored} unscored)" if score.unscored else "")


def _clips(cell: Cell) -> str:
    return str(len(cell.clips)) if cell.chosen == cell.clips else f"{len(cell.chosen)} of {len(cell.clips)}"


def _headings(strata: Strata, found: Scored) -> list[str]:
    metrics = dict.fromkeys(metric for _, _, metric in strata.scores)
    return [f"{_words(m)} {BETTER[found.metrics[GENERATED, m].higher_is_better]}" for m in metrics]


def caption(strata: Strata, found: Scored, least: int) -> str:
    """What stands under the table."""
    notes = [
        "mean ± 95 % over identities",
        f"grey: fewer than {least} clips",
        "cells with enough are cut to equal n, sentences are of all their clips",
    ]
    return "; ".join([*found.stamps, *notes, *[f"{strata.beyond} clips in no cell"] * bool(strata.beyond)])


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plain(strata: Strata) -> Mapping[str, Any]:
    return {
        "unit": strata.dimension.unit,
        "clips_in_no_cell": strata.beyond,
        "cells": [
            {
                "cell": cell.label,
                "clips": len(cell.clips),
                "used": len(cell.chosen),
                "few": cell.few,
                "scores": {
                    source: {m: _numbers(score) for (c, s, m), score in strata.scores.items() if (c, s) == (cell.label, source)}
                    for source in dict.fromkeys(source for _, source, _ in strata.scores)
                },
            }
            for cell in strata.cells
        ],
        "contrasts": [
            {"metric": c.metric, "cell": c.cell, "against": c.against, **_finite(asdict(c.difference)), "corrected_p": c.p}
            for c in strata.contrasts
        ],
    }  # fmt: skip


def _numbers(score: Score) -> dict[str, Any]:
    return {**({} if score.interval is None else _finite(asdict(score.interval))), "unscored": score.unscored}


def _finite(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """NaN, of which JSON knows nothing, as null."""
    return {name: value if value == value else None for name, value in numbers.items()}
