"""Plots as SVG that stands in the page: its colours are the page's, light or dark, and its text the page's letters."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INCHES = (3.7, 2.3)
MOST_POINTS = 400
"""Of a line: more cannot be told apart at this size."""

INK, QUIET, RULE = "#fd0001", "#fd0002", "#fd0003"
"""Stand in for the page's colours until the SVG is written."""

LOG_FROM = 5.0
"""Ratio of the largest to the smallest value from which a loss is drawn on a logarithmic scale."""


@dataclass(frozen=True)
class Line:
    """Points of one curve: of an arm's seed, or of its mean."""

    arm: int
    steps: Sequence[float]
    values: Sequence[float]
    is_mean: bool


@dataclass(frozen=True)
class Bar:
    """A mean with the ends of its interval, of an arm in a cell; None where there is no interval; pale where clips are few."""

    arm: int
    cell: int
    mean: float
    ends: tuple[float, float] | None
    is_pale: bool


def of_lines(lines: Sequence[Line], across: str, is_loss: bool) -> Markup:
    """Curves: those of seeds thin, means thick; of a loss that falls far, on a logarithmic scale."""
    with _axes() as (axis, done):
        for line in lines:
            style = {"linewidth": 2.0, "zorder": 3} if line.is_mean else {"linewidth": 0.7, "alpha": 0.4}
            steps, values = _thinned(line)
            (drawn,) = axis.plot(steps, values, color=colour(line.arm), solid_capstyle="round", **style)
            drawn.set_gid(f"arm-{line.arm}-{len(axis.lines)}")
        values = np.concatenate([np.asarray(line.values, float) for line in lines])
        if is_loss and values.min() > 0 and values.max() / values.min() > LOG_FROM:
            axis.set_yscale("log")
        axis.set_xlabel(across)
    return done[0]


def of_bars(bars: Sequence[Bar], cells: Sequence[str], across: str, unit: str) -> Markup:
    """Means of each arm in each cell, side by side, with their 95 % intervals."""
    arms = sorted({bar.arm for bar in bars})
    with _axes() as (axis, done):
        for bar in bars:
            x = bar.cell + 0.6 * ((arms.index(bar.arm) + 0.5) / len(arms) - 0.5)
            alpha = 0.35 if bar.is_pale else 1.0
            (point,) = axis.plot([x], [bar.mean], "o", markersize=4.5, color=colour(bar.arm), alpha=alpha)
            point.set_gid(f"arm-{bar.arm}-{len(axis.lines)}")
            if bar.ends is not None:
                (reach,) = axis.plot([x, x], bar.ends, linewidth=1.6, color=colour(bar.arm), alpha=alpha)
                reach.set_gid(f"arm-{bar.arm}-{len(axis.lines)}")
        axis.set_xticks(range(len(cells)), cells, parse_math=False)
        axis.set_xlim(-0.5, len(cells) - 0.5)
        axis.set_xlabel(across, parse_math=False)
        axis.set_ylabel(unit, parse_math=False)
    return done[0]


def colour(arm: int) -> str:
    """What stands in for the colour of an arm."""
    return f"#fe{arm:04x}"


@contextmanager
def _axes() -> Iterator[tuple[Any, list[Markup]]]:
    """One pair of axes to draw on; the list gets the SVG when they are done."""
    done: list[Markup] = []
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "hallo3", "font.size": 9, "axes.axisbelow": True}
    ):
        figure = Figure(figsize=INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        axis = figure.subplots()
        axis.patch.set_alpha(0)
        figure.patch.set_alpha(0)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.spines["bottom"].set_color(RULE)
        axis.grid(axis="y", color=RULE, linewidth=0.7)
        axis.tick_params(which="both", length=0, labelcolor=QUIET, labelsize=8)
        axis.xaxis.label.set_color(QUIET)
        axis.yaxis.label.set_color(QUIET)
        yield axis, done
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        done.append(_of_the_page(stream.getvalue()))


def _of_the_page(svg: str) -> Markup:
    """Without a size of its own, with the page's colours, and with identifiers that no other plot has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="arm-(\d+)-\d+"', r'<g class="of-arm" data-arm="\1"', svg)
    name = sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>plot-{name}-", svg)
    svg = re.sub(r"#fe([0-9a-f]{4})", lambda found: f"var(--arm-{int(found[1], 16)})", svg)
    for stands_in, name in ((INK, "ink"), (QUIET, "quiet"), (RULE, "rule")):
        svg = svg.replace(stands_in, f"var(--{name})")
    return Markup(svg)  # matplotlib has escaped every text in it


def _thinned(line: Line) -> tuple[np.ndarray, np.ndarray]:
    every = max(1, len(line.steps) // MOST_POINTS)
    return np.asarray(line.steps)[::every], np.asarray(line.values)[::every]
