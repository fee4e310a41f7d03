"""A draw is a function of its name: no order, no batch, no rank changes it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hallo3_lightning import randomness

DRAWS = {
    "normal": lambda positions, **where: randomness.normal((2, 3), 5, "noise", positions, **where),
    "uniform": lambda positions, **where: randomness.uniform((2, 3), 5, "noise", positions, **where),
    "whole": lambda positions, **where: randomness.whole(1000, 5, "noise", positions, **where),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@given(positions=st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
def test_a_row_is_that_of_its_position_whatever_stands_beside_it(draw, positions):
    together = draw(torch.tensor(positions))
    for position, row in zip(positions, together, strict=True):
        torch.rand(3)  # the global generator has no say
        assert torch.equal(draw(torch.tensor([position]))[0], row)


def test_seed_purpose_step_and_position_each_make_another_draw():
    names = [(5, "noise", 0, 7), (6, "noise", 0, 7), (5, "mask", 0, 7), (5, "noise", 1, 7), (5, "noise", 0, 8)]
    drawn = {tuple(torch.rand(4, generator=randomness.generator(*name)).tolist()) for name in names}
    assert len(drawn) == len(names)


def test_positions_do_not_run_together():
    assert not torch.equal(
        torch.rand(4, generator=randomness.generator(0, "a", 1, 23)),
        torch.rand(4, generator=randomness.generator(0, "a", 12, 3)),
    )


def test_many_draws_have_the_moments_of_their_distribution():
    positions = torch.arange(2000)
    normal = randomness.normal((8,), 0, "moments", positions)
    uniform = randomness.uniform((8,), 0, "moments", positions)
    whole = randomness.whole(10, 0, "moments", positions)
    assert normal.mean().abs() < 0.03
    assert (normal.std() - 1).abs() < 0.03
    assert (uniform.mean() - 0.5).abs() < 0.01
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert torch.bincount(whole, minlength=10).min() > 120


def test_unchanged_the_numbers_themselves():
    """A resumed run and another machine must draw what the first one drew."""
    assert randomness.whole(10**6, 0, "training step", torch.tensor([0, 1, 2])).tolist() == UNCHANGED


UNCHANGED = [745595, 666554, 871735]
