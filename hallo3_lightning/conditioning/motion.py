"""Motion frames: what is given beside the noisy latents, how it is corrupted, what a window keeps."""

from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor

from hallo3_lightning.randomness import normal, uniform


@dataclass(frozen=True)
class Corruption:
    """How motion frames are disturbed, so that training sees what sampling will give; defaults as published.

    Args:
        noise_mean: mean of the logarithm of the noise's deviation (pixels in [-1, 1]); training only.
        noise_std: deviation of that logarithm.
        mask_rate: share of pixels set to mid-grey.
        mask_in_sampling: whether sampling masks too.
    """

    noise_mean: float = -3.0
    noise_std: float = 0.5
    mask_rate: float = 0.1
    mask_in_sampling: bool = True


def corrupted(
    frames: Tensor, corruption: Corruption, seed: int, positions: Tensor, step: int, training: bool
) -> Tensor:
    """Motion frames [B, n, 3, H, W] in [-1, 1] with noise (training) and one mask a clip for all its frames.

    Each draw is from (seed, purpose, step, position); `step` is the window in sampling.
    """
    if frames.shape[1] == 0:
        return frames
    if training:
        log_sigma = corruption.noise_mean + corruption.noise_std * normal((1,), seed, "sigma", positions, step)
        noise = normal(frames.shape[1:], seed, "motion_noise", positions, step)
        frames = noised(frames, rearrange(log_sigma, "b 1 -> b"), noise)
    if corruption.mask_rate > 0 and (training or corruption.mask_in_sampling):
        drawn = uniform(frames.shape[3:], seed, "motion_mask", positions, step)
        frames = masked(frames, drawn, corruption.mask_rate)
    return frames


def noised(frames: Tensor, log_sigma: Tensor, noise: Tensor) -> Tensor:
    """Frames [B, n, 3, H, W] with standard normal noise of their shape, times the exponential of log_sigma [B]."""
    return frames + rearrange(log_sigma.exp(), "b -> b 1 1 1 1") * noise


def masked(frames: Tensor, drawn: Tensor, rate: float) -> Tensor:
    """Frames [B, n, 3, H, W], mid-grey in all n where the uniform draws [B, H, W] are at most `rate`."""
    return frames * rearrange(drawn > rate, "b h w -> b 1 1 h w")


def with_reference(reference: Tensor, motion: Tensor) -> Tensor:
    """What the autoencoder encodes as one: the reference [B, 3, H, W], then the motion frames [B, n, 3, H, W]."""
    return torch.cat([rearrange(reference, "b c h w -> b 1 c h w"), motion], dim=1)


def padded(latents: Tensor, latent_frames: int) -> Tensor:
    """Zero latents behind [B, t, c, h, w], up to [B, T, c, h, w]."""
    missing = latent_frames - latents.shape[1]
    if missing < 0:
        raise ValueError(
            f"reference and motion frames fill {latents.shape[1]} latent frames but the clip has {latent_frames}; "
            "take fewer motion frames or longer clips"
        )
    zeros = torch.zeros_like(latents[:, :1])
    return torch.cat([latents, repeat(zeros, "b 1 c h w -> b t c h w", t=missing)], dim=1)
