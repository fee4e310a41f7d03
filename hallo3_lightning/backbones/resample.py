"""Pictures at other sizes and angles, as the pipelines around these networks make them: bilinear, without smoothing.

OpenCV's functions of that kind work in fixed point; ours agree with them to a level or two of 255.
"""

import numpy as np
from einops import rearrange


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture [H, W, C] at another size [height, width, C] float32, in levels of the picture, rounded.

    Pixels are areas, so the centre of the first lies at 0.5; what lies outside is the nearest pixel (OpenCV's
    INTER_LINEAR).
    """
    return _sampled(picture, _neighbours(len(picture), height), _neighbours(picture.shape[1], width))


def scaled(picture: np.ndarray, scale: float) -> np.ndarray:
    """A picture [H, W, C] times a scale, [H', W', C] float32, as OpenCV does where it is given a factor and no size: the
    size is rounded, the factor is not."""
    height, width = (round(side * scale) for side in picture.shape[:2])
    step = 1 / scale
    return _sampled(picture, _neighbours(len(picture), height, step), _neighbours(picture.shape[1], width, step))


def averaged(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture [H, W, C] at another size [height, width, C] float32, in levels of the picture, rounded (OpenCV's
    INTER_AREA): each pixel the mean of the area that it covers; where a side grows, both go between neighbours."""
    tall, wide = picture.shape[:2]
    if height <= tall and width <= wide:
        rows, columns = _areas(tall, height), _areas(wide, width)
        found = np.einsum("yh,hwc,xw->yxc", rows, picture.astype(np.float64), columns, optimize=True)
        return np.round(found).astype(np.float32)
    return _sampled(picture, _edges(tall, height), _edges(wide, width))


def _areas(size: int, wanted: int) -> np.ndarray:
    """Of each wanted pixel, the share that every pixel has in it [wanted, size]."""
    ends = np.arange(wanted + 1) * size / wanted
    overlap = np.minimum(ends[1:, None], np.arange(1, size + 1)) - np.maximum(ends[:-1, None], np.arange(size))
    return np.clip(overlap, 0, None) * wanted / size


Neighbours = tuple[np.ndarray, np.ndarray]


def _sampled(picture: np.ndarray, vertical: Neighbours, horizontal: Neighbours) -> np.ndarray:
    (rows, down), (columns, right) = vertical, horizontal
    down, right = rearrange(down, "h -> h 1 1"), rearrange(right, "w -> 1 w 1")
    tall = picture[rows] * (1 - down) + picture[np.minimum(rows + 1, len(picture) - 1)] * down
    wide = tall[:, columns] * (1 - right) + tall[:, np.minimum(columns + 1, picture.shape[1] - 1)] * right
    return np.round(wide).astype(np.float32)


def _neighbours(size: int, wanted: int, step: float | None = None) -> Neighbours:
    """Of each wanted pixel, the pixel at or before its place, and how far beyond it the place lies [wanted] in 0..1."""
    place = np.clip((np.arange(wanted) + 0.5) * (step or size / wanted) - 0.5, 0, size - 1)
    before = np.floor(place).astype(np.int64)
    return before, (place - before).astype(np.float32)


def _edges(size: int, wanted: int) -> Neighbours:
    """As `_neighbours`, by where the edges of pixels lie: OpenCV's for averaging, where there is nothing to average."""
    before = np.floor(np.arange(wanted) * size / wanted).astype(np.int64)
    beyond = np.arange(1, wanted + 1) - (before + 1) * wanted / size
    return before, np.where(beyond > 0, beyond % 1, 0).astype(np.float32)


def warped(picture: np.ndarray, similarity: np.ndarray, size: int) -> np.ndarray:
    """The square [size, size, C] float32 whose pixel (x, y) shows what `similarity` [2, 3] moves there from [H, W, C].

    Pixels are points at whole numbers, and black lies around the picture (OpenCV's warpAffine).
    """
    turn, move = similarity[:, :2], similarity[:, 2]
    y, x = np.mgrid[:size, :size]
    there = (np.stack([x, y], axis=-1) - move) @ np.linalg.inv(turn).T
    before = np.floor(there).astype(np.int64)
    beyond = there - before
    total = np.zeros((size, size, picture.shape[2]))
    for down in (0, 1):
        for right in (0, 1):
            weight = abs(1 - right - beyond[..., 0]) * abs(1 - down - beyond[..., 1])
            total += rearrange(weight, "h w -> h w 1") * _pixels(picture, before + (right, down))
    return np.round(total).astype(np.float32)


def _pixels(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The pixels at places [..., 2] (x, y); 0 outside of the picture."""
    height, width = picture.shape[:2]
    x, y = places[..., 0], places[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    found = picture[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    return found * rearrange(inside, "... -> ... 1")
