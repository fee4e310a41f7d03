"""The learning rate over a run, and what decays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hallo3_lightning.training.optimization import Optimization, optimizer_for, rate


@pytest.mark.parametrize(
    ("schedule", "middle", "end"), [("constant", 1.0, 1.0), ("linear", 0.5, 0.0), ("cosine", 0.5, 0.0)]
)
def test_a_schedule_rises_and_falls_where_it_says(schedule, middle, end):
    settings = Optimization(warmup=0.1, schedule=schedule)
    assert rate(0, 100, settings) == pytest.approx(0.1), "the first step moves"
    assert rate(9, 100, settings) == rate(10, 100, settings) == 1
    assert rate(55, 100, settings) == pytest.approx(middle)
    assert rate(100, 100, settings) == pytest.approx(end)


@given(st.integers(1, 500), st.integers(0, 600), st.floats(0, 1), st.sampled_from(["constant", "linear", "cosine"]))
def test_the_rate_is_a_share_at_any_step_of_any_run(num_steps, step, warmup, schedule):
    assert 0 <= rate(step, num_steps, Optimization(warmup=warmup, schedule=schedule)) <= 1


def test_matrices_decay_and_what_is_frozen_is_not_in_it():
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    module[2].requires_grad_(False)
    made = optimizer_for(module, Optimization(learning_rate=0.5, weight_decay=0.25), num_steps=10)
    matrices, rest = made["optimizer"].param_groups
    assert [p.shape for p in matrices["params"]] == [(4, 3)]
    assert [p.shape for p in rest["params"]] == [(4,), (4,), (4,)]
    assert (matrices["weight_decay"], rest["weight_decay"]) == (0.25, 0.0)
    assert made["lr_scheduler"]["interval"] == "step"
