"""The three sites of a block, and what an adapter may answer at each.

A block asks its adapters, in config order: `modulation` (shift, scale and gate added to the block's own),
`tokens` (extra keys and values for self-attention, without queries), `residual` (added after self-attention).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hallo3_lightning.model.attention import Attention, KeysValues
from hallo3_lightning.model.positions import Rotary

Signal = Tensor | tuple[Tensor, ...]
"""What a condition makes of a batch: one tensor for all blocks, or a tuple with one for each."""


@dataclass(frozen=True)
class Modulation:
    """Shift, scale and gate of one sublayer, each [B, 1 or T, 1, C]."""

    shift: Tensor
    scale: Tensor
    gate: Tensor

    def __add__(self, other: "Modulation") -> "Modulation":
        return Modulation(self.shift + other.shift, self.scale + other.scale, self.gate + other.gate)

    def apply(self, tokens: Tensor) -> Tensor:
        """Shifted and scaled: what the sublayer sees of normalised tokens."""
        return torch.addcmul(self.shift, tokens, 1 + self.scale)

    def gated(self, tokens: Tensor, update: Tensor) -> Tensor:
        """Tokens with the sublayer's answer added, as far as the gate lets it through."""
        return torch.addcmul(tokens, self.gate, update)


@dataclass(frozen=True)
class BlockModulation:
    """Modulation of both sublayers of a block, for one modality."""

    attention: Modulation
    mlp: Modulation

    def __add__(self, other: "BlockModulation") -> "BlockModulation":
        return BlockModulation(self.attention + other.attention, self.mlp + other.mlp)


@dataclass(frozen=True)
class Host:
    """What a block lends its adapters: its self-attention (norms and projections) and the rotary table, [T*N, d]."""

    attention: Attention
    rotary: Rotary | None
    latent_frames: int

    @property
    def frame_rotary(self) -> Rotary | None:
        """The table of the first latent frame: rotation by place in the picture alone."""
        if self.rotary is None:
            return None
        return self.rotary.rows(slice(0, len(self.rotary.cos) // self.latent_frames))

    @property
    def time_rotary(self) -> Rotary | None:
        """The table of each latent frame's first patch, [T, d]: rotation by time alone."""
        if self.rotary is None:
            return None
        return self.rotary.rows(slice(0, None, len(self.rotary.cos) // self.latent_frames))


@dataclass(frozen=True)
class Prepared:
    """What an adapter derives from its signal alone, so that sampling can do it once a window and not once a step."""

    keys_values: KeysValues | None = None
    modulation: BlockModulation | None = None


Condition = Tensor | Prepared
"""A block takes either: the signal, from which it prepares, or what was prepared from it."""

Conditions = Mapping[str, Condition]


class Adapter(nn.Module):
    """The part of a condition inside one block. Override `prepare` and the sites it acts at."""

    def prepare(self, signal: Tensor, host: Host) -> Prepared:
        """Everything that depends on the signal and not on the denoising step."""
        raise NotImplementedError

    def modulation(self, prepared: Prepared) -> BlockModulation | None:
        """Added to the block's own modulation of the video, [B, 1 or T, 1, C]."""
        return None

    def tokens(self, prepared: Prepared) -> KeysValues | None:
        """Extra keys and values for self-attention."""
        return None

    def residual(self, video: Tensor, prepared: Prepared, host: Host) -> Tensor | None:
        """Added to the video [B, T, N, C] after self-attention."""
        return None
