"""The video diffusion transformer: CogVideoX's backbone with adapters in its blocks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import silu

from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import PATCH, patches
from hallo3_lightning.model.block import Block
from hallo3_lightning.model.positions import HEAD_PARTS, Rotary, rotary_3d, sinusoid
from hallo3_lightning.model.precision import uncast
from hallo3_lightning.model.sites import Condition, Conditions, Signal

MOST = 2**20
"""No size of a transformer comes near; beyond it, products of sizes leave what torch can count."""


@dataclass(frozen=True)
class Backbone:
    """Sizes of the transformer; the defaults are CogVideoX-5B-I2V's at 49 frames of 480x720.

    Args:
        width: C, channels of a token.
        heads: attention heads.
        blocks: transformer blocks.
        time_width: channels of the time embedding.
        text_width: channels of a text token.
        text_tokens: L, text tokens.
        latent_channels: channels of a latent.
        latent_height: h.
        latent_width: w.
        latent_frames: T, of the table of learned positions.
        learned_positions: whether a learned table is added to text and video tokens.
        rotary: whether queries and keys of the video are rotated.
        rotary_dtype: precision of the rotary tables and of the turning; the published model, cast to bfloat16 as a
            whole, has bfloat16 tables.
        norm_eps: epsilon of the norms of blocks and of the last norm over the sequence.
        attention_norm_eps: epsilon of the norms of queries and keys.
        output_norm_eps: epsilon of the norm before the output (Hallo3 1e-6, diffusers 1e-5).
    """

    width: int = 3072
    heads: int = 48
    blocks: int = 42
    time_width: int = 512
    text_width: int = 4096
    text_tokens: int = 226
    latent_channels: int = 16
    latent_height: int = 60
    latent_width: int = 90
    latent_frames: int = 13
    learned_positions: bool = True
    rotary: bool = True
    rotary_dtype: Literal["float32", "bfloat16"] = "float32"
    norm_eps: float = 1e-5
    attention_norm_eps: float = 1e-6
    output_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        """Raise a UsageError for sizes of which no transformer can be built."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and (type(value) is not int or not 1 <= value < MOST):
                raise UsageError(f"backbone.{field.name} is {value!r}; give a whole number from 1 to {MOST - 1}")
            if field.type is float and not (isinstance(value, float | int) and 0 < value < math.inf):
                raise UsageError(f"backbone.{field.name} is {value!r}; give a number above 0, such as 1e-5")
        self._check_heads()
        for side in ("latent_height", "latent_width"):
            if getattr(self, side) % PATCH:
                raise UsageError(f"backbone.{side} is {getattr(self, side)}, which patches of {PATCH} do not fill")

    def _check_heads(self) -> None:
        if self.width % 2:
            raise UsageError(
                f"backbone.width is {self.width}; give an even number, half for cosines and half for sines"
            )
        if self.width % self.heads:
            raise UsageError(f"backbone.width {self.width} is not a multiple of backbone.heads {self.heads}")
        if self.rotary and self.head_dim % HEAD_PARTS:
            raise UsageError(
                f"backbone.width {self.width} of {self.heads} heads is {self.head_dim} a head, which rotation cannot "
                f"split between time, height and width; give a multiple of {HEAD_PARTS} a head, or rotary false"
            )

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def patches(self) -> int:
        """N, tokens of one latent frame."""
        return patches(self.latent_height, self.latent_width)


class Embedding(nn.Module):
    """Tokens of latents and text, with learned positions; state keys of diffusers' `CogVideoXPatchEmbed`."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.proj = nn.Conv2d(2 * backbone.latent_channels, backbone.width, PATCH, stride=PATCH)
        self.text_proj = nn.Linear(backbone.text_width, backbone.width)
        length = backbone.text_tokens + backbone.latent_frames * backbone.patches
        self.pos_embedding: nn.Parameter | None
        table = nn.Parameter(torch.empty(1, length, backbone.width)) if backbone.learned_positions else None
        self.register_parameter("pos_embedding", table)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The table of positions begins as small noise."""
        if self.pos_embedding is not None:
            with torch.no_grad():
                self.pos_embedding.copy_(0.02 * torch.randn_like(self.pos_embedding))

    def forward(self, latents: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """latents [B, T, 2c, h, w], text [B, L, E] -> video [B, T, N, C], text [B, L, C].

        A clip shorter than the table takes its first rows, as does the one frame of the reference network.
        """
        frames = self.proj(rearrange(latents, "b t c h w -> (b t) c h w"))
        video = rearrange(frames, "(b t) c h w -> b t (h w) c", t=latents.shape[1])
        text = self.text_proj(text)
        if self.pos_embedding is None:
            return video, text
        start, count = text.shape[1], video.shape[1] * video.shape[2]
        rows = self.pos_embedding[:, start : start + count]
        if rows.shape[1] != count:
            raise ValueError(
                f"{count} video tokens ({video.shape[1]} latent frames) but the table of learned positions has "
                f"{self.pos_embedding.shape[1] - start}; build the backbone with more latent_frames"
            )
        return video + rearrange(rows, "1 (t n) c -> 1 t n c", t=video.shape[1]), text + self.pos_embedding[:, :start]


class TimeEmbedding(nn.Module):
    """Diffusion step -> [B, E]; state keys of diffusers' `TimestepEmbedding`."""

    def __init__(self, width: int, time_width: int) -> None:
        super().__init__()
        self.width = width
        self.linear_1 = nn.Linear(width, time_width)
        self.linear_2 = nn.Linear(time_width, time_width)

    def forward(self, steps: Tensor) -> Tensor:
        waves = sinusoid(steps, self.width).to(self.linear_1.weight.dtype)
        with uncast(waves):
            return self.linear_2(silu(self.linear_1(waves)))


class OutputNorm(nn.Module):
    """Norm with shift and scale from the time embedding; state keys of diffusers' `AdaLayerNorm`."""

    def __init__(self, width: int, time_width: int, eps: float) -> None:
        super().__init__()
        self.linear = nn.Linear(time_width, 2 * width)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, tokens: Tensor, time: Tensor) -> Tensor:
        with uncast(time):
            shift, scale = rearrange(self.linear(silu(time)), "b (two c) -> two b 1 1 c", two=2)
        return self.norm(tokens) * (1 + scale) + shift


