"""From a decoded frame to upright RGB."""

from collections.abc import Mapping
from dataclasses import dataclass

import av
import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorRange, Colorspace
from einops import rearrange

UNSPECIFIED = 2
"""Of a colour matrix, by ITU-T H.273."""

HD_HEIGHT = 720
"""Videos from this height on that do not name their colour matrix are taken for BT.709, smaller ones for BT.601."""


@dataclass(frozen=True)
class Turn:
    """What brings a stored frame upright: rows and columns swapped, then mirrored."""

    swapped: bool = False
    left_right: bool = False
    up_down: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """[H, W, 3] -> upright; a view."""
        image = rearrange(image, "h w c -> w h c") if self.swapped else image
        return image[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1]


def turn_of(frame: av.VideoFrame) -> Turn:
    """By the display matrix, to the nearest quarter: stored (x, y) is shown at (a x + c y, b x + d y).

    Source: the track matrix of ISO/IEC 14496-12, 16.16 fixed point, row by row with a third column of its own.
    """
    given: Mapping[Type, Buffer] = frame.side_data  # type: ignore[assignment]  # PyAV's stub names one kind only
    if Type.DISPLAYMATRIX not in given:
        return Turn()
    a, b, _, c, d = np.frombuffer(memoryview(given[Type.DISPLAYMATRIX]), "<i4")[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Turn(swapped=True, left_right=c < 0, up_down=b < 0)
    return Turn(left_right=a < 0, up_down=d < 0)


def rgb(frame: av.VideoFrame) -> np.ndarray:
    """uint8 [H, W, 3] as stored, full range; the colour matrix is the frame's own, or a guess by its height."""
    matrix = frame.colorspace
    if matrix == UNSPECIFIED:
        matrix = Colorspace.ITU709 if frame.height >= HD_HEIGHT else Colorspace.ITU601
    converted = frame.reformat(format="rgb24", src_colorspace=int(matrix), dst_color_range=ColorRange.JPEG, threads=1)
    return converted.to_ndarray()
