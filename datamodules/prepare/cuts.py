"""Where one scene ends and another begins, seen in the colours of the picture.

A frame's signature is, for each colour in each quarter of the picture, the quantiles of its histogram. The mean
difference of two signatures is how far, on average, colour has to move from one to the other (earth mover's distance):
a slight change of light moves it a little, where it may hop all pixels from one bin of a histogram to the next.
"""

import numpy as np
from einops import rearrange

QUANTILES = 16
QUARTERS = 2
"""Rows and columns of the grid."""
SIDE = 64
"""About so many pixels a side are looked at."""

THRESHOLD = 0.06
STANDS_OUT = 4.0
"""A cut jumps this many times further than the frames around it usually do: shaking and panning do not."""
AROUND = 12
"""Frames on either side that say what is usual."""
BESIDE = 3
"""Frames on either side whose medians must differ too: a flash passes and leaves the scene as it was."""


def signature(frame: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8 -> [QUARTERS^2 * 3 * QUANTILES] uint8."""
    height, width, _ = frame.shape
    seen = frame[:: max(height // SIDE, 1), :: max(width // SIDE, 1)]
    parts = [part for rows in np.array_split(seen, QUARTERS, axis=0) for part in np.array_split(rows, QUARTERS, axis=1)]
    return np.concatenate([_quantiles(part) for part in parts])


def _quantiles(part: np.ndarray) -> np.ndarray:
    """Of each colour of a part of the picture; nothing for a part without pixels."""
    ordered = np.sort(rearrange(part, "h w c -> c (h w)"), axis=1)
    count = ordered.shape[1]
    picked = (2 * np.arange(QUANTILES) + 1) * count // (2 * QUANTILES) if count else []
    return rearrange(ordered[:, np.asarray(picked, int)], "c quantiles -> (c quantiles)")


def cuts(signatures: np.ndarray, threshold: float = THRESHOLD) -> list[int]:
    """The frames that begin another scene, in order; signatures [F, D] uint8. A slow dissolve is none.

    threshold: share of the whole range of brightness by which colour moves.
    """
    signatures = signatures.astype(np.float32) / 255
    jumps = np.abs(np.diff(signatures, axis=0)).mean(1)  # jumps[k]: from frame k to frame k + 1
    return [k + 1 for k in np.flatnonzero(jumps > threshold).tolist() if _lasts(signatures, jumps, k, threshold)]


def _lasts(signatures: np.ndarray, jumps: np.ndarray, k: int, threshold: float) -> bool:
    """Whether the jump behind frame k is the largest of its neighbours, unusual, and there to stay."""
    around = jumps[max(k - AROUND, 0) : k + AROUND + 1]
    beside = jumps[max(k - BESIDE + 1, 0) : k + BESIDE]
    before = np.median(signatures[max(k - BESIDE + 1, 0) : k + 1], axis=0)
    behind = np.median(signatures[k + 1 : k + 1 + BESIDE], axis=0)
    return bool(
        jumps[k] == beside.max()
        and jumps[k] > STANDS_OUT * np.median(around)
        and np.abs(behind - before).mean() > threshold
    )
