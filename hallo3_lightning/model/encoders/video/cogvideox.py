"""The published video autoencoder."""

from typing import Any

import torch
from diffusers import AutoencoderKLCogVideoX
from einops import rearrange
from torch import Tensor, nn

from hallo3_lightning.model.encoders.folder import existing


class CogVideoXAutoencoder(nn.Module):
    """diffusers' causal 3D autoencoder from a folder; latents are the posterior's mean times its scaling factor.

    Source: CogVideoX (arXiv 2408.06072), section 2.1. The published Hallo3 samples the posterior instead.
    """

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    @classmethod
    def load(cls, folder: str) -> "CogVideoXAutoencoder":
        """From a folder that `save_pretrained` wrote, such as `vae/` of a CogVideoX model."""
        path = existing(folder, "video autoencoder", "model.encoders.video_folder")
        return cls(AutoencoderKLCogVideoX.from_pretrained(path, torch_dtype=torch.float32, local_files_only=True))

    def encode(self, frames: Tensor) -> Tensor:
        """[B, F, 3, H, W] in [-1, 1] -> latents [B, T, c, h, w], scaled."""
        posterior = self.autoencoder.encode(rearrange(frames, "b f c h w -> b c f h w")).latent_dist
        return rearrange(posterior.mode(), "b c t h w -> b t c h w") * self.autoencoder.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, T, c, h, w] -> frames [B, 1 + 4(T-1), 3, H, W]; T must be odd, as diffusers decodes in pairs."""
        if latents.shape[1] % 2 == 0:
            raise ValueError(
                f"{latents.shape[1]} latent frames; this autoencoder decodes an odd number (clips of 8k + 1)"
            )
        unscaled = rearrange(latents, "b t c h w -> b c t h w") / self.autoencoder.config.scaling_factor
        return rearrange(self.autoencoder.decode(unscaled).sample, "b c f h w -> b f c h w")
