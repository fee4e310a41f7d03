import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.order import Mixture, ShardShuffle, mix64, permutation, positions_of
from hallo3_lightning.errors import UsageError

SHARDS = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)
SEEDS = st.integers(0, 2**32)
WEIGHTS = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def test_mix64_is_splitmix64():
    """Source: the first outputs of Vigna's splitmix64.c from state 1234567, as in the tests of many ports."""
    state, gamma = 1234567, 0x9E3779B97F4A7C15
    outputs = [mix64(state + i * gamma) for i in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


WINDOWED = [1, 0, 2, 5, 8, 6, 4, 7, 9, 3]
MIXED = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (0, 4), (0, 5), (1, 2), (1, 3), (0, 6), (0, 7)]


def test_orders_are_unchanged():
    assert permutation(10, 0, 0).tolist() == [0, 7, 8, 2, 5, 9, 4, 6, 3, 1]
    assert [ShardShuffle([4, 6], 0)(p) for p in range(10)] == [0, 7, 8, 2, 5, 9, 4, 6, 3, 1]
    windowed = ShardShuffle([3, 1, 0, 4, 2], 0, window=2)
    assert [windowed(p) for p in range(10)] == WINDOWED
    mixture = Mixture((2, 1), 0, unit=2)
    assert [(place.source, place.position) for place in map(mixture, range(12))] == MIXED


@given(SHARDS, SEEDS, st.integers(0, 5), st.integers(0, 50))
def test_each_epoch_has_every_sample_once(shards, seed, window, epoch):
    count = sum(shards)
    order = ShardShuffle(shards, seed, window)
    assert sorted(order(p) for p in range(epoch * count, (epoch + 1) * count)) == list(range(count))


@given(SHARDS, SEEDS, st.integers(0, 5), st.lists(st.integers(0, 1000), min_size=1, max_size=30))
def test_a_position_has_its_sample_wherever_one_comes_from(shards, seed, window, positions):
    """What is kept for speed changes nothing."""
    used = ShardShuffle(shards, seed, window)
    assert [used(p) for p in positions] == [ShardShuffle(shards, seed, window)(p) for p in positions]


@given(SHARDS, SEEDS, st.integers(1, 5), st.integers(0, 3))
def test_few_shards_are_read_at_a_time(shards, seed, window, epoch):
    order, of = ShardShuffle(shards, seed, window), np.repeat(np.arange(len(shards)), shards)
    left = dict(enumerate(shards))
    for position in range(epoch * sum(shards), (epoch + 1) * sum(shards)):
        left[int(of[order(position)])] -= 1
        begun = [shard for shard, count in left.items() if 0 < count < shards[shard]]
        assert len(begun) <= window


def test_epochs_windows_and_seeds_have_orders_of_their_own():
    orders = [
        tuple(ShardShuffle([10] * 5, seed, window)(epoch * 50 + p) for p in range(50))
        for seed in range(3)
        for window in (0, 2, 5)
        for epoch in range(3)
    ]
    assert len(set(orders)) == 27


@pytest.mark.parametrize("window", [0, 8])
def test_order_is_not_nearly_the_identity(window):
    order = ShardShuffle([500] * 40, 3, window)
    read = np.array([order(p) for p in range(20000)])
    assert (read[1:] == read[:-1] + 1).mean() < 0.005
    assert abs(np.corrcoef(read[1:] % 500, read[:-1] % 500)[0, 1]) < 0.03


def test_ten_million_samples_are_cheap():
    """Nothing of the size of the data set is built: a jump anywhere costs a few milliseconds."""
    order = ShardShuffle(np.full(10_000, 1000), 3, window=8)
    begin = time.process_time()
    seen = {order(p) for p in (*range(2000), 73_000_123, 10**12)}
    assert len(seen) >= 2000
    assert time.process_time() - begin < 1


def test_shards_without_samples_and_wrong_windows_are_refused():
    with pytest.raises(UsageError, match="no sample"):
        ShardShuffle([0, 0], 0)
    with pytest.raises(UsageError, match="window is -1"):
        ShardShuffle([1], 0, -1)


@given(WEIGHTS, SEEDS, st.integers(1, 4), st.integers(0, 30))
def test_weights_hold_exactly_in_every_block(weights, seed, unit, block):
    mixture = Mixture(weights, seed, unit)
    size = sum(weights) * unit
    sources = [mixture(p).source for p in range(block * size, (block + 1) * size)]
    assert [sources.count(source) for source in range(len(weights))] == [weight * unit for weight in weights]


@given(WEIGHTS, SEEDS, st.integers(1, 4))
def test_each_source_runs_through_its_own_positions(weights, seed, unit):
    places = [Mixture(weights, seed, unit)(p) for p in range(5 * sum(weights) * unit)]
    for source, weight in enumerate(weights):
        assert [place.position for place in places if place.source == source] == list(range(5 * weight * unit))


@given(WEIGHTS, SEEDS, st.integers(1, 6), st.integers(1, 6), st.integers(0, 20))
def test_micro_batches_that_divide_a_unit_are_of_one_source(weights, seed, batch_size, batches, step):
    mixture = Mixture(weights, seed, batch_size * batches)
    assert len({mixture(p).source for p in positions_of(step, 0, 0, 1, batch_size)}) == 1


def test_blocks_are_mixed_each_in_its_own_way():
    mixture = Mixture((5, 3), 1)
    assert len({tuple(mixture(block * 8 + p).source for p in range(8)) for block in range(50)}) > 20


@pytest.mark.parametrize(("weights", "unit"), [((), 1), ((1, 0), 1), ((1, 2), 0)])
def test_wrong_mixtures_are_refused(weights, unit):
    with pytest.raises(UsageError, match="at least 1"):
        Mixture(weights, 0, unit)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 30), st.integers(1, 6))
def test_ranks_share_the_positions_without_gap_or_overlap(world, batch_size, start, steps):
    read = [
        p for step in range(steps) for rank in range(world) for p in positions_of(step, start, rank, world, batch_size)
    ]
    assert read == list(range(start, start + steps * world * batch_size))
