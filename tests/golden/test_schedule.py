"""The noise schedule, and the published sampler's steps, alphas and coefficients."""

import re

import torch
from torch import Tensor

from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.diffusion.sampler import extrapolated, log_snr_gain
from hallo3_lightning.diffusion.schedule import Oddities, schedule

PUBLISHED = Oddities(rescaled_on_subset=True, nearest_alphas=True, wasted_draws=True)


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float = 2e-6) -> None:
    assert ours.shape == theirs.shape
    assert (ours.double() - theirs.double()).abs().max() <= tolerance * theirs.abs().max()


def test_training_table(goldens):
    assert_close(Process().sqrt_alphas, goldens.tensors("schedule")["train.alphas_cumprod_sqrt"])


def recorded(goldens, what: str) -> dict[int, Tensor]:
    """Number of steps -> what was recorded of the schedule with so many."""
    found = {name: re.fullmatch(rf"s(\d+)\.{what}", name) for name in goldens.tensors("schedule")}
    return {int(match[1]): goldens.tensors("schedule")[name] for name, match in found.items() if match}


def test_visited_steps_and_alphas(goldens):
    for steps, theirs in recorded(goldens, "network_timestep").items():
        assert list(schedule(Process(), steps, PUBLISHED).steps) == theirs.tolist()
    for steps, theirs in recorded(goldens, "alpha_cumprod_sqrt").items():
        assert_close(schedule(Process(), steps, PUBLISHED).alphas, theirs, 1e-7)
    for steps, theirs in recorded(goldens, "denoiser_quantised_alpha").items():
        assert_close(schedule(Process(), steps, PUBLISHED).clean_alphas, theirs, 1e-7)


def test_coefficients_of_the_second_order(goldens):
    """Columns h, r, m1, m2, m3, m4, noise of each step; h is infinite at the first and last, m3 and m4 from step 2 on."""
    found = recorded(goldens, "coeffs_h_r_m1_m2_m3_m4_noise")
    assert found
    one, zero = torch.ones(()), torch.zeros(())
    for steps, theirs in found.items():
        ours, inner = schedule(Process(), steps, PUBLISHED), range(2, steps - 1)
        assert_close(torch.stack([log_snr_gain(ours, i) for i in inner]), theirs[2:-1, 0])
        assert_close(torch.stack([extrapolated(one, zero, ours, i) for i in inner]), theirs[2:-1, 4])
        # r was recorded in float32, from differences of logarithms: its own rounding is 2e-6 of it
        assert_close(torch.stack([extrapolated(zero, -one, ours, i) for i in inner]), theirs[2:-1, 5], 5e-6)


def test_noise_draws(goldens):
    theirs = goldens.tensors("s2_sampler_noise")["rand.draws_per_step"]
    ours = schedule(Process(), len(theirs), PUBLISHED)
    last_drawn = theirs.cumsum(0)  # draw 0 is the initial noise, so that step i ends with this draw
    assert list(ours.draws[:-1]) == last_drawn[:-1].tolist()
