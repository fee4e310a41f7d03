"""How far two tensors are apart, relative to the largest value, and how far they may be."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hallo3_lightning.denoiser import Denoiser

TOLERANCE = 2e-6
"""Of outputs, losses and intermediate values in float32."""
GRADIENT_TOLERANCE = 1e-5
SAMPLE_TOLERANCE = 1e-5
TIME_TOLERANCE = 1e-5
"""Of the time embedding, on a processor whose exponential is not the recorded one's. Its angles are steps times float32
frequencies, which are exponentials: where one lies between two numbers, processors differ in which they take, and at
step 999 that is an angle of up to 6e-5."""


def error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())


def time_error(network: Denoiser, forward: Mapping[str, Tensor]) -> float:
    """Of our time embedding, at the steps of a recorded evaluation."""
    with torch.no_grad():
        return error(network.transformer.time_embedding(forward["in.timesteps"]), forward["mid.time_embed"])


def allowed(network: Denoiser, forward: Mapping[str, Tensor], tolerance: float = TOLERANCE) -> float:
    """The tolerance of what depends on the diffusion step.

    It is `tolerance` wherever our time embedding is the recorded one; elsewhere, another processor's exponential may add
    TIME_TOLERANCE.
    """
    return tolerance if time_error(network, forward) <= TOLERANCE else tolerance + TIME_TOLERANCE
