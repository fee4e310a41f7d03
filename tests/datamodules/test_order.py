from hypothesis import given
from hypothesis import strategies as st

from datamodules.order import mix64, permutation, positions_of, sample_at


def test_mix64_is_splitmix64():
    """Source: the first outputs of Vigna's splitmix64.c from state 1234567, as in the tests of many ports."""
    state, gamma = 1234567, 0x9E3779B97F4A7C15
    outputs = [mix64(state + i * gamma) for i in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_order_is_unchanged():
    assert permutation(10, 0, 0).tolist() == [0, 7, 8, 2, 5, 9, 4, 6, 3, 1]


@given(st.integers(1, 200), st.integers(0, 2**32), st.integers(0, 50))
def test_each_epoch_has_every_sample_once(num_samples, seed, epoch):
    positions = range(epoch * num_samples, (epoch + 1) * num_samples)
    assert sorted(sample_at(seed, p, num_samples) for p in positions) == list(range(num_samples))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [tuple(permutation(50, seed, epoch)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9


def test_order_is_not_nearly_the_identity():
    order = permutation(5000, 3, 1)
    following = (order[1:] == order[:-1] + 1).mean()
    assert following < 0.005


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 30), st.integers(1, 6))
def test_ranks_share_the_positions_without_gap_or_overlap(world, batch_size, start, steps):
    read = [
        p for step in range(steps) for rank in range(world) for p in positions_of(step, start, rank, world, batch_size)
    ]
    assert read == list(range(start, start + steps * world * batch_size))
