"""The picture of an evaluation: every clip under every metric, fake beside real."""

import math
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from hallo3_lightning.evaluation.scoring import Scores

COLUMNS = 4
INCHES = (3.0, 2.2)
COLOURS = {"real": "#888888", "fake": "#1f5fa8"}


def draw(path: Path, protocol: str, scores: Scores, stamp: str | None) -> None:
    """Write it as PNG, unless no clip has a number."""
    names = [
        name
        for name in scores.metrics
        if any(row["metric"] == name and row["value"] is not None for row in scores.rows)
    ]
    if not names:
        return
    height = math.ceil(len(names) / COLUMNS)
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(INCHES[0] * COLUMNS, INCHES[1] * height + 0.6), layout="constrained")
        axes = np.atleast_1d(figure.subplots(height, COLUMNS)).ravel()
        for axis in axes[len(names) :]:
            axis.axis("off")
        for name, axis in zip(names, axes, strict=False):
            _strip(axis, name, scores)
        figure.suptitle(
            f"{stamp}: all weights are invented. {protocol}" if stamp else protocol, color="red" if stamp else "black"
        )
        if stamp:
            figure.text(0.5, 0.5, stamp, fontsize=40, color="red", alpha=0.2, rotation=20, ha="center", va="center")
        figure.savefig(path, dpi=110)


def _strip(axis, name: str, scores: Scores) -> None:  # type: ignore[no-untyped-def]
    told = scores.metrics[name]
    for place, side in enumerate(COLOURS):
        values = [
            r["value"] for r in scores.rows if r["metric"] == name and r["side"] == side and r["value"] is not None
        ]
        across = place + 0.3 * (np.arange(len(values)) / max(len(values) - 1, 1) - 0.5)
        axis.plot(across, values, "o", markersize=3, color=COLOURS[side], alpha=0.7)
    axis.set_xticks(range(len(COLOURS)), list(COLOURS))
    axis.set_xlim(-0.6, len(COLOURS) - 0.4)
    axis.set_title(f"{told['title']}{', ' + told['unit'] if told['unit'] else ''}\n{name}", fontsize=8)
