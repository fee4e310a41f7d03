"""How a picture of any size fills the pictures of a data set."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels."""

FITS = {
    "crop": "keep the aspect, cut off what juts out, evenly on both sides",
    "pad": "keep the aspect, black bars fill the rest",
    "square": "stretch into the largest square, black bars beside it: what the published training does with its own "
    "preprocessing",
    "stretch": "fill the picture whatever the aspect: what the published training does with a bbox file",
}
"""The ways to fill a picture. Source of the last two: fudan-generative-vision/hallo3, hallo3/data_video.py, the
branches for `face_mask_union_path` (480 x 480 in the middle of 480 x 720) and for `bbox`."""


@dataclass(frozen=True)
class Framing:
    """Which region of the source is drawn where in the output."""

    region: Box
    """Of the source."""
    target: tuple[int, int, int, int]
    """x0, y0, x1, y1 in the output; black around it."""
    height: int
    width: int

    @property
    def enlargement(self) -> float:
        """Output pixels a source pixel, along the axis where there are more."""
        (x0, y0, x1, y1), (u0, v0, u1, v1) = self.region, self.target
        return max((u1 - u0) / (x1 - x0), (v1 - v0) / (y1 - y0))

    def draw(self, frame: np.ndarray) -> np.ndarray:
        """One source frame [h, w, 3] uint8 -> [H, W, 3], bicubic with the filter widened when it shrinks."""
        u0, v0, u1, v1 = self.target
        drawn = np.zeros((self.height, self.width, 3), np.uint8)
        resized = Image.fromarray(frame).resize((u1 - u0, v1 - v0), Image.Resampling.BICUBIC, box=self.region)
        drawn[v0:v1, u0:u1] = np.asarray(resized)
        return drawn

    def box(self, box: Box) -> list[int] | None:
        """A box of the source in whole pixels of the output, x1 and y1 exclusive; None if nothing of it is seen."""
        (x0, y0, x1, y1), (u0, v0, u1, v1) = self.region, self.target
        across, down = (u1 - u0) / (x1 - x0), (v1 - v0) / (y1 - y0)
        left, right = (min(max(u0 + (x - x0) * across, u0), u1) for x in (box[0], box[2]))
        top, bottom = (min(max(v0 + (y - y0) * down, v0), v1) for y in (box[1], box[3]))
        seen = [_floor(left), _floor(top), _ceil(right), _ceil(bottom)]
        return seen if right > left and bottom > top else None


def _floor(pixels: float) -> int:
    """Rounding errors of the map must not cost a pixel."""
    return math.floor(pixels + 1e-6)


def _ceil(pixels: float) -> int:
    return math.ceil(pixels - 1e-6)


def framing(source: tuple[int, int], size: tuple[int, int], fit: str, pixel_aspect: float = 1.0) -> Framing:
    """How pictures of `source` (height, width) fill those of `size`, by one of FITS.

    pixel_aspect: width over height of a source pixel, as it is meant to be shown.
    """
    (h, w), (height, width) = source, size
    whole, full = (0.0, 0.0, float(w), float(h)), (0, 0, width, height)
    aspect = width / height / pixel_aspect  # of the output, in pixels of the source
    if fit == "crop":
        across, down = min(w, h * aspect), min(h, w / aspect)
        x0, y0 = (w - across) / 2, (h - down) / 2
        return Framing((x0, y0, x0 + across, y0 + down), full, height, width)
    if fit == "pad":
        scale = min(height / h, width / (w * pixel_aspect))
        return Framing(whole, _middle(round(h * scale), round(w * pixel_aspect * scale), size), height, width)
    if fit == "square":
        return Framing(whole, _middle(min(size), min(size), size), height, width)
    assert fit == "stretch", fit
    return Framing(whole, full, height, width)


def _middle(height: int, width: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A rectangle of at least one pixel in the middle of a picture of that size."""
    height, width = max(height, 1), max(width, 1)
    y0, x0 = (size[0] - height) // 2, (size[1] - width) // 2
    return x0, y0, x0 + width, y0 + height
