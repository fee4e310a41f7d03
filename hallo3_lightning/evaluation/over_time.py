"""Trends of clips' frames."""

import torch
from einops import reduce
from torch import Tensor

from hallo3_lightning.geometry import FPS


def slopes(values: Tensor) -> Tensor:
    """How fast values [B, F, D] of frames change: slope of the straight line of least squares, a second -> [B, D].

    NaN for clips of one frame.
    """
    count = values.shape[1]
    times = (torch.arange(count, device=values.device, dtype=values.dtype) - (count - 1) / 2) / FPS
    centred = values - reduce(values, "b f d -> b 1 d", "mean")
    return torch.einsum("f,bfd->bd", times, centred) / times.square().sum()
