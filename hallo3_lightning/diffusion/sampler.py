"""Samplers: from noise to latents in a number of steps, each a function of its arguments alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from hallo3_lightning.diffusion.process import sigma
from hallo3_lightning.errors import unknown

Predict = Callable[[Tensor, int], Tensor]
"""(noisy latents [B, T, c, h, w], step) -> v of the same shape."""

Noise = Callable[[int], Tensor]
"""Index of a sampling step -> fresh standard normal noise shaped like the latents."""


def trailing_steps(sampling_steps: int, num_steps: int) -> list[int]:
    """Evenly spaced training steps, the last one (pure noise) first: 999, 979, ..., 19 for 50 of 1000.

    Source: arXiv 2305.08891, section 3.3, "trailing".
    """
    spacing = num_steps / sampling_steps
    return [round(num_steps - i * spacing) - 1 for i in range(sampling_steps)]


def ddim(predict: Predict, noise: Noise, sampling_steps: int, sqrt_alphas: Tensor) -> Tensor:
    """Deterministic DDIM in v form. Source: arXiv 2010.02502, equation 12 with eta 0; arXiv 2202.00512, appendix D."""
    latents = noise(0)
    steps = trailing_steps(sampling_steps, len(sqrt_alphas))
    alphas = [sqrt_alphas[step] for step in steps] + [torch.ones_like(sqrt_alphas[0])]
    for step, alpha, following in zip(steps, alphas[:-1], alphas[1:], strict=True):
        v = predict(latents, step)
        clean = alpha * latents - sigma(alpha) * v
        residue = sigma(alpha) * latents + alpha * v
        latents = following * clean + sigma(following) * residue
    return latents


SAMPLERS: dict[str, Callable[[Predict, Noise, int, Tensor], Tensor]] = {"ddim": ddim}


def sampler(name: str) -> Callable[[Predict, Noise, int, Tensor], Tensor]:
    """The sampler of that name. Raises UsageError with the nearest one."""
    if name not in SAMPLERS:
        raise unknown("sampler", name, SAMPLERS)
    return SAMPLERS[name]
