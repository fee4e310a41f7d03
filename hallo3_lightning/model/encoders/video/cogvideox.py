"""The published video autoencoder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX
from einops import rearrange
from torch import Tensor, nn

from hallo3_lightning.model.encoders.folder import existing
from hallo3_lightning.model.tiling import Tiling

PAIR = 2
"""Latent frames that are decoded together; the first come with the one that is left over."""


class CogVideoXAutoencoder(nn.Module):
    """diffusers' causal 3D autoencoder from a folder; latents are the posterior's mean times its scaling factor.

    Source: CogVideoX (arXiv 2408.06072), section 2.1. The published Hallo3 samples the posterior instead.
    """

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    @property
    def pixels_per_latent(self) -> int:
        """Every level of the decoder but the first doubles the sides."""
        return 2 ** (len(self.autoencoder.config.block_out_channels) - 1)

    @property
    def decoding_bytes_per_pixel(self) -> int:
        """Counted allocation by allocation on a CPU, for the published sizes: 91,570."""
        return 92_000

    @classmethod
    def load(cls, folder: str) -> "CogVideoXAutoencoder":
        """From a folder that `save_pretrained` wrote, such as `vae/` of a CogVideoX model."""
        return cls(
            AutoencoderKLCogVideoX.from_pretrained(_place(folder), torch_dtype=torch.float32, local_files_only=True)
        )

    @classmethod
    def pixels_per_latent_of(cls, folder: str) -> int:
        """What the one in a folder has, without reading its numbers."""
        config = AutoencoderKLCogVideoX.load_config(_place(folder), local_files_only=True)
        with torch.device("meta"):
            return cls(AutoencoderKLCogVideoX.from_config(config)).pixels_per_latent

    def encode(self, frames: Tensor) -> Tensor:
        """[B, F, 3, H, W] in [-1, 1] -> latents [B, T, c, h, w], scaled."""
        given = rearrange(frames, "b f c h w -> b c f h w").to(self.autoencoder.dtype)
        posterior = self.autoencoder.encode(given).latent_dist
        return rearrange(posterior.mode(), "b c t h w -> b t c h w") * self.autoencoder.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, T, c, h, w] -> frames [B, 1 + 4(T-1), 3, H, W]; T must be odd, as frames are decoded in pairs."""
        return torch.cat(list(self.decode_chunks(latents)), dim=1)

    def decode_chunks(self, latents: Tensor, tiled: bool = False) -> Iterator[Tensor]:
        """The frames of 3, 2, 2, ... latent frames: 9, 8, 8, ..., as diffusers decodes them, bit for bit.

        The last frames that each layer saw go from one chunk to the next.
        """
        if latents.shape[1] % PAIR == 0:
            raise ValueError(
                f"{latents.shape[1]} latent frames; this autoencoder decodes an odd number (clips of 8k + 1)"
            )
        unscaled = rearrange(latents, "b t c h w -> b c t h w") / self.autoencoder.config.scaling_factor
        unscaled = unscaled.to(self.autoencoder.dtype)
        decoder = self._decoded
        if tiled:
            decoder = Tiling.of(self.autoencoder, self._decoded, self.pixels_per_latent).decoded
        seen: Any = None
        for part in _pairs(unscaled):
            frames, seen = decoder(part, seen)
            yield rearrange(frames, "b c f h w -> b f c h w")

    def _decoded(self, latents: Tensor, seen: Any) -> tuple[Tensor, Any]:
        """Frames, and what the next chunk needs of this one."""
        inner = self.autoencoder
        given = latents if inner.post_quant_conv is None else inner.post_quant_conv(latents)
        return inner.decoder(given, conv_cache=seen)


def _place(folder: str) -> Path:
    return existing(folder, "video autoencoder", "model.encoders.video_folder")


def _pairs(latents: Tensor) -> list[Tensor]:
    """Of [B, c, T, h, w] three latent frames (one where there are no more), then pairs."""
    count = latents.shape[2]
    first = min(PAIR + count % PAIR, count)
    return list(latents.split([first, *[PAIR] * ((count - first) // PAIR)], dim=2))
