from dataclasses import replace

import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler, DPMSolverMultistepScheduler

from hallo3_lightning.diffusion.process import Process, sigma
from hallo3_lightning.diffusion.sampler import SAMPLERS, ddim, dpmpp_2m, dpmpp_2m_sde, sampler
from hallo3_lightning.diffusion.schedule import Oddities, schedule, trailing_steps
from hallo3_lightning.errors import UsageError
from hallo3_lightning.randomness import generator
from tests import tiny

SHAPE = (2, 3, 4, 6, 8)


def noise(step: int) -> torch.Tensor:
    return tiny.draw(*SHAPE, name=f"noise {step}")


def wavering(noisy: torch.Tensor, step: int) -> torch.Tensor:
    """A prediction that depends on everything it may."""
    return torch.tanh(noisy + step / 1000)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_perfect_prediction_gives_the_clean_latents(name):
    alphas = Process().sqrt_alphas
    clean = tiny.draw(*SHAPE, name="clean")

    def perfect(noisy: torch.Tensor, step: int) -> torch.Tensor:
        alpha = alphas[step]
        return (alpha * noisy - clean) / sigma(alpha)

    torch.testing.assert_close(sampler(name)(perfect, noise, schedule(Process(), 7)), clean, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_noise_gives_the_same_sample(name):
    first, second = (sampler(name)(wavering, noise, schedule(Process(), 5)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("name", "draws"), [("ddim", [0]), ("dpmpp_2m", [0]), ("dpmpp_2m_sde", [0, 1, 2, 3, 4])])
def test_each_draw_is_used_once_and_none_at_the_last_step(name, draws):
    drawn = []

    def counted(draw: int) -> torch.Tensor:
        drawn.append(draw)
        return noise(draw)

    sampler(name)(wavering, counted, schedule(Process(), 5))
    assert drawn == draws


def test_the_state_stays_float32_where_the_network_is_not():
    predict = lambda noisy, step: wavering(noisy, step).bfloat16()  # noqa: E731
    assert {f(predict, noise, schedule(Process(), 3)).dtype for f in SAMPLERS.values()} == {torch.float32}


def gaussian(noisy: torch.Tensor, step: int) -> torch.Tensor:
    """The exact v where clean latents are normal with mean 1 and deviation 1/2."""
    alpha = Process().sqrt_alphas[step].double()
    clean = (0.25 * alpha * noisy + sigma(alpha) ** 2) / (0.25 * alpha**2 + sigma(alpha) ** 2)
    return (alpha * noisy - clean) / sigma(alpha)


@pytest.mark.parametrize(("name", "least"), [("ddim", 1.7), ("dpmpp_2m", 3.4)])
def test_the_order_is_what_it_is_said_to_be(name, least):
    """Along the probability flow of that Gaussian, noise z goes to a + z sqrt(a^2 / 4 + sigma^2)."""
    start, off = torch.linspace(-2, 2, 5).double(), []
    for steps in (50, 100):
        whole = schedule(Process(), steps)
        short = replace(whole, steps=whole.steps[: -steps // 10], alphas=whole.alphas[: -steps // 10])
        alpha = short.alphas[-1]
        end = sampler(name)(gaussian, lambda draw: start, short)
        off.append(float((end - alpha - start * (alpha**2 / 4 + sigma(alpha) ** 2).sqrt()).abs().max()))
    assert off[0] / off[1] > least


def test_the_stochastic_sampler_gives_the_right_spread():
    draws = {i: torch.randn(20_000, generator=generator(0, "spread", i)) for i in range(50)}
    end = dpmpp_2m_sde(gaussian, draws.__getitem__, schedule(Process(), 50))
    assert abs(float(end.mean()) - 1) < 0.02
    assert abs(float(end.std()) - 0.5) < 0.02


SETTINGS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "rescale_betas_zero_snr": True,
    "snr_shift_scale": 1.0,
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "clip_sample": False,
}


def test_ddim_is_diffusers():
    theirs = CogVideoXDDIMScheduler(**SETTINGS)
    theirs.set_timesteps(8)  # divides 1000: diffusers steps back by whole numbers
    expected = noise(0)
    for step in theirs.timesteps:
        expected = theirs.step(wavering(expected, int(step)), step, expected).prev_sample
    got = ddim(wavering, noise, schedule(Process(), 8))
    assert theirs.timesteps.tolist() == trailing_steps(8, 1000)
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_dpmpp_2m_sde_is_diffusers():
    """Their stream of noise is ours with the wasted draws."""
    theirs = CogVideoXDPMScheduler(**SETTINGS)
    theirs.set_timesteps(10)
    drawn, stream = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    draws = [noise(0)] + [torch.randn(SHAPE, generator=drawn) for _ in range(20)]
    expected, clean, back = noise(0), None, None
    for step in theirs.timesteps.tolist():
        v = wavering(expected, step)
        expected, clean = theirs.step(v, clean, step, back, expected, generator=stream)
        back = step
    got = dpmpp_2m_sde(wavering, draws.__getitem__, schedule(Process(), 10, Oddities(wasted_draws=True)))
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_dpmpp_2m_is_diffusers():
    """Theirs takes the last step for not quite pure noise, with an alpha of 2^-12; ours is given the same."""
    theirs = DPMSolverMultistepScheduler(
        **{k: v for k, v in SETTINGS.items() if k not in ("snr_shift_scale", "clip_sample")},
        algorithm_type="dpmsolver++",
        solver_order=2,
        final_sigmas_type="zero",
        lower_order_final=False,
    )
    theirs.set_timesteps(10)
    expected = noise(0)
    for step in theirs.timesteps.tolist():
        expected = theirs.step(wavering(expected, step), step, expected).prev_sample
    ours = schedule(Process(), 10)
    nearly = torch.cat([torch.tensor([2.0**-12], dtype=torch.float64), ours.alphas[1:]])
    assert list(ours.steps) == theirs.timesteps.tolist()
    got = dpmpp_2m(wavering, noise, replace(ours, alphas=nearly, clean_alphas=nearly[:-1]))
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 1000])
@pytest.mark.parametrize("oddities", [Oddities(), Oddities(True, True, True)])
def test_any_number_of_steps(name, steps, oddities):
    """One step is the clean estimate from pure noise."""
    end = sampler(name)(lambda noisy, step: -torch.ones_like(noisy), noise, schedule(Process(), steps, oddities))
    assert end.isfinite().all()
    if steps == 1:
        torch.testing.assert_close(end, torch.ones_like(end))


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_numbers_of_steps(steps):
    with pytest.raises(UsageError, match=f"{steps} sampling steps; give 1 to 1000"):
        schedule(Process(), steps)


def test_an_unknown_sampler_names_the_nearest():
    with pytest.raises(UsageError, match="no sampler 'ddmi'; did you mean 'ddim'"):
        sampler("ddmi")
