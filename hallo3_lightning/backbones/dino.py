"""What a picture is of: DINO's ViT-B/16 (arXiv 2104.14294), for subject consistency.

Names of tensors are those of github.com/facebookresearch/dino, dino_vitbase16_pretrain.pth.
"""

import math

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention

from hallo3_lightning.backbones.framing import shorter_side_to

SIZE = 224
"""Pixels of the shorter side of a frame that the network sees."""

WIDTH, DEPTH, HEADS, PATCH = 768, 12, 12, 16

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue of ImageNet, 0..1."""

EDGE = 0.1
"""Patches by which the original says a side is longer than it is, lest it be rounded down; it moves the positions a
little, and so does this."""


def prepared(frames: Tensor) -> Tensor:
    """Levels [F, 3, H, W] uint8 -> [F, 3, h, w] with the shorter side 224, in deviations from ImageNet's mean, whole and
    not smoothed (VBench)."""
    mean, deviation = (
        rearrange(torch.tensor(values, device=frames.device), "c -> c 1 1") for values in (MEAN, DEVIATION)
    )
    return (shorter_side_to(frames, SIZE, "bilinear") / 255 - mean) / deviation


class Attention(nn.Module):
    """All tokens look at all."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (three heads c) -> three b heads n c", three=3, heads=HEADS)
        return self.proj(rearrange(scaled_dot_product_attention(q, k, v), "b heads n c -> b n (heads c)"))


class Mlp(nn.Module):
    """Two layers on each token."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(WIDTH, 4 * WIDTH)
        self.fc2 = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and two layers, each added to what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = Attention()
        self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.mlp = Mlp()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbedding(nn.Module):
    """Patches to tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, PATCH, PATCH)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.proj(pictures)


class Dino(nn.Module):
    """The first token after all blocks, for pictures of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (SIZE // PATCH) ** 2, WIDTH))
        self.patch_embed = PatchEmbedding()
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, pictures: Tensor) -> Tensor:
        """Prepared pictures [B, 3, H, W], cut to whole patches of 16 -> features [B, 768]."""
        patches = self.patch_embed(pictures)
        positions = self._positions(patches.shape[-2], patches.shape[-1])
        first = repeat(self.cls_token, "1 1 c -> b 1 c", b=len(pictures))
        x = torch.cat([first, rearrange(patches, "b c h w -> b (h w) c")], dim=1) + positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]

    def _positions(self, height: int, width: int) -> Tensor:
        """[1, 1 + height * width, C], stretched from those of the square that it was trained on."""
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        side = math.isqrt(rest.shape[1])
        if (height, width) == (side, side):
            return self.pos_embed
        square = rearrange(rest, "1 (h w) c -> 1 c h w", h=side)
        scale = ((height + EDGE) / side, (width + EDGE) / side)
        stretched = interpolate(square, scale_factor=scale, mode="bicubic", align_corners=False)
        return torch.cat([first, rearrange(stretched, "1 c h w -> 1 (h w) c")], dim=1)
