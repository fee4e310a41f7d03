"""Whether a video moves: the dynamic degree of VBench (arXiv 2311.17982), from optical flow.

A yes or no that says nothing of how much: tell the mean beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor

from hallo3_lightning.backbones.raft import Raft, to_eights

PER_SECOND = 8
"""Frames that are looked at."""

FASTEST = 0.05
"""Share of the pixels that the strength of a motion is the mean of."""

THRESHOLD, OF_SIDE = 6.0, 256.0
"""Pixels that a strong motion has in a picture with that shorter side, and the more in a larger one."""

STRONG, OF_FRAMES = 4, 16
"""Strong motions that a video of so many frames needs, and the more in a longer one."""


@dataclass(frozen=True)
class Movement:
    """How much a video moves."""

    strengths: tuple[float, ...]
    """Of each pair of frames that follow each other, in pixels."""
    mean: float
    """Over all pixels and pairs, in pixels."""
    moves: bool


def every(fps: float) -> int:
    """Frames from one that is looked at to the next."""
    return max(1, round(fps / PER_SECOND))


def strength(flow: Tensor) -> float:
    """Mean length of the longest 5 % of a flow [2, H, W], in pixels."""
    lengths = rearrange(flow.square().sum(dim=0).sqrt(), "h w -> (h w)")
    return float(lengths.topk(int(len(lengths) * FASTEST)).values.double().mean())


def moves(strengths: Sequence[float], frames: int, height: int, width: int) -> bool:
    """Whether enough of the motions between so many frames of that size are strong."""
    threshold = THRESHOLD * min(height, width) / OF_SIDE
    return sum(value > threshold for value in strengths) >= round(STRONG * frames / OF_FRAMES)


@torch.no_grad()
def movement(network: Raft, video: Tensor, fps: float) -> Movement:
    """How much a video [F, 3, H, W] in levels 0..255 moves, pair by pair."""
    seen = video[:: every(fps)]
    if len(seen) < 2:
        raise ValueError(
            f"{len(video)} frames at {fps:g} a second have no two to compare; leave the video out, counted"
        )
    whole = to_eights(seen)
    flows = [rearrange(network(a[None], b[None]).fine, "1 xy h w -> xy h w") for a, b in pairwise(whole)]
    strengths = tuple(strength(flow) for flow in flows)
    lengths = torch.stack([flow.square().sum(dim=0).sqrt().double().mean() for flow in flows])
    return Movement(strengths, float(lengths.mean()), moves(strengths, len(seen), video.shape[-2], video.shape[-1]))
