"""Strata as a picture: a panel a metric, cells from left to right, arms in colours, 95 % intervals."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallo3_lightning.evaluation.arms import Arms
from hallo3_lightning.evaluation.rows_file import GENERATED
from hallo3_lightning.evaluation.strata import Strata
from hallo3_lightning.evaluation.strata_page import BETTER, SHARED, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS = 4
INCHES = (3.0, 2.4)
PALE = 0.3
"""Of marks where clips are few."""

SPREAD = 0.5
"""Of the way from one cell to the next, over which arms are laid out."""

Point = tuple[float, float, float, bool]
"""Value, the ends of its interval, and whether clips are few."""


def draw(strata: Strata, found: Arms, path: Path) -> None:
    """Write it as PNG, unless there is nothing to draw."""
    import matplotlib

    metrics = [*strata.set_metrics, *strata.metrics]
    if metrics:
        with matplotlib.rc_context({"text.parse_math": False}):  # names may hold a $
            _figure(strata, found, metrics).savefig(path, dpi=120)


def _figure(strata: Strata, found: Arms, metrics: Sequence[str]) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = min(ACROSS, len(metrics))
    down = math.ceil(len(metrics) / across)
    figure = Figure(figsize=(INCHES[0] * across + 0.4, INCHES[1] * down + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis in axes[len(metrics) :]:
        axis.axis("off")
    for axis, metric in zip(axes, metrics, strict=False):
        _panel(axis, strata, found, metric)
    handles = {text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 6), fontsize=7)
    title = f"by {strata.dimension.name} ({strata.dimension.unit}); pale: few clips"
    figure.suptitle("\n".join([title, *(["; ".join(found.stamps)] if found.stamps else [])]), fontsize=9)
    return figure


def _panel(axis: Any, strata: Strata, found: Arms, metric: str) -> None:
    """One metric; what scores are read beside as grey lines."""
    for place, arm in enumerate(found.arms):
        shift = SPREAD * ((place + 0.5) / len(found.arms) - 0.5)
        _marks(axis, _points(strata, arm.name, GENERATED, metric), shift, f"C{place}", arm.name)
    styles = dict(zip([s for s in found.sources if s != GENERATED], ("--", ":", "-.", (0, (1, 3))), strict=False))
    for source, style in styles.items():
        points = _points(strata, found.arms[0].name, source, metric)
        shown = [(x, point[0]) for x, point in enumerate(points) if point is not None]
        if shown:
            name = words(source) if source in SHARED else f"{found.arms[0].name}: {words(source)}"
            axis.plot(*zip(*shown, strict=True), linestyle=style, color="0.5", linewidth=1, label=name)
    axis.set_xticks(range(len(strata.cells)), [_tick(strata, metric, x) for x in range(len(strata.cells))], fontsize=6)
    axis.set_xlim(-0.6, len(strata.cells) - 0.4)
    axis.tick_params(axis="y", labelsize=6)
    about = found.about(metric)
    axis.set_title(f"{words(metric)}{BETTER[about.higher_is_better]}", fontsize=8)
    axis.set_ylabel(about.unit, fontsize=7)


def _marks(axis: Any, points: Sequence[Point | None], shift: float, colour: str, name: str) -> None:
    axis.errorbar([], [], [], fmt="o", markersize=4, color=colour, label=name)
    shown = [(x + shift, point) for x, point in enumerate(points) if point is not None]
    axis.plot([x for x, _ in shown], [point[0] for _, point in shown], color=colour, alpha=PALE, linewidth=1)
    for x, (value, low, high, few) in shown:
        reach = [[value - low], [high - value]]
        axis.errorbar([x], [value], reach, fmt="o", markersize=4, color=colour, alpha=PALE if few else 1.0)


def _points(strata: Strata, arm: str, source: str, metric: str) -> list[Point | None]:
    """Of each cell; None where there is no number."""
    found: list[Point | None] = []
    for cell in strata.cells:
        of_set = strata.sets.get((cell.label, arm, metric)) if source == GENERATED else None
        score = strata.scores.get((cell.label, arm, source, metric))
        if of_set is not None:
            found.append((of_set.value, of_set.low, of_set.high, of_set.few))
        elif score is not None and score.interval is not None:
            interval = score.interval
            ends = (interval.low, interval.high) if interval.identities > 1 else (interval.mean, interval.mean)
            found.append((interval.mean, *ends, cell.few))
        else:
            found.append(None)
    return found


def _tick(strata: Strata, metric: str, place: int) -> str:
    cell = strata.cells[place]
    of_set = next(
        (score for (label, _, name), score in strata.sets.items() if (label, name) == (cell.label, metric)), None
    )
    count = of_set.clips if of_set is not None else len(cell.chosen)
    return f"{cell.label}\nn={count}"
