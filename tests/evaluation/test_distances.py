"""Distances of sets whose distributions are known."""

import pytest
import torch
from einops import rearrange
from torchmetrics.image.kid import poly_mmd

from hallo3_lightning.evaluation.distances import (
    ClipRows,
    frechet,
    frechet_without_bias,
    kernel,
    kernel_over_subsets,
    subsamples,
)


def normal(seed: int, count: int, width: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whitened(rows: torch.Tensor) -> torch.Tensor:
    """With mean 0 and covariance 1, exactly."""
    centred = rows - rows.mean(dim=0)
    covariance = centred.T @ centred / (len(rows) - 1)
    return centred @ torch.linalg.inv(torch.linalg.cholesky(covariance)).T


@pytest.mark.parametrize("count", [40, 7])
def test_equal_sets_are_not_apart(count):
    rows = normal(0, count, 9)
    assert frechet(rows, rows) == pytest.approx(0, abs=1e-11)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    assert frechet(rows, rows[order]) == pytest.approx(0, abs=1e-11)


def test_normal_distributions_are_as_far_apart_as_the_formula_says():
    """With covariances along the axes: the means' distance, and that of the widths."""
    rows, other = whitened(normal(0, 50, 5)), whitened(normal(1, 33, 5))
    widths = torch.tensor([0.0, 0.5, 1.0, 2.0, 7.0], dtype=torch.float64)
    move = torch.tensor([3.0, 0.0, 0.0, -4.0, 0.0], dtype=torch.float64)
    assert frechet(rows, other * widths + move) == pytest.approx(25 + float((1 - widths).square().sum()), rel=1e-12)
    assert frechet(other * widths + move, rows) == pytest.approx(frechet(rows, other * widths + move), rel=1e-12)


def test_few_rows_and_many_columns_agree_with_the_roots_of_matrices():
    """Both ways round the change from more rows than columns to fewer."""
    for counts in ((12, 9), (9, 30), (30, 40)):
        a, b = (normal(seed, count, 10) for seed, count in enumerate(counts))
        product = torch.cov(a.T) @ torch.cov(b.T)
        roots = torch.linalg.eigvals(product).real.clamp(min=0).sqrt().sum()
        spread = torch.cov(a.T).trace() + torch.cov(b.T).trace()
        moved = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
        assert frechet(a, b) == pytest.approx(float(moved + spread - 2 * roots), rel=1e-6)


def test_the_biased_form_divides_by_all_rows():
    rows = whitened(normal(0, 20, 4))
    still = torch.zeros(20, 4)
    assert frechet(rows, still) == pytest.approx(4, rel=1e-12)
    assert frechet(rows, still, biased=True) == pytest.approx(4 * 19 / 20, rel=1e-12)


def test_the_kernel_distance_is_over_pairs_of_different_rows():
    """Of two rows each it can be reckoned by hand."""
    a, b = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 1.0], [2.0, 0.0]])
    within = (0 / 2 + 1) ** 3 + (2 / 2 + 1) ** 3
    between = ((1 / 2 + 1) ** 3 + (2 / 2 + 1) ** 3 + (2 / 2 + 1) ** 3 + (0 / 2 + 1) ** 3) / 4
    assert kernel(a, b) == pytest.approx(within - 2 * between, rel=1e-12)


@pytest.mark.parametrize("count", [7, 300])
def test_the_kernel_distance_is_that_of_torchmetrics(count):
    """Which wants sets of one size."""
    a, b = normal(0, count, 6), normal(1, count, 6) + 1
    assert kernel(a, b) == pytest.approx(float(poly_mmd(a, b)), rel=1e-10)


def test_small_sets_of_one_distribution_are_not_apart_on_average_by_the_kernel_alone():
    pairs = [(normal(2 * i, 8, 6), normal(2 * i + 1, 12, 6)) for i in range(300)]
    kernels = torch.tensor([kernel(a, b) for a, b in pairs])
    assert abs(kernels.mean()) < 3 * kernels.std() / len(pairs) ** 0.5
    assert min(frechet(a, b) for a, b in pairs) > 0.5


def test_the_kernel_over_subsets_is_that_of_the_whole_on_average():
    a, b = normal(0, 60, 5), normal(1, 50, 5) + 0.5
    generator = torch.Generator().manual_seed(0)
    over = kernel_over_subsets(a, b, generator, subsets=300, size=25)
    assert over.mean == pytest.approx(kernel(a, b), abs=4 * over.std / 300**0.5)
    whole = kernel_over_subsets(a, b[:60], generator, subsets=2, size=1000)
    assert whole.std < over.std


def test_the_bias_of_few_rows_is_taken_out():
    """Of one distribution: true value 0."""
    a, b = normal(0, 400, 12), normal(1, 400, 12)
    plain = frechet(a, b)
    assert plain > 0.1
    assert abs(frechet_without_bias(a, b, torch.Generator().manual_seed(0))) < plain / 3


def test_clips_stay_together_in_the_order_of_their_ids():
    clips = {"b": torch.full((2, 3), 2.0), "a": torch.full((1, 3), 1.0), "c": torch.full((3, 3), 3.0)}
    kept = ClipRows(clips)
    assert kept.clips == ("a", "b", "c")
    assert kept.of()[:, 0].tolist() == [1, 2, 2, 3, 3, 3]
    assert kept.of(["c", "a"])[:, 0].tolist() == [3, 3, 3, 1]
    with pytest.raises(ValueError, match="no clips"):
        kept.of([])
    assert torch.equal(ClipRows(dict(sorted(clips.items()))).of(), kept.of())


def test_subsamples_are_the_same_for_the_same_clips():
    clips = [f"clip{i}" for i in range(9)]
    drawn = subsamples(clips, size=4, draws=20, seed=3)
    assert drawn == subsamples([*reversed(clips), "clip0"], size=4, draws=20, seed=3)
    assert drawn != subsamples(clips, size=4, draws=20, seed=4)
    assert {len(set(choice)) for choice in drawn} == {4}
    assert set(clips) == {clip for choice in drawn for clip in choice}
    with pytest.raises(ValueError, match="10 clips cannot be drawn of 9"):
        subsamples(clips, size=10, draws=1, seed=0)


def test_what_has_no_distance_is_refused():
    for rows in (torch.zeros(1, 3), torch.zeros(3), rearrange(torch.zeros(4), "(n c) -> n c 1", n=2)):
        with pytest.raises(ValueError, match="at least 2 rows"):
            frechet(torch.zeros(2, 3), rows)
    with pytest.raises(ValueError, match="not finite"):
        kernel(torch.zeros(2, 3), torch.tensor([[0.0, 1, 2], [float("nan"), 0, 0]]))
