"""Strata for the eye: tables, a page of markdown, and the same as JSON. Rows are metrics and arms, columns are cells."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from hallo3_lightning.evaluation.arms import Arms
from hallo3_lightning.evaluation.rows_file import GENERATED
from hallo3_lightning.evaluation.strata import SURE, Cell, Contrast, Score, SetScore, Strata

BETTER = {True: " ↑", False: " ↓", None: ""}

SHARED = ("real", "real_floor", "reconstruction")
"""Sources that do not depend on the arm: told once, of the first."""

MOST_SENTENCES = 8
"""Beyond which only differences that were found are told, and the rest are counted."""


@dataclass(frozen=True)
class Line:
    """A row of the table: one metric of one arm, and what stands in each cell."""

    metric: str
    arm: str
    cells: tuple[str, ...]
    few: tuple[bool, ...]
    beside: bool
    """Whether it is there to read others beside."""


def table(strata: Strata, found: Arms) -> Table:
    """Every metric of every arm along the cells; grey where clips are few, and what there is to read scores beside."""
    page = Table(
        title=escape(f"{strata.dimension.name} ({strata.dimension.unit})"),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
    )
    page.add_column("metric")
    page.add_column("arm")
    for cell in strata.cells:
        page.add_column(f"{cell.label}\n{_clips(cell)}", justify="right")
    last = ""
    for line in lines(strata, found):
        shown = [f"[bright_black]{escape(text)}[/]" if few else escape(text)
                 for text, few in zip(line.cells, line.few, strict=True)]  # fmt: skip
        heading = "" if line.metric == last else _heading(line.metric, found)
        page.add_row(escape(heading), escape(line.arm), *shown, style="bright_black" if line.beside else "")
        last = line.metric
    return page


def markdown(strata: Strata, found: Arms, least: int) -> str:
    """The same table, few clips in brackets, and what can be said of it in words."""
    headings = ["metric", "arm", *(f"{cell.label}, {_clips(cell)}" for cell in strata.cells)]
    page = [f"## {strata.dimension.name} ({strata.dimension.unit})", "", "| " + " | ".join(headings) + " |"]
    page.append("|---|---|" + "---:|" * len(strata.cells))
    for line in lines(strata, found):
        shown = [f"({text})" if few and text != "–" else text for text, few in zip(line.cells, line.few, strict=True)]
        named = [text.replace("|", "\\|") for text in (_heading(line.metric, found), line.arm)]
        page.append("| " + " | ".join([*named, *shown]) + " |")
    told = [f"- {_sentence(strata, contrast)}" for contrast in strata.contrasts] or [f"- {_nothing(strata)}"]
    return "\n".join([*page, "", caption(strata, found, least), "", *told, ""])


def lines(strata: Strata, found: Arms) -> Iterator[Line]:
    """Distances of sets first, unbiased ones before others; then each metric of clips, and what to read it beside."""
    for metric in strata.set_metrics:
        for arm in found.arms:
            each = [strata.sets.get((cell.label, arm.name, metric)) for cell in strata.cells]
            few = tuple(score is None or score.few for score in each)
            yield Line(metric, arm.name, tuple(map(_of_set, each)), few, beside=False)
    for metric in strata.metrics:
        for name, whose, source in _beside_each_other(strata, found, metric):
            scores = [strata.scores.get((cell.label, whose, source, metric)) for cell in strata.cells]
            few = tuple(cell.few for cell in strata.cells)
            yield Line(metric, name, tuple(map(_of_clips, scores)), few, beside=source != GENERATED)


def _beside_each_other(strata: Strata, found: Arms, metric: str) -> Iterator[tuple[str, str, str]]:
    """Name, arm and source of each line of a metric."""
    there = {(arm, source) for _, arm, source, told in strata.scores if told == metric}
    first = found.arms[0].name
    for arm in found.arms:
        for source in found.sources:
            if source not in SHARED and (arm.name, source) in there:
                yield arm.name if source == GENERATED else f"{arm.name}: {words(source)}", arm.name, source
    for source in SHARED:
        if (first, source) in there:
            yield words(source), first, source


def sentences(strata: Strata) -> list[str]:
    """What the differences say, one line each; of many, those that were found, and how many were not."""
    if not strata.contrasts:
        return [_nothing(strata)]
    if len(strata.contrasts) <= MOST_SENTENCES:
        return [_sentence(strata, contrast) for contrast in strata.contrasts]
    sure = [contrast for contrast in strata.contrasts if contrast.p < SURE]
    rest = f"No difference found in {len(strata.contrasts) - len(sure)} of {len(strata.contrasts)} comparisons."
    return [*(_sentence(strata, contrast) for contrast in sure), rest]


def _nothing(strata: Strata) -> str:
    return f"No cells of {strata.dimension.name} have enough clips to be compared."


def _sentence(strata: Strata, contrast: Contrast) -> str:
    difference, name = contrast.difference, strata.dimension.name
    where = (
        f"{contrast.arm} against {contrast.against} at {name} {contrast.cell}"
        if contrast.of_arms
        else f"{contrast.arm}, {name} {contrast.cell} against {contrast.against}"
    )
    numbers = f"{difference.mean:+.3g} [{difference.low:+.3g}, {difference.high:+.3g}], corrected p {contrast.p:.2g}"
    if contrast.p < SURE:
        return f"{words(contrast.metric)} of {where} differs by {numbers}."
    return (
        f"{words(contrast.metric)} of {where}: no difference found ({numbers}); "
        f"one of {difference.detectable:.3g} would have been, nine times of ten."
    )


def caption(strata: Strata, found: Arms, least: int) -> str:
    """What stands under the table."""
    seeds = {len(arm.runs) for arm in found.arms}
    notes = [
        f"mean ± 95 % over identities{' and seeds' if max(seeds) > 1 else ' of one training seed'}",
        found.who,
        f"grey: fewer than {least} clips",
        "cells with enough are cut to equal n, sentences are of all their clips",
    ]
    if strata.sets:
        notes.append(
            "distances of real and generated clips of a cell at equal n, [95 %] over halves, grey below 256 clips "
            "(30 for KID and KVD, which alone do not grow as clips get fewer)"
        )
    notes += [f"{strata.beyond} clips in no cell"] * bool(strata.beyond)
    notes += [f"{found.left_out} clips that not every folder has are left out"] * bool(found.left_out)
    return "; ".join([*found.stamps, *notes])


def page(strata: Sequence[Strata], found: Arms) -> dict[str, Any]:
    """The contents of strata.json."""
    arms = {arm.name: [str(folder) for folder in arm.folders] for arm in found.arms}
    return {"stamps": [*found.stamps], "arms": arms, "strata": {one.dimension.name: _plain(one) for one in strata}}


def words(name: str) -> str:
    """A name as it is read."""
    return name.replace("_", " ")


def number(value: float) -> str:
    """With three digits or more."""
    size = abs(value)
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"


def _of_clips(score: Score | None) -> str:
    if score is None or score.interval is None:
        return "–"
    reach = "" if score.interval.identities < 2 else f" ±{number(score.interval.high - score.interval.mean)}"
    return f"{number(score.interval.mean)}{reach}" + (f" ({score.unscored} unscored)" if score.unscored else "")


def _of_set(score: SetScore | None) -> str:
    if score is None:
        return "–"
    return f"{number(score.value)} [{number(score.low)}, {number(score.high)}] n={score.clips}"


def _clips(cell: Cell) -> str:
    return f"n={len(cell.chosen)}" + ("" if cell.chosen == cell.clips else f" of {len(cell.clips)}")


def _heading(metric: str, found: Arms) -> str:
    about = found.about(metric)
    return f"{words(metric)}{BETTER[about.higher_is_better]}{f' {about.unit}' if about.unit not in ('', '1') else ''}"


def _plain(strata: Strata) -> Mapping[str, Any]:
    return {
        "unit": strata.dimension.unit,
        "clips_in_no_cell": strata.beyond,
        "cells": [_cell(strata, cell) for cell in strata.cells],
        "contrasts": [
            {**{k: v for k, v in asdict(c).items() if k not in ("difference", "p")}, **_finite(asdict(c.difference)),
             "corrected_p": c.p}
            for c in strata.contrasts
        ],
    }  # fmt: skip


def _cell(strata: Strata, cell: Cell) -> dict[str, Any]:
    scores: dict[str, Any] = {}
    for (label, arm, source, metric), score in strata.scores.items():
        if label == cell.label:
            scores.setdefault(arm, {}).setdefault(source, {})[metric] = _numbers(score)
    for (label, arm, metric), of_set in strata.sets.items():
        if label == cell.label:
            scores.setdefault(arm, {}).setdefault("sets", {})[metric] = _finite(asdict(of_set))
    return {
        "cell": cell.label, "clips": len(cell.clips), "used": len(cell.chosen), "few": cell.few, "scores": scores
    }  # fmt: skip


def _numbers(score: Score) -> dict[str, Any]:
    return {**({} if score.interval is None else _finite(asdict(score.interval))), "unscored": score.unscored}


def _finite(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """NaN, of which JSON knows nothing, as null."""
    return {name: value if value == value else None for name, value in numbers.items()}
