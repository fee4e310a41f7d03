"""The global order of samples as a function of position: no buffer, no generator, nothing to save but one integer.

Written by hand on purpose: NumPy may change its generators' streams between versions (NEP 19), and an order that
changes under a running experiment would repeat and skip samples silently. Golden tests freeze it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hallo3_lightning.errors import UsageError

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def mix64(value: int) -> int:
    """splitmix64 of a 64-bit whole number. Source: Steele, Lea, Flood, OOPSLA 2014, figure 16."""
    z = (value + _GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(count) by (seed, epoch): [count] int64.

    Number i is hashed with the key of (seed, epoch); the order is that of the hashes.
    """
    return _permutation(count, mix64(mix64(seed) + epoch))


def positions_of(step: int, start: int, rank: int, world: int, batch_size: int) -> range:
    """The positions that rank r of W reads in micro-batch t: start + (t W + r) B + j for j in range(B)."""
    first = start + (step * world + rank) * batch_size
    return range(first, first + batch_size)


class ShardShuffle:
    """The endless order of one data set: epoch e is positions [e N, (e + 1) N), each of its N samples once.

    An epoch permutes the shards, cuts them into windows of `window` shards, and permutes the samples of each window:
    what is read at a time lies in few shards. `window` 0 permutes all samples at once. Samples are numbered through
    the shards in turn; samples_per_shard [S]. The arrays of the last epoch and window are kept for speed alone.
    """

    def __init__(self, samples_per_shard: Sequence[int] | np.ndarray, seed: int, window: int = 0) -> None:
        if window < 0:
            raise UsageError(f"window is {window}; it is a number of shards, or 0 to shuffle all samples at once")
        self.samples_per_shard = np.asarray(samples_per_shard, np.int64)
        self.num_samples = int(self.samples_per_shard.sum())
        if not self.num_samples:
            raise UsageError("there is no sample to put in order; give shards that hold some")
        self.seed = seed
        self.window = window
        self._firsts = np.cumsum(self.samples_per_shard) - self.samples_per_shard
        self._epoch: _Epoch | None = None
        self._samples: tuple[int, int, np.ndarray] | None = None

    def __call__(self, position: int) -> int:
        """Which sample stands at a position."""
        epoch, offset = divmod(position, self.num_samples)
        if not self.window:
            return int(self._order(epoch, 0)[offset])
        starts = self._epoch_of(epoch).starts
        # empty shards can make windows of no sample: "right" finds the last that starts there, which has some
        number = int(starts.searchsorted(offset, "right")) - 1
        return int(self._order(epoch, number)[offset - int(starts[number])])

    def _epoch_of(self, epoch: int) -> "_Epoch":
        if self._epoch is None or self._epoch.number != epoch:
            shards = permutation(len(self.samples_per_shard), self.seed, epoch)
            sizes = np.add.reduceat(self.samples_per_shard[shards], np.arange(0, len(shards), self.window))
            self._epoch = _Epoch(epoch, shards, np.cumsum(sizes) - sizes)
        return self._epoch

    def _order(self, epoch: int, window: int) -> np.ndarray:
        """The samples of a window in their order."""
        if self._samples is None or self._samples[:2] != (epoch, window):
            self._samples = (epoch, window, self._shuffled(epoch, window))
        return self._samples[2]

    def _shuffled(self, epoch: int, window: int) -> np.ndarray:
        if not self.window:
            return permutation(self.num_samples, self.seed, epoch)
        shards = self._epoch_of(epoch).shards[window * self.window : (window + 1) * self.window]
        counts = self.samples_per_shard[shards]
        samples = np.repeat(self._firsts[shards] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        return samples[_permutation(len(samples), mix64(mix64(mix64(self.seed) + epoch) + window))]


@dataclass(frozen=True)
class _Epoch:
    """shards [S]: their order; starts: offset of each window in the epoch."""

    number: int
    shards: np.ndarray
    starts: np.ndarray


@dataclass(frozen=True)
class Place:
    """A position within one of several sources."""

    source: int
    position: int


class Mixture:
    """The endless order of several sources with whole-number weights, which hold exactly in every block.

    A block is sum(weights) units of `unit` positions each; in every block source i has weights[i] units, in an order of
    the block's own. A unit is of one source, so that clips of one batch can be of one size where sources differ. The
    positions of each source are 0, 1, 2, ...: it runs through its own epochs, whatever the others do.
    """

    def __init__(self, weights: Sequence[int], seed: int, unit: int = 1) -> None:
        if not weights or min(weights) < 1:
            raise UsageError(f"the weights of a mixture are {list(weights)}; each must be a whole number of at least 1")
        if unit < 1:
            raise UsageError(f"mix_unit is {unit}; it is a number of clips, at least 1")
        self.weights = tuple(weights)
        self.seed = seed
        self.unit = unit
        self._sources = np.repeat(np.arange(len(weights)), weights)
        self._block: tuple[int, np.ndarray, np.ndarray] | None = None

    def __call__(self, position: int) -> Place:
        """Which source stands at a position, and the position in that source."""
        if len(self.weights) == 1:
            return Place(0, position)
        number, offset = divmod(position, self.unit)
        block, slot = divmod(number, len(self._sources))
        if self._block is None or self._block[0] != block:
            self._block = (block, *self._shuffled(block))
        _, sources, ranks = self._block
        source = int(sources[slot])
        return Place(source, (block * self.weights[source] + int(ranks[slot])) * self.unit + offset)

    def _shuffled(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """For each slot of a block: its source, and how many slots of that source stand before it."""
        sources = self._sources[permutation(len(self._sources), mix64(self.seed) ^ _GAMMA, block)]
        same = sources[:, None] == np.arange(len(self.weights))
        return sources, (np.cumsum(same, axis=0) - 1)[np.arange(len(sources)), sources]


def _permutation(count: int, key: int) -> np.ndarray:
    states = np.arange(count, dtype=np.uint64) * np.uint64(_GAMMA) + np.uint64(key)
    return np.argsort(_mix64(states), kind="stable")


def _mix64(z: np.ndarray) -> np.ndarray:
    """mix64 of each; uint64 arithmetic wraps around, as it must."""
    z = z + np.uint64(_GAMMA)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
