"""clips.png: every clip under every metric, fake beside real, and what chance and the autoencoder alone give."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from hallo3_lightning.evaluation.rows_file import GENERATED
from hallo3_lightning.evaluation.scoring import Scores

COLUMNS = 4
INCHES = (3.0, 2.2)
COLOURS = {"real": "#888888", "fake": "#1f5fa8"}
OTHERS = "#c98a2b"
"""Of what is neither: controls, ceilings and floors."""

SHOWN = {"real": "real", GENERATED: "fake", "floor": "by chance", "shuffled_audio": "by chance"}
"""Source of rows -> what the picture calls it; others keep their names, `_floor` of real clips is left out."""
LEFT_OUT = "real_floor"


def draw(path: Path, protocol: str, scores: Scores, stamp: str | None) -> None:
    """Write it as PNG, unless no clip has a number."""
    values = _values(scores)
    if not values:
        return
    height = math.ceil(len(values) / COLUMNS)
    known = {**scores.metrics, **scores.told.metrics}
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(INCHES[0] * COLUMNS, INCHES[1] * height + 0.6), layout="constrained")
        axes = np.atleast_1d(figure.subplots(height, COLUMNS)).ravel()
        for axis in axes[len(values) :]:
            axis.axis("off")
        for (name, sources), axis in zip(values.items(), axes, strict=False):
            _strips(axis, sources, known[name])
        heading(figure, protocol, stamp)
        figure.savefig(path, dpi=110)


def heading(figure: Figure, protocol: str, stamp: str | None) -> None:
    """The protocol over a picture, and across it the stamp of numbers that are no scores."""
    figure.suptitle(
        f"{stamp}: all weights are invented. {protocol}" if stamp else protocol, color="red" if stamp else "black"
    )
    if stamp:
        figure.text(0.5, 0.5, stamp, fontsize=40, color="red", alpha=0.2, rotation=20, ha="center", va="center")


def _values(scores: Scores) -> dict[str, dict[str, dict[str, float]]]:
    """Metric -> what it is of -> clip -> number."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in scores.rows:
        if row.get("value") is not None and row["source"] != LEFT_OUT:
            source = SHOWN.get(row["source"], row["source"])
            found.setdefault(row["metric"], {}).setdefault(source, {})[row["clip"]] = row["value"]
    return found


def _strips(axis: Any, sources: Mapping[str, Mapping[str, float]], told: Mapping[str, Any]) -> None:
    """A dot a clip; the line is their mean with two standard errors. Thin lines join what is of one clip."""
    order = [*(name for name in COLOURS if name in sources), *(name for name in sources if name not in COLOURS)]
    places = {
        name: {clip: _place(i, n, len(sources[name])) for n, clip in enumerate(sorted(sources[name]))}
        for i, name in enumerate(order)
    }
    for one, other in zip(order, order[1:], strict=False):
        for clip in sorted(sources[one].keys() & sources[other].keys()):  # sets have another order in each process
            axis.plot(
                [places[one][clip], places[other][clip]],
                [sources[one][clip], sources[other][clip]],
                color="#cccccc",
                linewidth=0.4,
                zorder=0,
            )
    for number, name in enumerate(order):
        values = [sources[name][clip] for clip in places[name]]
        colour = COLOURS.get(name, OTHERS)
        axis.plot([*places[name].values()], values, "o", markersize=2.5, color=colour, alpha=0.6, markeredgewidth=0)
        _mean(axis, number, values)
    axis.set_xticks(range(len(order)), [name.replace("_", "\n") for name in order])
    axis.set_xlim(-0.6, len(order) - 0.4)
    unit = f", {told['unit']}" if told["unit"] else ""
    arrow = {True: " (more is better)", False: " (less is better)", None: ""}[told["higher_is_better"]]
    axis.set_title(f"{told['title']}{unit}{arrow}\n{told['protocol']}", fontsize=8)


def _place(strip: int, number: int, count: int) -> float:
    return strip + 0.3 * (number / max(count - 1, 1) - 0.5)


def _mean(axis: Any, strip: int, values: Sequence[float]) -> None:
    mean = math.fsum(values) / len(values)
    error = 2 * float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    axis.errorbar([strip + 0.28], [mean], yerr=[error], fmt="_", color="black", markersize=9, linewidth=1, capsize=2)
