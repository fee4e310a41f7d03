import pytest
import torch
from diffusers import CogVideoXDDIMScheduler

from hallo3_lightning.diffusion.process import (
    Process,
    loss_by_clip,
    scaled_linear_alphas,
    sigma,
    with_zero_terminal_snr,
)
from tests import tiny

STEPS = torch.tensor([0, 999])


def test_the_last_step_is_pure_noise_and_the_first_unchanged():
    before = scaled_linear_alphas()
    after = with_zero_terminal_snr(before)
    assert after[-1] == 0
    torch.testing.assert_close(after[0], before[0])
    assert (after.diff() < 0).all()


def test_the_table_is_diffusers():
    theirs = CogVideoXDDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
    )
    torch.testing.assert_close(Process().sqrt_alphas, theirs.alphas_cumprod.sqrt().float(), rtol=0, atol=1e-6)


def test_latents_come_back_from_noisy_ones_and_velocity():
    process = Process()
    latents, noise = tiny.draw(2, 3, 4, 6, 8, name="latents"), tiny.draw(2, 3, 4, 6, 8, name="noise")
    steps = torch.tensor([250, 998])
    noisy, velocity = process.noisy(latents, noise, steps), process.velocity(latents, noise, steps)
    alpha = process.alpha(steps)
    torch.testing.assert_close(alpha * noisy - sigma(alpha) * velocity, latents, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sigma(alpha) * noisy + alpha * velocity, noise, rtol=1e-4, atol=1e-4)


def test_at_the_last_step_the_noisy_latents_are_the_noise():
    process = Process()
    latents, noise = tiny.draw(2, 3, 4, 6, 8, name="latents"), tiny.draw(2, 3, 4, 6, 8, name="noise")
    assert torch.equal(process.noisy(latents, noise, STEPS)[1], noise[1])
    torch.testing.assert_close(process.velocity(latents, noise, STEPS)[1], -latents[1])


@pytest.mark.parametrize("step", [3, 500, 998])
def test_the_loss_is_the_published_weighted_error_of_the_clean_estimate(step):
    process = Process()
    latents, noise, guess = (tiny.draw(2, 3, 4, 6, 8, name=name) for name in "lng")
    steps = torch.tensor([step, step])
    alpha = process.alpha(steps)
    clean = alpha * process.noisy(latents, noise, steps) - sigma(alpha) * guess
    published = ((clean - latents) ** 2 / sigma(alpha) ** 2).mean((1, 2, 3, 4))
    torch.testing.assert_close(
        loss_by_clip(guess, process.velocity(latents, noise, steps)), published, rtol=1e-3, atol=1e-3
    )
