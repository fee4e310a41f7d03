import pytest
import torch
from diffusers import CogVideoXDDIMScheduler

from hallo3_lightning.diffusion.process import Process, sigma
from hallo3_lightning.diffusion.sampler import SAMPLERS, ddim, sampler, trailing_steps
from hallo3_lightning.errors import UsageError
from tests import tiny

SHAPE = (2, 3, 4, 6, 8)


def noise(step: int) -> torch.Tensor:
    return tiny.draw(*SHAPE, name=f"noise {step}")


def test_steps_trail_from_pure_noise():
    assert trailing_steps(50, 1000)[:2] == [999, 979]
    assert trailing_steps(50, 1000)[-1] == 19
    assert trailing_steps(12, 1000)[0] == 999


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_perfect_prediction_gives_the_clean_latents(name):
    alphas = Process().sqrt_alphas
    clean = tiny.draw(*SHAPE, name="clean")

    def perfect(noisy: torch.Tensor, step: int) -> torch.Tensor:
        alpha = alphas[step]
        return (alpha * noisy - clean) / sigma(alpha)

    torch.testing.assert_close(sampler(name)(perfect, noise, 7, alphas), clean, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_noise_gives_the_same_sample(name):
    alphas = Process().sqrt_alphas

    def predict(noisy: torch.Tensor, step: int) -> torch.Tensor:
        return torch.tanh(noisy + step / 1000)

    first, second = (sampler(name)(predict, noise, 5, alphas) for _ in range(2))
    assert torch.equal(first, second)


def test_ddim_is_diffusers():
    alphas = Process().sqrt_alphas
    theirs = CogVideoXDDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    )
    theirs.set_timesteps(8)  # divides 1000: diffusers steps back by whole numbers

    def predict(noisy: torch.Tensor, step: int) -> torch.Tensor:
        return torch.tanh(noisy + step / 1000)

    expected = noise(0)
    for step in theirs.timesteps:
        expected = theirs.step(predict(expected, int(step)), step, expected).prev_sample
    got = ddim(predict, noise, 8, alphas)
    assert theirs.timesteps.tolist() == trailing_steps(8, 1000)
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_an_unknown_sampler_names_the_nearest():
    with pytest.raises(UsageError, match="no sampler 'ddmi'; did you mean 'ddim'"):
        sampler("ddmi")
