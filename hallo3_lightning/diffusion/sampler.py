"""Samplers: from noise to latents along a schedule, each a function of its arguments alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from hallo3_lightning.diffusion.process import sigma
from hallo3_lightning.diffusion.schedule import Schedule
from hallo3_lightning.errors import unknown

Predict = Callable[[Tensor, int], Tensor]
"""(noisy latents [B, T, c, h, w], training step) -> v of the same shape."""

Noise = Callable[[int], Tensor]
"""Index of a draw -> fresh standard normal noise shaped like the latents; draw 0 is the initial noise."""

Sampler = Callable[[Predict, Noise, Schedule], Tensor]


def ddim(predict: Predict, noise: Noise, schedule: Schedule) -> Tensor:
    """Deterministic, first order: x' = a' D + sigma' E, with D the clean estimate and E that of the noise.

    Source: DDIM, arXiv 2010.02502, equation 12 with eta 0; in v form, arXiv 2202.00512, appendix D.
    """
    latents = noise(0)
    for i, step in enumerate(schedule.steps):
        alpha, following = schedule.alphas[i], schedule.alphas[i + 1]
        v = predict(latents, step).float()
        clean = clean_estimate(latents, v, schedule.clean_alphas[i])
        residue = _scale(sigma(alpha), latents) + _scale(alpha, v)
        latents = _scale(following, clean) + _scale(sigma(following), residue)
    return latents


def dpmpp_2m(predict: Predict, noise: Noise, schedule: Schedule) -> Tensor:
    """Deterministic, second order: x' = sigma'/sigma x + a' (1 - e^-h) D, with D extrapolated from two steps.

    Source: DPM-Solver++(2M), arXiv 2211.01095, algorithm 2.
    """
    latents, last = noise(0), None
    for i, step in enumerate(schedule.steps):
        alpha, following, h = schedule.alphas[i], schedule.alphas[i + 1], log_snr_gain(schedule, i)
        clean = clean_estimate(latents, predict(latents, step).float(), schedule.clean_alphas[i])
        ahead = extrapolated(clean, last, schedule, i)
        latents = _scale(sigma(following) / sigma(alpha), latents) - _scale(following * torch.expm1(-h), ahead)
        last = clean
    return latents


def dpmpp_2m_sde(predict: Predict, noise: Noise, schedule: Schedule) -> Tensor:
    """Stochastic, second order: x' = sigma'/sigma e^-h x + a' (1 - e^-2h) D + sigma' sqrt(1 - e^-2h) z.

    z is fresh noise, D as in `dpmpp_2m`; the last step is D. The published sampler ("VP-SDE DPM++ 2M").
    Source: SDE-DPM-Solver++(2M), arXiv 2211.01095, appendix on the diffusion SDE.
    """
    latents, last = noise(0), None
    for i, step in enumerate(schedule.steps):
        alpha, following, h = schedule.alphas[i], schedule.alphas[i + 1], log_snr_gain(schedule, i)
        clean = clean_estimate(latents, predict(latents, step).float(), schedule.clean_alphas[i])
        if following == 1:
            return clean
        ahead, gain = extrapolated(clean, last, schedule, i), -torch.expm1(-2 * h)
        kept = _scale(sigma(following) / sigma(alpha) * torch.exp(-h), latents)
        fresh = _scale(sigma(following) * gain.sqrt(), noise(schedule.draws[i]))
        latents, last = kept + _scale(following * gain, ahead) + fresh, clean
    return latents


def clean_estimate(latents: Tensor, v: Tensor, alpha: Tensor) -> Tensor:
    """D = a x - sigma v. Source: arXiv 2202.00512, appendix D."""
    return _scale(alpha, latents) - _scale(sigma(alpha), v)


def log_snr_gain(schedule: Schedule, index: int) -> Tensor:
    """h, by which a step raises log(a / sigma); infinite from pure noise, and to clean latents."""
    here, there = schedule.alphas[index], schedule.alphas[index + 1]
    return torch.log(there / sigma(there)) - torch.log(here / sigma(here))


def extrapolated(clean: Tensor, last: Tensor | None, schedule: Schedule, index: int) -> Tensor:
    """D (1 + 1/2r) - D_last 1/2r, where r = h_last / h; D itself where either step is infinite.

    Source: arXiv 2211.01095, algorithm 2.
    """
    h = log_snr_gain(schedule, index)
    if last is None or h.isinf():
        return clean
    weight = h / (2 * log_snr_gain(schedule, index - 1))
    return _scale(1 + weight, clean) - _scale(weight, last)


def _scale(factor: Tensor, latents: Tensor) -> Tensor:
    """Times a number that was computed in float64 on the CPU, without moving it there and back."""
    return float(factor) * latents


SAMPLERS: dict[str, Sampler] = {"ddim": ddim, "dpmpp_2m": dpmpp_2m, "dpmpp_2m_sde": dpmpp_2m_sde}


def sampler(name: str) -> Sampler:
    """The sampler of that name. Raises UsageError with the nearest one."""
    if name not in SAMPLERS:
        raise unknown("sampler", name, SAMPLERS)
    return SAMPLERS[name]
