"""Intervals and p whose values are known, and what must hold for any scores."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.aa import Design, rates
from hallo3_lightning.evaluation.statistics import cliffs_delta, holm, mean, paired, unpaired
from hallo3_lightning.evaluation.student import cumulative, quantile


def rows(values) -> dict[str, float]:
    return {f"clip{i:02d}": float(value) for i, value in enumerate(values)}


def drawn(seed: int, seeds: int = 3, clips: int = 9) -> list[dict[str, float]]:
    return [rows(values) for values in np.random.default_rng(seed).normal(size=(seeds, clips))]


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.30265), (0.95, 5, 2.01505), (0.995, 30, 2.749996), (0.975, 1e6, 1.95997)],
)
def test_quantiles_are_those_of_printed_tables(probability, freedom, value):
    assert quantile(probability, freedom) == pytest.approx(value, rel=2e-6)
    assert cumulative(-value, freedom) == pytest.approx(1 - probability, rel=1e-4)


def test_students_sleep_data():
    """Hours of sleep gained by ten patients with two drugs: t = 4.0621, p = 0.002833, from 0.7001 to 2.4599 (R, t.test)."""
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = paired([rows(second)], [rows(first)])
    assert (found.mean, found.low, found.high) == pytest.approx((1.58, 0.7001142, 2.4598858), rel=1e-6)
    assert found.mean / found.std_error == pytest.approx(4.062128, rel=1e-6)
    assert found.p == pytest.approx(2 / 2**9)  # nine gains and one zero: the signs say less than t, 0.00283
    apart = unpaired([rows(second)], [rows(first)])
    assert apart.p == pytest.approx(0.07939414, rel=1e-5)
    assert apart.freedom == pytest.approx(17.77647, rel=1e-6)


def test_signs_are_flipped_exactly():
    """Of seven equal gains, two of 128 choices of signs are as far out."""
    found = paired([rows([1.0] * 7)], [rows([0.0] * 7)])
    assert (found.p, found.delta) == (2 / 128, 1)
    assert (found.low, found.high) == pytest.approx((1, 1))


def test_nothing_is_no_difference():
    scores = drawn(0)
    found = paired(scores, scores)
    assert (found.mean, found.p, found.delta) == (0, 1, 0)
    assert found.low < 0 < found.high  # equal scores by clip, but seeds scatter: other seeds would differ


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(2, 12))
def test_the_other_way_round_is_the_negative(seed, seeds, clips):
    a, b = drawn(seed, seeds, clips), drawn(seed + 1, seeds, clips)
    for compare in (paired, unpaired):
        one, other = compare(a, b), compare(b, a)
        assert (one.mean, one.low, one.delta) == pytest.approx((-other.mean, -other.high, -other.delta))
        assert (one.p, one.detectable) == pytest.approx((other.p, other.detectable))
        assert 0 < one.p <= 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 4))
def test_neither_hard_clips_nor_order_matter_to_pairs(seed, seeds):
    a, b, hard = drawn(seed, seeds), drawn(seed + 1, seeds), drawn(seed + 2, 1)[0]
    moved = [[{clip: run[clip] + 7 * hard[clip] for clip in reversed(run)} for run in arm] for arm in (a, b)]
    shuffled = paired(moved[0][::-1], moved[1])
    plain = paired(a, b)
    assert (shuffled.mean, shuffled.low, shuffled.p) == pytest.approx((plain.mean, plain.low, plain.p))


def test_more_clips_of_the_same_people_make_nothing_surer():
    a, b = drawn(3), drawn(4)
    cut = [[{f"{clip}@{i}": score for clip, score in run.items() for i in (0, 17)} for run in arm] for arm in (a, b)]
    few, many = paired(a, b), paired(*cut)
    assert (many.low, many.high, many.p) == pytest.approx((few.low, few.high, few.p))
    assert (few.clips, many.clips, few.identities, many.identities) == (9, 18, 9, 9)
    people = {clip: clip.partition("@")[0] for run in cut[0] for clip in run}
    assert paired(*cut, people) == many
    alone = {clip: clip for clip in people}
    assert paired(*cut, alone).std_error < many.std_error


def test_a_seed_that_fails_widens_the_interval():
    steady = [rows([0.6, 0.5, 0.7, 0.6, 0.6])] * 3
    broken = [*steady[:2], rows([0.05, 0.0, 0.1, 0.04, 0.06])]
    assert mean(steady).high - mean(steady).low < 0.25
    assert mean(broken).freedom < 2.5
    assert mean(broken).low < 0
    assert paired(steady, broken).p > 0.3


def test_unscored_clips_are_left_out_by_count():
    a, b = drawn(0, 2), drawn(1, 2)
    a[1].pop("clip03")
    b[0]["clip05"] = math.nan
    found = paired(a, b)
    assert (found.clips, found.left_out) == (7, 2)
    with pytest.raises(ValueError, match="no clip has a score in every run"):
        paired([{"x": 1.0}], [{"y": 1.0}])
    with pytest.raises(ValueError, match="at least one"):
        mean([])


def test_one_identity_says_nothing_of_others():
    found = paired([{"a@0": 1.0, "a@9": 2.0}], [{"a@0": 0.0, "a@9": 0.0}])
    assert (found.mean, found.p) == (1.5, 1)
    assert math.isnan(found.low)


def test_holm_by_hand():
    """Four p: times 4, 3, 2, 1, and never less than the one before."""
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert corrected == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert [*corrected] == ["a", "b", "c", "d"]
    assert holm({"a": 0.7, "b": 0.6}) == {"a": 1, "b": 1}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_cliffs_delta_counts_pairs(a, b):
    expected = sum((x > y) - (x < y) for x in a for y in b) / (len(a) * len(b))
    assert cliffs_delta(a, b) == pytest.approx(expected)


@pytest.mark.parametrize("size", [1e-150, 1e-82, 1e100])
def test_the_size_of_scores_does_not_matter(size):
    """Their fourth powers are no numbers any more."""
    runs = [{f"c{i}": float((i + seed) % 3 - i % 2) for i in range(8)} for seed in range(3)]
    scaled = [{clip: size * value for clip, value in run.items()} for run in runs]
    for found, expected in ((mean(scaled), mean(runs)), (paired(scaled, scaled[:1]), paired(runs, runs[:1]))):
        assert (found.low / size, found.high / size) == pytest.approx((expected.low, expected.high), rel=1e-2)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Identities and seeds both drawn, 400 times: 95 % hold it, or somewhat more."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        people, networks, noise = rng.normal(size=10), rng.normal(size=3), rng.normal(size=(3, 10))
        found = mean([rows(people + 0.3 * network + 0.3 * row) for network, row in zip(networks, noise, strict=True)])
        held += found.low < 0 < found.high
    assert 0.93 < held / 400 <= 0.99


def test_equal_arms_are_seldom_called_different_and_planted_effects_are_found():
    """The A/A test of benchmarks/aa.py, small: 3 metrics a grid, 24 identities, 3 seeds."""
    found = rates(Design(), grids=60, effect=0.18)
    assert found["false_positive_rate"] <= 0.05
    assert found["power"] >= 0.9
