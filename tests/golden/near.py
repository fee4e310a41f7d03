"""How far two tensors are apart, relative to the largest value."""

from torch import Tensor

TOLERANCE = 2e-6
"""Of outputs and intermediate values in float32."""
GRADIENT_TOLERANCE = 1e-5


def error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())
