"""What is in shards: statistics of a data set as numbers and plots, and one sample as a contact sheet."""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.index import Index
from datamodules.scan import printable
from datamodules.shards import DECODERS, DECODING_ERRORS, BadSample, Sample
from hallo3_lightning.geometry import FPS, SAMPLE_RATE_HZ

LOOKED_AT = ("json", "txt", "wav", "truth.safetensors")
"""Members that statistics read: all but the frames."""

AT_ONCE = 16
QUIETEST_DB = -90.0
FARTHEST = 1e6
"""A face box that reaches past so many pixels is none."""

SHEET_FRAMES = 12
SHEET_COLUMNS = 6
BOX, SOUND, MOUTH = "#e8590c", "#4c6e91", "#c2255c"


@dataclass(frozen=True)
class Seen:
    """One sample in numbers; None where the sample does not say."""

    key: str
    frames: int
    height: int
    width: int
    words: int
    """Of the caption."""
    face: float | None
    """Height of the face box over that of the frame."""
    yaw: float | None
    """Largest turn of the head in degrees, left or right."""
    loudness: float | None
    """Root mean square in decibels of full scale."""

    @property
    def seconds(self) -> float:
        return self.frames / FPS


@dataclass(frozen=True)
class Statistics:
    """Samples of a data set, evenly spaced over it."""

    of: int
    """Samples of the whole data set."""
    seen: tuple[Seen, ...]
    bad: Mapping[str, int]
    """Reason -> how many of those looked at could not be read for it."""

    @property
    def hours(self) -> float:
        """Of the whole data set, in the measure of what was looked at."""
        return float(np.mean([one.seconds for one in self.seen])) * self.of / 3600 if self.seen else 0.0

    def values(self, name: str) -> np.ndarray:
        """Those of one field that there are, float64."""
        found = [getattr(one, name) for one in self.seen]
        return np.array([value for value in found if value is not None], np.float64)


def statistics(index: Index, most: int) -> Statistics:
    """Look at no more than `most` samples, evenly spaced; their frames are not read."""
    numbers = np.unique(np.linspace(0, len(index) - 1, min(most, len(index))).round().astype(int)).tolist()
    seen, bad = [], Counter[str]()
    for first in range(0, len(numbers), AT_ONCE):
        batch = numbers[first : first + AT_ONCE]
        for number, members in zip(batch, index.read_many(batch, LOOKED_AT), strict=True):
            try:
                seen.append(_seen(index, number, members))
            except BadSample as error:
                bad[error.reason] += 1
    return Statistics(len(index), tuple(seen), dict(bad))


def _seen(index: Index, number: int, members: Mapping[str, bytes]) -> Seen:
    if "json" not in members:  # a video file says of itself what the json would
        return _of_sample(index.read(number))
    fields: dict[str, Any] = {}
    for name, payload in members.items():
        field, decoder = DECODERS[name]
        try:
            fields[field] = decoder(payload)
        except DECODING_ERRORS as error:
            raise BadSample(
                f"{name}: {error}", key=index.key(number), member=name, reason="undecodable member"
            ) from error
    return _of_fields(index.key(number), fields)


def _of_sample(sample: Sample) -> Seen:
    fields = {"facts": sample.facts, "caption": sample.caption, "waveform": sample.waveform, "truth": sample.truth}
    return _of_fields(sample.key, fields)


def _of_fields(key: str, fields: Mapping[str, Any]) -> Seen:
    facts, waveform, truth = fields["facts"], fields.get("waveform"), fields.get("truth") or {}
    sizes = [facts.get(name) for name in ("frames", "height", "width")]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise BadSample(f"json says frames, height, width are {sizes}", key=key, member="json", reason="missing fact")
    frames, height, width = sizes
    box = box_of(facts)
    yaw = truth.get("yaw", np.empty(0))
    yaw = yaw[np.isfinite(yaw)]
    return Seen(
        key=key,
        frames=frames,
        height=height,
        width=width,
        words=len(fields.get("caption", "").split()),
        face=None if box is None else (box[3] - box[1]) / height,
        yaw=float(np.degrees(np.abs(yaw).max())) if yaw.size else None,
        loudness=None if waveform is None or not len(waveform) else loudness(waveform),
    )


def loudness(waveform: np.ndarray) -> float:
    """Root mean square of int16 [S] in decibels of full scale, at least QUIETEST_DB."""
    power = float(np.mean(np.square(waveform / 32768.0)))
    return max(10 * np.log10(power), QUIETEST_DB) if power > 0 else QUIETEST_DB


def box_of(facts: Mapping[str, Any]) -> list[float] | None:
    """The face box [x0, y0, x1, y1], if the json has one of that form."""
    box = facts.get("face_box")
    if (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(edge, int | float) and abs(edge) < FARTHEST for edge in box)
    ):
        return box
    return None


