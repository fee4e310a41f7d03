"""Where a token stands: rotary tables for attention, sinusoids for the diffusion step."""

import math
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor

HEAD_PARTS = 16
"""What the width of a head is a multiple of: 2:3:3 parts, each in pairs, for time, height and width."""


@dataclass(frozen=True)
class Rotary:
    """Cosines and sines [N, d] of the rotation of N tokens; adjacent channels (2j, 2j+1) share an angle."""

    cos: Tensor
    sin: Tensor

    def rows(self, index: slice) -> "Rotary":
        return Rotary(self.cos[index], self.sin[index])

    def behind(self, count: int) -> "Rotary":
        """The table for `count` tokens that do not turn, then its own: quicker than to part and join the tokens."""
        still = self.cos.new_zeros(count, self.cos.shape[1])
        return Rotary(torch.cat([still + 1, self.cos]), torch.cat([still, self.sin]))

    def __call__(self, tokens: Tensor) -> Tensor:
        """Rotate tokens [..., N, d], in the precision of the table, back to that of the tokens."""
        precise = tokens.to(self.cos.dtype)
        pairs = rearrange(precise, "... (half two) -> ... half two", two=2)
        swapped = rearrange(pairs.flip(-1), "... half two -> ... (half two)")
        signs = repeat(self.sin.new_tensor([-1.0, 1.0]), "two -> (half two)", half=self.sin.shape[1] // 2)
        return torch.addcmul(precise * self.cos, swapped, self.sin * signs).to(tokens.dtype)


def rotary_3d(frames: int, height: int, width: int, head_dim: int, device: torch.device) -> Rotary:
    """Rotary table of a grid of frames x height x width tokens, frame-major, at whole-number positions.

    A quarter of the channels turns with time, three eighths each with height and width; base 10000.
    Source: CogVideoX-5B (arXiv 2408.06072), the published 2:3:3 split.
    """
    if head_dim % HEAD_PARTS:
        raise ValueError(f"head width {head_dim} cannot be split 2:3:3 into pairs; give a multiple of {HEAD_PARTS}")
    channels = (head_dim // 4, 3 * head_dim // 8, 3 * head_dim // 8)
    axes = [_angles(n, c, device) for n, c in zip((frames, height, width), channels, strict=True)]
    angles = torch.cat(
        [
            repeat(axes[0], "t c -> (t h w) c", h=height, w=width),
            repeat(axes[1], "h c -> (t h w) c", t=frames, w=width),
            repeat(axes[2], "w c -> (t h w) c", t=frames, h=height),
        ],
        dim=-1,
    )
    return Rotary(angles.cos(), angles.sin())


def _angles(positions: int, channels: int, device: torch.device) -> Tensor:
    frequencies = 10000.0 ** (-torch.arange(0, channels, 2, device=device, dtype=torch.float32) / channels)
    angles = torch.arange(positions, device=device, dtype=torch.float32)[:, None] * frequencies
    return repeat(angles, "n half -> n (half two)", two=2)


def sinusoid(steps: Tensor, width: int) -> Tensor:
    """Embedding [B, width] of diffusion steps [B]: cosines, then sines, base 10000, in float32.

    Source: arXiv 1706.03762, section 3.5, with the order of halves that CogVideoX uses.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=steps.device, dtype=torch.float32) / half)
    angles = steps.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
