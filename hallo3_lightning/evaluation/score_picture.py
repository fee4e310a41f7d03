"""The picture of an evaluation: every clip under every metric, fake beside real."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from hallo3_lightning.evaluation.scoring import SOURCES, Scores

COLUMNS = 4
INCHES = (3.0, 2.2)
COLOURS = {"real": "#888888", "fake": "#1f5fa8"}


def draw(path: Path, protocol: str, scores: Scores, stamp: str | None) -> None:
    """Write it as PNG, unless no clip has a number."""
    values = _values(scores)
    if not values:
        return
    height = math.ceil(len(values) / COLUMNS)
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(INCHES[0] * COLUMNS, INCHES[1] * height + 0.6), layout="constrained")
        axes = np.atleast_1d(figure.subplots(height, COLUMNS)).ravel()
        for axis in axes[len(values) :]:
            axis.axis("off")
        for (name, sides), axis in zip(values.items(), axes, strict=False):
            _strip(axis, sides, scores.metrics[name])
        title = f"{stamp}: all weights are invented. {protocol}" if stamp else protocol
        figure.suptitle(title, color="red" if stamp else "black")
        if stamp:
            figure.text(0.5, 0.5, stamp, fontsize=40, color="red", alpha=0.2, rotation=20, ha="center", va="center")
        figure.savefig(path, dpi=110)


def _values(scores: Scores) -> dict[str, dict[str, list[float]]]:
    """Metric -> source -> the numbers of its clips."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in scores.rows:
        if row.get("value") is not None:
            found.setdefault(row["metric"], {}).setdefault(row["source"], []).append(row["value"])
    return found


def _strip(axis: Any, sides: Mapping[str, list[float]], told: Mapping[str, Any]) -> None:
    for place, (side, colour) in enumerate(COLOURS.items()):
        values = sides.get(SOURCES[side], [])
        across = place + 0.3 * (np.arange(len(values)) / max(len(values) - 1, 1) - 0.5)
        axis.plot(across, values, "o", markersize=3, color=colour, alpha=0.7)
    axis.set_xticks(range(len(COLOURS)), list(COLOURS))
    axis.set_xlim(-0.6, len(COLOURS) - 0.4)
    axis.set_title(f"{told['title']}{', ' + told['unit'] if told['unit'] else ''}\n{told['protocol']}", fontsize=8)
