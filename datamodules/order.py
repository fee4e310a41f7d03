"""The global order of samples as a function of position: no buffer, no generator, nothing to save but one integer.

Written by hand on purpose: NumPy may change its generators' streams between versions (NEP 19), and an order that
changes under a running experiment would repeat and skip samples silently. A golden test freezes it.
"""

from functools import lru_cache

import numpy as np

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def mix64(value: int) -> int:
    """splitmix64 of a 64-bit whole number. Source: Steele, Lea, Flood, OOPSLA 2014, figure 16."""
    return int(_mix64(np.array([value & _MASK], np.uint64))[0])


@lru_cache(maxsize=4)
def permutation(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(num_samples) by (seed, epoch): [num_samples] int64, not to be written to.

    Sample i is hashed with the key of (seed, epoch); the order is that of the hashes.
    """
    key = mix64(mix64(seed) + epoch)
    states = np.arange(num_samples, dtype=np.uint64) * np.uint64(_GAMMA) + np.uint64(key)
    order = np.argsort(_mix64(states), kind="stable")
    order.setflags(write=False)
    return order


def sample_at(seed: int, position: int, num_samples: int) -> int:
    """Which sample stands at a position of the endless order: epoch e is positions [e N, (e + 1) N), each sample once."""
    epoch, offset = divmod(position, num_samples)
    return int(permutation(num_samples, seed, epoch)[offset])


def positions_of(step: int, start: int, rank: int, world: int, batch_size: int) -> range:
    """The positions that rank r of W reads in micro-batch t: start + (t W + r) B + j for j in range(B)."""
    first = start + (step * world + rank) * batch_size
    return range(first, first + batch_size)


def _mix64(z: np.ndarray) -> np.ndarray:
    """uint64 arithmetic wraps around, as it must."""
    z = z + np.uint64(_GAMMA)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
