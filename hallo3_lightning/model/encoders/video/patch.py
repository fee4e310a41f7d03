"""The tiny stand-in for a video autoencoder: a causal linear patch transform, fitted by one SVD."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from einops import rearrange, repeat
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import FRAMES_PER_LATENT


class PatchAutoencoder(nn.Module):
    """Frames in [-1, 1] -> latents: principal components of blocks of 4 frames and p x p pixels.

    The frames of a clip are grouped as the published causal autoencoder groups them: the first is repeated until the
    number is a multiple of 4, so 1 + 4k frames make 1 + k latents. One factor scales all channels to unit deviation.
    """

    mean: Tensor
    components: Tensor
    scale: Tensor

    def __init__(self, patch: int, channels: int) -> None:
        super().__init__()
        self.patch = patch
        self.channels = channels
        width = FRAMES_PER_LATENT * 3 * patch * patch
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("components", torch.zeros(channels, width))
        self.register_buffer("scale", torch.ones(()))

    @property
    def pixels_per_latent(self) -> int:
        return self.patch

    @property
    def decoding_bytes_per_pixel(self) -> int:
        """A few copies of a chunk's colours."""
        return 1_000

    @classmethod
    def load(cls, folder: str) -> "PatchAutoencoder":
        """Read what `save` wrote. Raises UsageError when it is not there."""
        autoencoder = cls.blank(folder)
        autoencoder.load_state_dict(load_file(Path(folder) / "model.safetensors"))
        return autoencoder

    @classmethod
    def pixels_per_latent_of(cls, folder: str) -> int:
        """What the one in a folder has, without reading its numbers."""
        return cls.blank(folder).pixels_per_latent

    @classmethod
    def blank(cls, folder: str) -> "PatchAutoencoder":
        """Of the sizes that `save` wrote, all zeros. Raises UsageError when it is not there."""
        config = Path(folder) / "config.json"
        if not config.is_file():
            raise UsageError(
                f"no patch autoencoder in '{folder}' (config.json is missing); `hallo3 synthesize` fits one and writes "
                "it beside the shards, or name another folder with --model.encoders.video_folder"
            )
        return cls(**json.loads(config.read_text()))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"patch": self.patch, "channels": self.channels}))

    @classmethod
    def fit(cls, clips: Iterable[Tensor], patch: int = 4, channels: int = 16) -> "PatchAutoencoder":
        """The transform that keeps most of the variance of clips [F, 3, H, W] in [-1, 1]."""
        autoencoder = cls(patch, channels)
        blocks = torch.cat([rearrange(autoencoder._blocks(clip[None]), "1 t h w d -> (t h w) d") for clip in clips])
        if len(blocks) < channels:
            raise UsageError(f"{len(blocks)} blocks cannot span {channels} channels; fit the autoencoder to more takes")
        autoencoder.mean = blocks.mean(0)
        _, deviations, directions = torch.linalg.svd(blocks - autoencoder.mean, full_matrices=False)
        autoencoder.components = directions[:channels].contiguous()
        variances = deviations[:channels] ** 2 / len(blocks)
        autoencoder.scale = variances.mean().sqrt()
        return autoencoder

    def encode(self, frames: Tensor) -> Tensor:
        """[B, F, 3, H, W] in [-1, 1] -> latents [B, T, c, h, w] of unit deviation."""
        latents = (self._blocks(frames) - self.mean) @ self.components.T / self.scale
        return rearrange(latents, "b t h w c -> b t c h w")

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, T, c, h, w] -> [B, 1 + 4(T-1), 3, H, W], about [-1, 1]."""
        return self._groups(latents)[:, FRAMES_PER_LATENT - 1 :]

    def decode_chunks(self, latents: Tensor, tiled: bool = False) -> Iterator[Tensor]:
        """1, 4, 4, ... frames, those of one latent frame at a time; patches know no others, so tiles change nothing."""
        for i, latent in enumerate(latents.split(1, dim=1)):
            yield self._groups(latent)[:, FRAMES_PER_LATENT - 1 if i == 0 else 0 :]

    def _groups(self, latents: Tensor) -> Tensor:
        """The frames [B, 4 T, 3, H, W] of all groups; of the first only the last frame was there."""
        blocks = rearrange(latents, "b t c h w -> b t h w c") * self.scale @ self.components + self.mean
        return rearrange(
            blocks, "b t h w (f c p q) -> b (t f) c (h p) (w q)", f=FRAMES_PER_LATENT, p=self.patch, q=self.patch
        )

    def _blocks(self, frames: Tensor) -> Tensor:
        missing = -frames.shape[1] % FRAMES_PER_LATENT
        frames = torch.cat([repeat(frames[:, :1], "b 1 c h w -> b f c h w", f=missing), frames], dim=1)
        return rearrange(
            frames, "b (t f) c (h p) (w q) -> b t h w (f c p q)", f=FRAMES_PER_LATENT, p=self.patch, q=self.patch
        )
