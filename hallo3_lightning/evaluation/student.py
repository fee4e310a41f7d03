"""Student's t distribution, of any positive number of degrees of freedom."""

import math

import numpy as np

NODES, WEIGHTS = np.polynomial.legendre.leggauss(96)
"""Of the integral below: more than enough for twelve digits."""


def cumulative(t: float, freedom: float) -> float:
    """Probability of a value below t.

    With t = sqrt(freedom) tan(angle), the density is a power of a cosine, smooth and without tails.
    """
    angle = math.atan(min(abs(t), 1e8) / math.sqrt(freedom))
    shown = min(angle, 40 / math.sqrt(freedom))  # beyond forty deviations there is nothing, and nodes would be lost
    middle = shown / 2
    powers = np.exp((freedom - 1) * np.log(np.cos(middle + middle * NODES)))
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    half = min(scale * middle * float(WEIGHTS @ powers), 0.5)
    return 0.5 + math.copysign(half, t)


def quantile(probability: float, freedom: float) -> float:
    """The value below which t lies with that probability in (0, 1)."""
    if probability < 0.5:
        return -quantile(1 - probability, freedom)
    low, high = 0.0, 1.0
    while cumulative(high, freedom) < probability:
        low, high = high, 2 * high
    guess = (low + high) / 2
    for _ in range(80):
        short = probability - cumulative(guess, freedom)
        low, high = (guess, high) if short > 0 else (low, guess)
        newton = guess + short / max(_density(guess, freedom), 1e-300)
        following = newton if low < newton < high else (low + high) / 2
        if abs(following - guess) <= 1e-14 * guess:
            break
        guess = following
    return guess


def _density(t: float, freedom: float) -> float:
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    return scale * math.exp(-(freedom + 1) / 2 * math.log1p(t * t / freedom))