class Trunk(nn.Module):
    """Embedding and blocks, without an output: all that the reference network needs."""

    def __init__(self, backbone: Backbone, block: type[Block] = Block) -> None:
        super().__init__()
        self.backbone = backbone
        self.patch_embed = Embedding(backbone)
        self.time_embedding = TimeEmbedding(backbone.width, backbone.time_width)
        self.transformer_blocks = nn.ModuleList(
            block(backbone.width, backbone.heads, backbone.time_width, backbone.norm_eps, backbone.attention_norm_eps)
            for _ in range(backbone.blocks)
        )

    @property
    def blocks(self) -> Sequence[Block]:
        return list(self.transformer_blocks)  # type: ignore[arg-type]

    def rotary(self, latents: Tensor) -> Rotary | None:
        """The rotary table for latents [B, T, c, h, w]; None where the backbone has none."""
        if not self.backbone.rotary:
            return None
        _, frames, _, height, width = latents.shape
        table = rotary_3d(frames, height // PATCH, width // PATCH, self.backbone.head_dim, latents.device)
        dtype = getattr(torch, self.backbone.rotary_dtype)
        return Rotary(table.cos.to(dtype), table.sin.to(dtype))


Stack = Callable[[Sequence[nn.Module], Tensor, Tensor, Tensor, Rotary | None, Sequence[Conditions]], Tensor]
"""A way through the blocks: (blocks, video, text, time, rotary, conditions) -> the video behind the last."""


def every_block(
    blocks: Sequence[nn.Module],
    video: Tensor,
    text: Tensor,
    time: Tensor,
    rotary: Rotary | None,
    conditions: Sequence[Conditions],
) -> Tensor:
    """All of them, one after the other."""
    for block, given in zip(blocks, conditions, strict=True):
        video, text = block(video, text, time, rotary, given)
    return video


class Transformer(Trunk):
    """The denoising network: latents [B, T, 2c, h, w], text [B, L, E], steps [B] -> v [B, T, c, h, w].

    State keys, `adapters.*` aside, are those of diffusers' `CogVideoXTransformer3DModel`.
    """

    def __init__(self, backbone: Backbone, block: type[Block] = Block) -> None:
        super().__init__(backbone, block)
        self.norm_final = nn.LayerNorm(backbone.width, eps=backbone.norm_eps)
        self.norm_out = OutputNorm(backbone.width, backbone.time_width, backbone.output_norm_eps)
        self.proj_out = nn.Linear(backbone.width, backbone.latent_channels * PATCH * PATCH)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The output begins at zero."""
        for linear in (self.norm_out.linear, self.proj_out):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        latents: Tensor,
        text: Tensor,
        steps: Tensor,
        conditions: Sequence[Conditions],
        through: Stack = every_block,
    ) -> Tensor:
        """`conditions` has one mapping a block, from the name of an adapter to its signal or what it prepared."""
        time = self.time_embedding(steps)
        rotary = self.rotary(latents)
        video, text = self.patch_embed(latents, text)
        video = through(list(self.transformer_blocks), video, text, time, rotary, conditions)
        patches = self.proj_out(self.norm_out(self.norm_final(video), time))
        return rearrange(
            patches, "b t (h w) (c p q) -> b t c (h p) (w q)", h=latents.shape[3] // PATCH, p=PATCH, q=PATCH
        )

    def prepare(self, latents: Tensor, conditions: Sequence[Conditions]) -> list[Conditions]:
        """Conditions whose signals are replaced by what the adapters derive from them: once a window, not a step."""
        rotary = self.rotary(latents)
        return [
            block.prepare(given, rotary, latents.shape[1])  # type: ignore[arg-type]
            for block, given in zip(self.blocks, conditions, strict=True)
        ]


def by_block(signals: Mapping[str, Signal], blocks: int) -> list[dict[str, Condition]]:
    """One mapping a block: a signal that is a tuple gives each block its own part, any other goes to all."""
    return [
        {name: signal[i] if isinstance(signal, tuple) else signal for name, signal in signals.items()}
        for i in range(blocks)
    ]
