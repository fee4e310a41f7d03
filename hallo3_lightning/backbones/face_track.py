"""Faces followed through a video, and the crops of them that SyncNet is shown.

Rules and numbers are those of run_pipeline.py in github.com/joonson/syncnet_python, without its passes through JPEG and
XVID.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hallo3_lightning.backbones.resample import resized

LEAST_OVERLAP = 0.5
"""Intersection over union of a face with itself in the frame where it was seen last."""

SMOOTHING = 13
"""Frames over which the median of place and size is taken."""

MARGIN = 0.4
"""Of half the box's longer side, added to the left and right, and twice below."""

PADDING = 110
"""Level of what lies outside of the picture."""

SIZE = 224

Box = Sequence[float]
"""x0, y0, x1, y1 in pixels."""


@dataclass(frozen=True, eq=False)
class Track:
    """One face in the frames [first, first + N)."""

    first: int
    boxes: np.ndarray
    """[N, 4]; between detections on the straight line from one to the next."""


@dataclass(frozen=True)
class TrackRules:
    """What counts as one face, and which are long and large enough."""

    most_missed: int = 25
    """Frames without a detection, after which a track has ended."""
    more_than: int = 100
    """Detections that a track must exceed."""
    larger_than: float = 100
    """Pixels that the mean width or height must exceed."""


def tracks(faces: Sequence[Sequence[Box]], rules: TrackRules) -> list[Track]:
    """The faces of F frames (of each, its boxes) joined to tracks, in the order of their first frames."""
    left = [list(boxes) for boxes in faces]
    found = []
    while any(left):
        seen = _follow(left, rules.most_missed)
        track = Track(min(seen), every_frame(seen, range(min(seen), max(seen) + 1)))
        sides = track.boxes[:, 2:] - track.boxes[:, :2]
        if len(seen) > rules.more_than and sides.mean(axis=0).max() > rules.larger_than:
            found.append(track)
    return found


def _follow(left: list[list[Box]], most_missed: int) -> dict[int, Box]:
    """Take the first face that is left, and what follows it, out of the lists; one face a frame."""
    seen: dict[int, Box] = {}
    last = 0
    for number, boxes in enumerate(left):
        if seen and number - last > most_missed:
            break
        match = next((box for box in boxes if not seen or _overlap(box, seen[last]) > LEAST_OVERLAP), None)
        if match is not None:
            boxes.remove(match)
            seen[number], last = match, number
    return seen


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def every_frame(seen: Mapping[int, Box], frames: range) -> np.ndarray:
    """Boxes [N, 4] of all these frames from those of some: in between on a straight line, beyond the ends as there."""
    numbers = sorted(seen)
    known = np.array([seen[number] for number in numbers], dtype=np.float64)
    return np.stack([np.interp(np.asarray(frames), numbers, side) for side in known.T], axis=1)


@dataclass(frozen=True, eq=False)
class Places:
    """Where the crop of each frame lies: centre of the face and half its longer side, [N] each, in pixels, smoothed."""

    x: np.ndarray
    y: np.ndarray
    half: np.ndarray


def places(boxes: np.ndarray) -> Places:
    """The places of crops around boxes [N, 4]. As there, the median sees zeros beyond the ends."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return Places(_smooth(centres[:, 0]), _smooth(centres[:, 1]), _smooth(sides.max(axis=1) / 2))


def _smooth(values: np.ndarray) -> np.ndarray:
    return np.median(sliding_window_view(np.pad(values, SMOOTHING // 2), SMOOTHING), axis=1)


def crop(picture: np.ndarray, where: Places, number: int) -> np.ndarray:
    """The face of one frame [224, 224, 3] uint8 of a picture [H, W, 3] uint8."""
    half = where.half[number]
    reach = int(half * (1 + 2 * MARGIN))
    x, y = where.x[number] + reach, where.y[number] + reach  # as there: cut to whole pixels in a padded picture
    rows = _whole(y - half, y + half * (1 + 2 * MARGIN)) - reach
    columns = _whole(x - half * (1 + MARGIN), x + half * (1 + MARGIN)) - reach
    face = picture[np.clip(rows, 0, len(picture) - 1)][:, np.clip(columns, 0, picture.shape[1] - 1)]
    inside = _within(rows, len(picture))[:, None] & _within(columns, picture.shape[1])[None]
    return resized(np.where(inside[..., None], face, PADDING), SIZE, SIZE).astype(np.uint8)


def _whole(first: float, last: float) -> np.ndarray:
    """Whole pixels from one place to another, at least one."""
    return np.arange(int(first), max(int(last), int(first) + 1))


def _within(places: np.ndarray, size: int) -> np.ndarray:
    return (places >= 0) & (places < size)
