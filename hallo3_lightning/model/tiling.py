"""A causal decoder over overlapping tiles of the picture: its memory is that of one tile."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hallo3_lightning.errors import UsageError

Decode = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""(latents [B, c, t, h, w], what is kept of the chunk before) -> (frames [B, 3, f, H, W], what the next one needs)."""


@dataclass(frozen=True)
class Side:
    """One side of the picture: a tile of `size` latents begins every `step`; of its `kept` pixels the first `blend` fade
    in from the tile before."""

    size: int
    step: int
    kept: int
    blend: int

    @classmethod
    def of(cls, latents: int, pixels: int, overlap: float, pixels_per_latent: int) -> "Side":
        """With tiles of so many latents and pixels, which share a part `overlap` with the next.

        Raises UsageError where what is kept of a tile is not what lies before the next one.
        """
        blend = int(pixels * overlap)
        side = cls(latents, int(latents * (1 - overlap)), pixels - blend, blend)
        if not 0 < side.kept == side.step * pixels_per_latent:
            raise UsageError(
                f"the video autoencoder's tiles of {pixels} pixels and {latents} latents, a new one every {side.step} latents "
                f"of {pixels_per_latent} pixels, leave {side.kept} pixels of each: pictures would be of the wrong size; give "
                "more --max-memory, which needs no tiles, or set sample_height and sample_width in the autoencoder's "
                "config.json as it was published (480 and 720)"
            )
        return side


@dataclass(frozen=True)
class Tiling:
    """Tiles and fades as in diffusers' `AutoencoderKLCogVideoX.tiled_decode`, but chunk by chunk in time.

    There every tile is decoded through all of time before the next, so that no frame is done before all are.
    """

    decode: Decode
    height: Side
    width: Side

    @classmethod
    def of(cls, autoencoder: Any, decode: Decode, pixels_per_latent: int) -> "Tiling":
        """With the sizes that diffusers' autoencoder has for its own tiles: half of each side it was trained at.

        Raises UsageError where they do not fit together.
        """
        return cls(
            decode,
            Side.of(
                autoencoder.tile_latent_min_height,
                autoencoder.tile_sample_min_height,
                autoencoder.tile_overlap_factor_height,
                pixels_per_latent,
            ),
            Side.of(
                autoencoder.tile_latent_min_width,
                autoencoder.tile_sample_min_width,
                autoencoder.tile_overlap_factor_width,
                pixels_per_latent,
            ),
        )

    def decoded(self, latents: Tensor, seen: Any) -> tuple[Tensor, Any]:
        """Frames [B, 3, f, H, W] of a chunk, and what each tile of the next one needs; in one piece where it fits a tile."""
        if latents.shape[3] <= self.height.size and latents.shape[4] <= self.width.size:
            return self.decode(latents, seen)
        height, width, rows, kept = self.height, self.width, [], {}
        above: list[Tensor] = []
        for top in range(0, latents.shape[3], height.step):
            row: list[Tensor] = []
            for left in range(0, latents.shape[4], width.step):
                tile = latents[:, :, :, top : top + height.size, left : left + width.size]
                frames, kept[top, left] = self.decode(tile, None if seen is None else seen[top, left])
                if above:
                    frames = faded(above[len(row)], frames, height.blend, dim=3)
                row.append(faded(row[-1], frames, width.blend, dim=4) if row else frames)
            rows.append(torch.cat([frames[:, :, :, : height.kept, : width.kept] for frames in row], dim=4))
            above = row
        return torch.cat(rows, dim=3), kept


def faded(before: Tensor, frames: Tensor, blend: int, dim: int) -> Tensor:
    """Frames whose first `blend` lines along `dim` fade in from the last ones of the tile before."""
    blend = min(before.shape[dim], frames.shape[dim], blend)
    share = torch.arange(blend, device=frames.device, dtype=frames.dtype) / max(blend, 1)
    share = share[(...,) + (None,) * (frames.ndim - 1 - dim)]
    mixed = before.narrow(dim, before.shape[dim] - blend, blend) * (1 - share) + frames.narrow(dim, 0, blend) * share
    return torch.cat([mixed, frames.narrow(dim, blend, frames.shape[dim] - blend)], dim=dim)
