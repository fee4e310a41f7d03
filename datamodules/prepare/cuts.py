"""Where one scene ends and another begins, seen in the colours of the picture.

A frame's signature is the cumulative histogram of each colour in each quarter of the picture. The mean difference of two
signatures is how far, on average, colour has to move from one to the other (earth mover's distance, as a share of the
whole range): a slight change of light moves it a little, where bins would be hopped in plain histograms.
"""

import numpy as np
from einops import rearrange

BINS = 16
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


def signatures(frames: np.ndarray) -> np.ndarray:
    """[n, H, W, 3] uint8 -> [n, QUARTERS^2 * 3 * BINS] float32 in [0, 1]."""
    return np.stack([_signature(frame) for frame in frames])


def _signature(frame: np.ndarray) -> np.ndarray:
    height, width, _ = frame.shape
    seen = frame[:: max(height // SIDE, 1), :: max(width // SIDE, 1)]
    parts = [part for rows in np.array_split(seen, QUARTERS, axis=0) for part in np.array_split(rows, QUARTERS, axis=1)]
    counts = [np.bincount(part[..., c].ravel() // (256 // BINS), minlength=BINS) for part in parts for c in range(3)]
    histograms = np.stack([count / max(count.sum(), 1) for count in counts])
    return rearrange(np.cumsum(histograms, axis=1), "parts bins -> (parts bins)").astype(np.float32)


def cuts(signatures: np.ndarray, threshold: float = THRESHOLD) -> list[int]:
    """The frames that begin another scene, in order; signatures [F, D]. A slow dissolve is none."""
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
