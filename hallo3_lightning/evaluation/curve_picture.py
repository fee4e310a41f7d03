"""curves.png: what changes from frame to frame, and how mouths follow the truth."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from hallo3_lightning.evaluation.counted import counted
from hallo3_lightning.evaluation.frame_curves import Curves
from hallo3_lightning.evaluation.score_picture import COLOURS, INCHES, heading
from hallo3_lightning.evaluation.told import Told
from hallo3_lightning.geometry import FPS

COLUMNS = 4
MOUTHS = 8
"""Clips whose mouths are drawn."""


def draw(path: Path, protocol: str, curves: Mapping[str, Curves], told: Told, stamp: str | None) -> None:
    """Write it as PNG, unless there is nothing to draw."""
    mouths = dict(list(told.curves.items())[:MOUTHS])
    rows = [math.ceil(count / COLUMNS) for count in (len(curves), len(mouths))]
    if not sum(rows):
        return
    with matplotlib.rc_context({"font.size": 8, "text.parse_math": False}):  # names of clips may hold a $
        figure = Figure(figsize=(INCHES[0] * COLUMNS, INCHES[1] * sum(rows) + 0.6), layout="constrained")
        axes = np.atleast_1d(figure.subplots(sum(rows), COLUMNS)).ravel()
        for axis in axes:
            axis.axis("off")
        for (name, sides), axis in zip(curves.items(), axes, strict=False):
            _over_time(axis, name, sides, told.borders)
        for (clip, curve), axis in zip(mouths.items(), axes[rows[0] * COLUMNS :], strict=False):
            _mouth(axis, clip, curve, axis is axes[rows[0] * COLUMNS])
        heading(figure, protocol, stamp)
        figure.savefig(path, dpi=110)


def _over_time(axis: Any, name: str, sides: Curves, borders: Sequence[int]) -> None:
    """Mean over clips, and the middle two thirds of them."""
    axis.axis("on")
    for side, colour in COLOURS.items():
        if side not in sides:
            continue
        clips = sides[side]
        times = np.arange(clips.shape[1]) / FPS
        low, high = np.nanquantile(clips, (1 / 6, 5 / 6), axis=0)
        axis.fill_between(times, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.plot(times, np.nanmean(clips, axis=0), color=colour, label=f"{side}, {counted(len(clips), 'clip')}")
    for border in borders:
        axis.axvline(border / FPS, color="black", linewidth=0.6, linestyle=":")
    axis.set_title(name, fontsize=8)
    axis.set_xlabel("seconds" + (" (dotted: windows meet)" if borders else ""), fontsize=7)
    axis.legend(fontsize=6)


def _mouth(axis: Any, clip: str, curve: Mapping[str, Sequence[float]], first: bool) -> None:
    """Measured opening and true aperture, each from its least to its most: they have other units."""
    axis.axis("on")
    for name, colour, said in (
        ("true", COLOURS["real"], "true aperture"),
        ("measured", COLOURS["fake"], "generated mouth"),
    ):
        values = np.asarray(curve[name])
        spread = values.max() - values.min()
        axis.plot(np.arange(len(values)) / FPS, (values - values.min()) / (spread or 1), color=colour, label=said)
    axis.set_title(f"mouth of {clip}", fontsize=8)
    axis.set_yticks([])
    axis.set_xlabel("seconds after the frames that were given", fontsize=7)
    if first:
        axis.legend(fontsize=6)
