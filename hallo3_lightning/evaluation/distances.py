"""How far two sets of features are apart: Fréchet and kernel distances, for FID, KID, FVD, KVD and E-FID.

All in float64 and without square roots of matrices. Sets are rows [N, D]; rows of one clip stay together in `ClipRows`,
so that buckets, pairs of methods and resamples are made of whole clips, whose frames are no independent draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

KERNEL_DEGREE = 3
KERNEL_SHIFT = 1.0

BLOCK = 256
"""Rows of which the kernel with all others is reckoned at once."""


@dataclass(frozen=True)
class ClipRows:
    """Features of every clip, rows [N, D] each, under its id; a clip that is told twice is there once."""

    rows: Mapping[str, Tensor]

    @property
    def clips(self) -> tuple[str, ...]:
        """The ids in their order, which is that of all sums: the number of processes changes no bit of them."""
        return tuple(sorted(self.rows))

    def of(self, clips: Sequence[str] | None = None) -> Tensor:
        """The rows [N, D] float64 of some clips, or of all; one that is named twice counts twice."""
        chosen = self.clips if clips is None else clips
        if not chosen:
            raise ValueError("no clips, no rows; count the cell as empty")
        return torch.cat([self.rows[clip] for clip in chosen]).double()


def frechet(a: Tensor, b: Tensor, *, biased: bool = False) -> float:
    """Squared Fréchet distance of two normal distributions with the means and covariances of rows a [N, D], b [M, D].

    Exact for any N and M from 2 on and any D. The trace of the square root of the covariances' product
    is the sum of singular values of A B', with A and B the rows less their mean. Covariances are divided by N - 1, or
    with `biased` by N, as in content-debiased FVD. With few rows it is far too large, whatever the division: compare at
    one N, or use `frechet_without_bias`. Source: arXiv 1706.08500, equation 6.
    """
    a, b = _rows(a), _rows(b)
    (mean_a, factor_a), (mean_b, factor_b) = _moments(a, biased), _moments(b, biased)
    shared = torch.linalg.svdvals(factor_a @ factor_b.T).sum()
    spread = factor_a.square().sum() + factor_b.square().sum()
    return float((mean_a - mean_b).square().sum() + spread - 2 * shared)


def kernel(a: Tensor, b: Tensor) -> float:
    """Squared kernel distance of rows a [N, D] and b [M, D], 0 on average where both are of one distribution.

    The kernel is (x.y / D + 1)^3, rows are not paired with themselves. Source: arXiv 1801.01401, equation 4.
    """
    a, b = _rows(a), _rows(b)
    return float(_apart(a) + _apart(b) - 2 * _kernel_sum(a, b) / (len(a) * len(b)))


@dataclass(frozen=True)
class Spread:
    """A value over resamples."""

    mean: float
    std: float
    """Over resamples that share rows: no standard error of the mean."""


def kernel_over_subsets(
    a: Tensor, b: Tensor, generator: torch.Generator, subsets: int = 100, size: int = 1000
) -> Spread:
    """The kernel distance over random subsets of `size` rows of a [N, D] and of b [M, D], as KID is usually told.

    Smaller sets give smaller subsets: as many rows as the smaller one has.
    """
    size = min(size, len(a), len(b))
    drawn = [kernel(a[_some(len(a), size, generator)], b[_some(len(b), size, generator)]) for _ in range(subsets)]
    values = torch.tensor(drawn, dtype=torch.float64)
    return Spread(float(values.mean()), float(values.std(correction=0)))


def frechet_without_bias(a: Tensor, b: Tensor, generator: torch.Generator, sizes: int = 15) -> float:
    """The Fréchet distance that rows a [N, D] and b [M, D] lead to expect of sets without end.

    It falls with 1/N about linearly; a line through `sizes` random subsets of both, from half of the smaller set up,
    is read at 1/N = 0. Source: arXiv 1911.07023, algorithm 1.
    """
    most = min(len(a), len(b))
    if most < 4:
        raise ValueError(f"{len(a)} and {len(b)} rows are too few for a line through subsets; give at least 4 of each")
    counts = torch.linspace(most / 2, most, sizes).round().long().tolist()
    values = [frechet(a[_some(len(a), n, generator)], b[_some(len(b), n, generator)]) for n in counts]
    inverse = torch.tensor([1 / n for n in counts], dtype=torch.float64)
    line = torch.stack([inverse, torch.ones_like(inverse)], dim=1)
    at = torch.linalg.lstsq(line, rearrange(torch.tensor(values, dtype=torch.float64), "n -> n 1"), driver="gelsd")
    return float(at.solution[1])


def subsamples(clips: Sequence[str], size: int, draws: int, seed: int) -> list[tuple[str, ...]]:
    """`draws` random choices of `size` clips, none twice in one; the same for every method with the same clips and seed.

    A bootstrap, which draws clips repeatedly, is no choice for Fréchet distances: repeats look like a narrower
    distribution, and its interval need not hold the value itself.
    """
    ordered = sorted(set(clips))
    if not 0 < size <= len(ordered):
        raise ValueError(f"{size} clips cannot be drawn of {len(ordered)} without repeats; give 1 to {len(ordered)}")
    generator = torch.Generator().manual_seed(seed)
    return [tuple(ordered[i] for i in sorted(_some(len(ordered), size, generator).tolist())) for _ in range(draws)]


def _some(count: int, size: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(count, generator=generator)[:size]


def _rows(rows: Tensor) -> Tensor:
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"features of shape {tuple(rows.shape)} have no distance; give [N, D] with at least 2 rows")
    if not rows.isfinite().all():
        raise ValueError("features hold values that are not finite; look for the clip that gave them and leave it out")
    return rows.double()


def _moments(rows: Tensor, biased: bool) -> tuple[Tensor, Tensor]:
    """Mean [D], and F [min(N, D), D] with F' F the covariance: no more rows than columns, which makes large sets cheap."""
    mean = rows.mean(dim=0)
    centred = (rows - mean) / (len(rows) - (not biased)) ** 0.5
    if len(rows) > rows.shape[1]:
        centred = torch.linalg.qr(centred, mode="r").R
    return mean, centred


def _kernel(products: Tensor, width: int) -> Tensor:
    return (products / width + KERNEL_SHIFT) ** KERNEL_DEGREE


def _kernel_sum(a: Tensor, b: Tensor) -> Tensor:
    """Over all pairs, a block of rows at a time: of 1e5 rows all pairs at once would be 80 GB."""
    return torch.stack([_kernel(block @ b.T, a.shape[1]).sum() for block in a.split(BLOCK)]).sum()


def _apart(rows: Tensor) -> Tensor:
    """Mean of the kernel over pairs of different rows."""
    same = _kernel(rows.square().sum(dim=1), rows.shape[1]).sum()
    return (_kernel_sum(rows, rows) - same) / (len(rows) * (len(rows) - 1))
