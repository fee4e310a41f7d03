"""How far two tensors are apart, relative to the largest value."""

from torch import Tensor

TOLERANCE = 2e-6
"""Of outputs and intermediate values in float32."""
GRADIENT_TOLERANCE = 1e-5
TIME_TOLERANCE = 1e-5
"""Of the time embedding. Its angles are steps times float32 frequencies, which are exponentials: where one lies between
two numbers, processors differ in which they take, and at step 999 that is an angle of up to 6e-5. The recorded ones
differ from ours in one frequency of 48; the output may be off by TOLERANCE and as much as the embedding is."""


def error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())