def plots(found: Mapping[str, Statistics]) -> Any:
    """Histograms of what the samples are like, each data set in its colour."""
    wanted = {
        "seconds": "length, seconds",
        "height": "height, pixels",
        "face": "face height / frame height",
        "yaw": "largest turn of the head, degrees",
        "loudness": "loudness, dB of full scale",
        "words": "words of the caption",
    }
    figure = _figure(10, 5.4)
    for axis, (name, title) in zip(np.ravel(figure.subplots(2, 3)), wanted.items(), strict=True):
        values = {place: one.values(name) for place, one in found.items()}
        whole = np.concatenate(list(values.values()))
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=7)
        if not len(whole):
            axis.set_axis_off()
            axis.text(0.5, 0.5, "not in these shards", ha="center", va="center", fontsize=8, color="gray")
            continue
        edges = np.histogram_bin_edges(whole, bins=20)
        for place, theirs in values.items():
            axis.hist(
                theirs,
                edges,
                label=_shown(place, 60),
                alpha=0.65,
                weights=np.full(len(theirs), 1 / max(len(theirs), 1)),
            )
        axis.set_ylabel("share of samples", fontsize=7)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", fontsize=8)
    return figure


def contact_sheet(sample: Sample) -> Any:
    """Frames over time with the face box, the sound under them, the caption above and the facts below."""
    frames = sample.video.shape[0]
    shown = np.unique(np.linspace(0, frames - 1, min(SHEET_FRAMES, frames)).round().astype(int)).tolist()
    rows = -(-len(shown) // SHEET_COLUMNS)
    tall = rows * 2.0 * min(max(sample.video.shape[1] / sample.video.shape[2], 0.5), 2.0)
    figure = _figure(2.0 * SHEET_COLUMNS, tall + 3.0)
    strips, under = figure.subfigures(2, 1, height_ratios=[tall, 2.2])
    _title(figure, sample)
    axes = np.ravel(strips.subplots(rows, SHEET_COLUMNS, squeeze=False))
    for axis in axes:
        axis.set_axis_off()
    for axis, number in zip(axes, shown, strict=False):
        _frame(axis, sample, number)
    heard, said = under.subplots(1, 2, width_ratios=[3, 1])
    _sound(heard, sample, shown)
    _facts(said, sample)
    return figure


def save(figure: Any, path: Path) -> None:
    """Write it as PNG."""
    figure.savefig(path, dpi=110, format="png")


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _title(figure: Any, sample: Sample) -> None:
    caption = textwrap.fill(_shown(" ".join(sample.caption.split()), 500), 130)
    figure.suptitle(f"{_shown(sample.key, 120)}\n{caption}", fontsize=9, parse_math=False)


def _frame(axis: Any, sample: Sample, number: int) -> None:
    from matplotlib.patches import Rectangle

    axis.imshow(np.asarray(sample.video[number]), interpolation="nearest")
    axis.set_title(f"{number / FPS:.2f} s", fontsize=7, pad=2)
    box = box_of(sample.facts)
    if box is not None:
        x0, y0, x1, y1 = box  # pixel centres stand at whole numbers
        axis.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=BOX, linewidth=1.2))


def _sound(axis: Any, sample: Sample, shown: Sequence[int]) -> None:
    """Peaks of the waveform, lines where the frames stand, and the mouth's opening where that is known."""
    duration_s = sample.video.shape[0] / FPS
    axis.set_xlim(0, duration_s)
    axis.set_xlabel("seconds", fontsize=7)
    axis.tick_params(labelsize=7)
    for number in shown:
        axis.axvline((number + 0.5) / FPS, color="gray", linewidth=0.4, linestyle=":")
    if sample.waveform is None:
        axis.text(0.5, 0.5, "no sound", transform=axis.transAxes, ha="center", va="center", color="gray")
        axis.set_yticks([])
    else:
        low, high, seconds = _peaks(sample.waveform)
        axis.fill_between(seconds, low, high, color=SOUND, linewidth=0.3)
        axis.set_ylim(-1, 1)
        axis.set_ylabel("sound", fontsize=7)
    aperture = (sample.truth or {}).get("aperture")
    if aperture is not None and aperture.ndim == 1:
        mouth = axis.twinx()
        mouth.plot((np.arange(len(aperture)) + 0.5) / FPS, aperture, color=MOUTH, linewidth=1)
        mouth.set_ylabel("mouth opening (truth)", fontsize=7, color=MOUTH)
        mouth.tick_params(labelsize=7)


def _peaks(waveform: np.ndarray, parts: int = 1200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest and highest value in [-1, 1] of each part of int16 [S], and the seconds at which the parts begin."""
    starts = np.unique(np.linspace(0, len(waveform), parts, endpoint=False).astype(int))
    low, high = (peak.reduceat(waveform, starts) / 32768.0 for peak in (np.minimum, np.maximum))
    return low, high, starts / SAMPLE_RATE_HZ


def _facts(axis: Any, sample: Sample) -> None:
    axis.set_axis_off()
    lines = [f"{_shown(str(name), 24)}: {_shown(str(fact), 40)}" for name, fact in sorted(sample.facts.items())]
    signals = ("face_embedding", "text_embeddings", "audio_features")
    present = [(name, getattr(sample, name)) for name in signals]
    lines += [f"{name}: {list(array.shape)}" for name, array in present if array is not None]
    text = "\n".join(lines[:20])
    axis.text(0, 1, text, va="top", fontsize=7, family="monospace", transform=axis.transAxes, parse_math=False)


def _shown(text: str, most: int) -> str:
    """One line that can be printed, cut where it is too long."""
    text = printable(text)
    return text if len(text) <= most else text[: most - 3] + "..."
