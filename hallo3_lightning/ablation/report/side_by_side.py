"""The same held-out clips of all arms beside the truth, as videos that the page carries."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hallo3_lightning.ablation.numerals import number
from hallo3_lightning.ablation.report.scores_table import minus
from hallo3_lightning.ablation.results import Result
from hallo3_lightning.evaluation.rows_file import GENERATED
from hallo3_lightning.geometry import seconds
from hallo3_lightning.training.kept_clips import KeptClip, read

TRUTH, CEILING = "truth", "reconstruction"
SPARK = (1000, 100)
"""Width and height of the space that curves under videos are drawn in."""


@dataclass(frozen=True)
class View:
    """What one screen shows of one clip.

    video: a data: URI; mouth: its curve and that of the truth, as points of a polyline, empty where they are not known;
    scores: metric and number.
    """

    video: str
    mouth: str
    true_mouth: str
    scores: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Screen:
    """One video element of the page: the truth, the autoencoder, or an arm with its number; a view of every clip."""

    title: str
    note: str
    arm: int | None
    has_sound: bool
    views: tuple[View, ...]


@dataclass(frozen=True)
class Clip:
    """What is said of a clip; loudness: outline of its sound, as points of a polygon, empty without sound."""

    name: str
    caption: str
    seconds: float
    loudness: str


@dataclass(frozen=True)
class Stage:
    """Clips, and a screen for each source."""

    clips: tuple[Clip, ...]
    screens: tuple[Screen, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class _Kept:
    """The clips of the run that stands for an arm, by name."""

    result: Result
    clips: Mapping[str, KeptClip]

    def data(self, clip: str, source: str) -> bytes:
        return (self.result.folder.samples / self.clips[clip].files[source]).read_bytes()


def stage(
    arms: Sequence[str], numbers: Mapping[str, int], results: Sequence[Result], most: int, metrics: Sequence[str]
) -> Stage:
    """The first `most` clips that every arm has kept; of each arm, those of its first seed that has any.

    An arm without any is named in `missing`, and the others are shown; numbers: those of the arms, by name.
    """
    kept = {arm: found for arm in arms if (found := _first(arm, results)) is not None}
    absent = [arm for arm in arms if arm not in kept]
    missing = [f"no run of {arm} has kept videos of its clips; `hallo3 test` of a run makes them" for arm in absent]
    whole = _shared(list(kept.values()))
    shared = whole[:most]
    if kept and not whole:
        missing.append("the runs have kept videos of different clips: there is none to show side by side")
    if not shared:
        return Stage((), (), tuple(missing))
    lead = next(iter(kept.values()))
    return Stage(
        clips=tuple(_clip(lead.clips[name]) for name in shared),
        screens=tuple(_screens(kept, numbers, shared, metrics)),
        missing=tuple(missing),
    )


def _first(arm: str, results: Sequence[Result]) -> _Kept | None:
    """Of the runs of an arm, the first that has kept videos."""
    for result in sorted((result for result in results if result.arm == arm), key=lambda result: result.seed):
        clips = {clip.clip: clip for clip in read(result.folder.samples) if _is_there(clip, result.folder.samples)}
        if clips:
            return _Kept(result, clips)
    return None


def _is_there(clip: KeptClip, folder: Path) -> bool:
    return {TRUTH, GENERATED} <= clip.files.keys() and all((folder / file).is_file() for file in clip.files.values())


def _shared(kept: Sequence[_Kept]) -> list[str]:
    """Clips that every arm has, in the order of the first."""
    return [name for name in kept[0].clips if all(name in arm.clips for arm in kept)] if kept else []


def _screens(
    kept: Mapping[str, _Kept], numbers: Mapping[str, int], shared: Sequence[str], metrics: Sequence[str]
) -> list[Screen]:
    """The truth has the sound: it is that of all of them."""
    lead = next(iter(kept.values()))
    sound = all(lead.clips[name].loudness for name in shared)
    screens = [_screen("truth", "", None, lead, TRUTH, shared, (), sound)]
    if all(CEILING in lead.clips[name].files for name in shared):
        screens.append(_screen("ceiling", "autoencoder alone", None, lead, CEILING, shared, metrics))
    for arm, found in kept.items():
        screens.append(_screen(arm, f"seed {found.result.seed}", numbers[arm], found, GENERATED, shared, metrics))
    return screens


def _screen(
    title: str,
    note: str,
    arm: int | None,
    kept: _Kept,
    source: str,
    shared: Sequence[str],
    metrics: Sequence[str],
    has_sound: bool = False,
) -> Screen:
    views = tuple(_view(kept, name, source, metrics) for name in shared)
    return Screen(title, note, arm, has_sound, views)


def _view(kept: _Kept, name: str, source: str, metrics: Sequence[str]) -> View:
    clip = kept.clips[name]
    highest = max((value for curve in clip.mouth.values() for value in curve), default=0.0)
    known = {metric: kept.result.scores(metric, source) for metric in metrics}
    scores = [(metric, rows[name]) for metric, rows in known.items() if name in rows]
    return View(
        video=f"data:video/mp4;base64,{b64encode(kept.data(name, source)).decode()}",
        mouth=_points(clip.mouth.get(source, ()), highest),
        true_mouth=_points(clip.mouth.get(TRUTH, ()), highest),
        scores=tuple((metric, minus(number(value))) for metric, value in scores),
    )


def _clip(clip: KeptClip) -> Clip:
    outline = _points(clip.loudness, max(clip.loudness, default=0.0))
    corners = f"0,{SPARK[1]} {outline} {SPARK[0]},{SPARK[1]}" if outline else ""
    return Clip(clip.clip, clip.caption, seconds(clip.frames), corners)


def _points(curve: Sequence[float], highest: float) -> str:
    """A value at the middle of each frame, 0 at the bottom, as SVG's points; empty for a curve that is nowhere above 0."""
    if not curve or highest <= 0:
        return ""
    width, height = SPARK
    return " ".join(
        f"{width * (i + 0.5) / len(curve):.0f},{height * (1 - 0.94 * value / highest):.1f}"
        for i, value in enumerate(curve)
    )
