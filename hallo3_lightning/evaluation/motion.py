"""How pixels move from frame to frame."""

import torch
from einops import reduce
from torch import Tensor


def jumps(video: Tensor) -> Tensor:
    """Size of the change of velocity at each inner frame: root mean square over its pixels, in grey levels.

    uint8 [B, F, 3, H, W] -> [B, F-2]; entry i belongs to frame i+1. 0 where everything moves evenly.
    """
    pixels = video.float()
    bend = pixels[:, 2:] - 2 * pixels[:, 1:-1] + pixels[:, :-2]
    return reduce(bend.square(), "b f c h w -> b f", "mean").sqrt()


def root_mean_square(values: Tensor) -> Tensor:
    """[B, n] -> [B]; NaN for n = 0."""
    return torch.sqrt(values.square().mean(dim=1))
