"""The published guided sample, with the noises that it used."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hallo3_lightning.animation.prediction import prediction
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.batch import Batch
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.diffusion.sampler import sampler
from hallo3_lightning.diffusion.schedule import Oddities, schedule
from tests.golden.near import SAMPLE_TOLERANCE, TOLERANCE, error
from tests.golden.network import published_network

ODDITIES = Oddities(rescaled_on_subset=True, nearest_alphas=True, wasted_draws=True)
NOTICED = 10 * SAMPLE_TOLERANCE


@pytest.fixture(scope="module")
def network(goldens) -> Denoiser:
    return published_network(goldens, "s2")


def published(goldens) -> Sampling:
    steps = len(goldens.tensors("s2_sampler_noise")["rand.draws_per_step"])
    return Sampling("dpmpp_2m_sde", steps, guidance=3.5, guided=("text", "audio"), oddities=ODDITIES)


def recorded_clip(tensors: Mapping[str, Tensor]) -> Batch:
    assert not tensors["in.text_uncond"].any()
    return Batch(
        keys=("golden",),
        motion_latents=tensors["in.concat_latents"],
        reference_latents=tensors["in.ref_latents"],
        text_embeddings=tensors["in.text_cond"],
        face_embedding=tensors["in.face_emb"],
        audio_features=tensors["in.audio_emb"],
    )


def recorded_noise(goldens, initial: Tensor) -> Callable[[int], Tensor]:
    """The noise of each draw as the published run made them: those thrown away were not kept, and must not be asked."""
    recorded = goldens.tensors("s2_sampler_noise")
    last_draw = recorded["rand.draws_per_step"].cumsum(0)[:-1].tolist()
    drawn = {0: initial} | dict(zip(last_draw, recorded["rand.step_noise_used"], strict=True))
    return drawn.__getitem__


@torch.no_grad()
def sample(network: Denoiser, goldens, sampling: Sampling) -> tuple[Tensor, dict[int, Tensor]]:
    """The sample, and the noisy latents that each step began with."""
    tensors = goldens.tensors("s2_sampler")
    draws = schedule(Process(), sampling.steps, ODDITIES).draws
    visited = replace(schedule(Process(), sampling.steps, sampling.oddities), draws=draws)
    predict, seen = prediction(network, recorded_clip(tensors), sampling), []

    def watched(noisy: Tensor, step: int) -> Tensor:
        seen.append(noisy)
        return predict(noisy, step)

    noise = recorded_noise(goldens, tensors["rand.initial_noise"])
    return sampler(sampling.sampler)(watched, noise, visited), dict(enumerate(seen))


def test_states_and_sample(network, goldens):
    theirs = goldens.tensors("s2_sampler")
    ours, states = sample(network, goldens, published(goldens))
    recorded = [int(name.split(".")[1]) for name in theirs if name.endswith("x_in")]
    assert {step: error(states[step], theirs[f"step.{step}.x_in"]) for step in recorded} == {
        step: pytest.approx(0, abs=SAMPLE_TOLERANCE) for step in recorded
    }
    assert error(ours, theirs["out.sample"]) <= SAMPLE_TOLERANCE


def test_reference_features_of_both_branches(network, goldens):
    theirs = goldens.tensors("s2_sampler")
    with torch.no_grad():
        features = network.signals(recorded_clip(theirs))["identity_reference_network"]
    for block, ours in enumerate(features):
        for branch in theirs[f"bank_cfg.{block}"]:
            assert error(ours[0], branch) <= TOLERANCE


MISTAKES: dict[str, dict[str, Any]] = {
    "no alpha quantisation": {"oddities": Oddities(rescaled_on_subset=True, wasted_draws=True)},
    "alphas of the training table": {"oddities": Oddities(nearest_alphas=True, wasted_draws=True)},
    "guidance 6": {"guidance": 6.0},
    "face dropped": {"guided": ("text", "audio", "face")},
    "motion latents dropped": {"guided": ("text", "audio", "motion")},
    "reference dropped": {"guided": ("text", "audio", "reference")},
    "audio kept": {"guided": ("text",)},
    "no noise": {"sampler": "dpmpp_2m"},
    "first order": {"sampler": "ddim"},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_sample_notices_a_mistake(network, goldens, mistake):
    """The options that give the published sample are the only ones that do."""
    theirs = goldens.tensors("s2_sampler")["out.sample"]
    ours, _ = sample(network, goldens, replace(published(goldens), **MISTAKES[mistake]))
    assert error(ours, theirs) > NOTICED, f"{mistake}: {error(ours, theirs)}"
