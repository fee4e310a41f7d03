"""From one reference and sound of any length to video, window by window."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from einops import repeat
from torch import Tensor

from hallo3_lightning.animation.prediction import prediction
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.windows import Window, windows
from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.motion import Corruption, corrupted, padded, with_reference
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.diffusion.sampler import sampler
from hallo3_lightning.diffusion.schedule import schedule
from hallo3_lightning.geometry import latent_frames
from hallo3_lightning.model.frozen import FrozenEncoders, signed
from hallo3_lightning.randomness import normal


@dataclass(frozen=True)
class Animator:
    """Everything that sampling needs; the same noise for a clip whatever the batch it is in."""

    denoiser: Denoiser
    encoders: FrozenEncoders
    process: Process
    clip_frames: int
    motion_frames: int
    corruption: Corruption
    sampling: Sampling
    seed: int

    @torch.no_grad()
    def frames(self, batch: Batch, total_frames: int, given: Tensor | None = None) -> Iterator[Tensor]:
        """New frames [B, f, 3, H, W] uint8 of each window in turn.

        `batch` has the reference, and sound for all the frames; `given` [B, n, 3, H, W] uint8 are the motion frames of
        the first window, the reference itself where there are none.
        """
        assert batch.reference is not None
        whole = self.encoders.fill(batch.with_(video=None, latents=None))
        if given is None:
            given = repeat(batch.reference, "b c h w -> b n c h w", n=self.motion_frames)
        last = given[:, : self.motion_frames]
        for window in windows(total_frames, self.clip_frames, self.motion_frames):
            frames = self.encoders.decode(self.latents(whole, last, window))
            yield frames[:, window.kept_from : window.stop - window.start]
            last = frames[:, frames.shape[1] - self.motion_frames :]

    def video(self, batch: Batch, total_frames: int, given: Tensor | None = None) -> Tensor:
        """All frames [B, F, 3, H, W] uint8."""
        return torch.cat(list(self.frames(batch, total_frames, given)), dim=1)

    def latents(self, whole: Batch, motion: Tensor, window: Window) -> Tensor:
        """Latents [B, T, c, h, w] of one window, under motion frames [B, n, 3, H, W] uint8."""
        clip = whole.with_(
            motion_latents=self._motion_latents(whole, motion, window.index),
            audio_features=_span(whole.audio_features, window.start, self.clip_frames),
        )
        positions = clip.positions
        assert positions is not None
        assert clip.motion_latents is not None
        shape = clip.motion_latents.shape[1:]

        def noise(draw: int) -> Tensor:
            return normal(shape, self.seed, f"sampling {window.index}", positions, draw)

        visited = schedule(self.process, self.sampling.steps, self.sampling.oddities)
        return sampler(self.sampling.sampler)(prediction(self.denoiser, clip, self.sampling), noise, visited)

    def _motion_latents(self, whole: Batch, motion: Tensor, window: int) -> Tensor:
        assert whole.reference is not None
        assert whole.positions is not None
        disturbed = corrupted(signed(motion), self.corruption, self.seed, whole.positions, window, training=False)
        latents = self.encoders.video.encode(with_reference(signed(whole.reference), disturbed))
        return padded(latents, latent_frames(self.clip_frames))


def _span(features: Tensor | None, start: int, count: int) -> Tensor | None:
    """Frames [start, start + count) of features [B, F, ...], the last one repeated past the end."""
    if features is None:
        return None
    part = features[:, start : start + count]
    missing = count - part.shape[1]
    return torch.cat([part, *[part[:, -1:]] * missing], dim=1)
