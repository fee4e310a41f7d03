"""The table of scores: arms by metrics, each number beside a picture of where it lies; floor, ceiling and claims below."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hallo3_lightning.ablation.comparison_page import DISTANCE, heading, metrics
from hallo3_lightning.ablation.numerals import counted, number, p_value, words
from hallo3_lightning.ablation.results import CEILINGS


@dataclass(frozen=True)
class Column:
    """A metric."""

    metric: str
    title: str
    unit: str
    decides: bool


@dataclass(frozen=True)
class Cell:
    """A score. Places are shares of the column's width, from its lowest number to its highest.

    sort: what rows are sorted by, the better the larger; seeds: places of the seeds' means; interval: ends of the 95 %
    interval, None where there is none; difference: to the baseline, in words; mark: best, even (not to be told from the
    best), or none.
    """

    text: str
    sort: float
    place: float
    seeds: tuple[float, ...]
    interval: tuple[float, float] | None
    clips: str
    difference: str
    mark: str


@dataclass(frozen=True)
class Row:
    """An arm (with its number), or what arms are read beside: kind is arm, floor, ceiling or claimed."""

    name: str
    kind: str
    arm: int | None
    note: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    """Columns and rows, arms first."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def table(comparison: Mapping[str, Any], numbers: Mapping[str, int]) -> Table:
    """The table of a comparison, what decides first; numbers: those of the arms, by name."""
    told = metrics(comparison)
    deciding = comparison["decide_by"]
    columns = tuple(Column(name, _title(name, about), about["unit"], name in deciding) for name, about in told.items())
    rows = [row for row in _rows(comparison, numbers) if row[-1].keys() & told.keys()]
    scales = {name: _scale([scores[name] for *_, scores in rows if name in scores]) for name in told}
    return Table(
        columns,
        tuple(
            Row(title, kind, arm, note, tuple(_cell(scores.get(name), told[name], scales[name]) for name in told))
            for title, kind, arm, note, scores in rows
        ),
    )


def _title(name: str, about: Mapping[str, Any]) -> str:
    """The arrow stays with the last word."""
    return "\u00a0".join(heading(name, about).rsplit(" ", 1))


Numbers = tuple[str, str, int | None, str, Mapping[str, Mapping[str, Any]]]
"""Name, kind, arm and note of a row, and its numbers by metric."""


def _rows(comparison: Mapping[str, Any], numbers: Mapping[str, int]) -> Iterable[Numbers]:
    for arm in comparison["arms"]:
        note = counted(len(arm["seeds"]), "seed") + (", baseline" if arm["name"] == comparison["baseline"] else "")
        yield arm["name"], "arm", numbers[arm["name"]], note, arm["metrics"]
    for name in sorted(comparison["controls"], key=CEILINGS.__contains__):
        kind = "ceiling" if name in CEILINGS else "floor"
        yield words(name), kind, None, kind, comparison["controls"][name]
    for arm, claims in comparison["claimed"].items():
        for source in dict.fromkeys(claim["source"] for claim in claims.values()):
            said = {metric: claim for metric, claim in claims.items() if claim["source"] == source}
            scores = {metric: {"mean": claim["value"], "std": None, "values": []} for metric, claim in said.items()}
            yield arm, "claimed", None, f"claimed by {source}", scores


def _scale(scores: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """From below the lowest number to above the highest. Intervals do not widen it: those of few seeds have no end."""
    numbers = [value for found in scores for value in (found["mean"], *found["values"])]
    low, high = min(numbers), max(numbers)
    margin = 0.08 * (high - low) or 0.5
    return low - margin, high + margin


def _cell(found: Mapping[str, Any] | None, about: Mapping[str, Any], scale: tuple[float, float]) -> Cell | None:
    if found is None:
        return None
    mean, low, high = found["mean"], found.get("low"), found.get("high")
    better = about["higher_is_better"]
    return Cell(
        text=minus(number(mean)) + ("" if found["std"] is None else f" ± {number(found['std'])}"),
        sort=mean if better else -mean if better is False else -abs(mean),
        place=_place(mean, scale),
        seeds=tuple(_place(value, scale) for value in found["values"]),
        interval=None if low is None or high is None else (_place(low, scale), _place(high, scale)),
        clips=_clips(found),
        difference=_difference(found.get("difference"), better is None),
        mark=found.get("mark", ""),
    )


def _place(value: float, scale: tuple[float, float]) -> float:
    low, high = scale
    return round(min(max((value - low) / (high - low), 0.0), 1.0), 4)


def _clips(found: Mapping[str, Any]) -> str:
    """How many, where some have no score."""
    coverage = found.get("coverage")
    return "" if coverage in (None, 1.0) else f"{counted(found['clips'], 'clip')}, {coverage:.0%} scored"


def _difference(gap: Mapping[str, Any] | None, of_distances: bool) -> str:
    if gap is None:
        return ""
    known = gap["low"] is not None and gap["high"] is not None
    interval = f" [{number(gap['low'], signed=True)}, {number(gap['high'], signed=True)}]" if known else ""
    corrected = gap["corrected_p"]
    p = f"(p {p_value(gap['p'])})" if corrected is None else f"p {p_value(corrected)}"
    of = f" {DISTANCE}" * of_distances
    return minus(f"{number(gap['mean'], signed=True)}{of}{interval} {p}")


def minus(text: str) -> str:
    """With the sign as it is printed, which is as wide as a plus."""
    return text.replace("-", "−")
