"""Guidance by several scales: the branches that run, and how they make one prediction."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hallo3_lightning.animation.guidance import chain
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.dropout import FIELDS
from hallo3_lightning.errors import UsageError
from tests import tiny

CLIP = tiny.batch()
WEIGHTS = {"text": 1.0, "audio": 10.0, "face": 100.0, "reference": 1000.0, "motion": 10_000.0}
"""A prediction that tells which conditions were there: the sum of theirs."""


def told(branch: Batch) -> torch.Tensor:
    return torch.tensor(sum(weight for name, weight in WEIGHTS.items() if getattr(branch, FIELDS[name]).any()))


def guided(guidance: float | dict[str, float], conditions: tuple[str, ...] = ()) -> float:
    links = chain(guidance, conditions)
    return float(links.guided([told(branch) for branch in links.branches(CLIP)]))


@given(
    scales=st.dictionaries(st.sampled_from(["text", "audio", "identity", "motion"]), st.sampled_from([0, 1, 2, 3.5]))
)
def test_each_condition_counts_by_its_scale(scales):
    """These conditions do not interact, so that each is multiplied by its own scale whatever the order."""
    by_name = {name: scales.get(name, 1) for name in WEIGHTS} | {
        n: scales.get("identity", 1) for n in ("face", "reference")
    }
    assert guided(scales) == pytest.approx(sum(WEIGHTS[name] * scale for name, scale in by_name.items()))


@given(scale=st.floats(-2, 10), names=st.permutations(["text", "audio", "identity"]))
def test_equal_scales_are_one_scale_for_all_at_once(scale, names):
    assert chain(dict.fromkeys(names, scale), ()) == chain(scale, ("text", "audio", "face", "reference"))


@pytest.mark.parametrize(
    ("scales", "branches"),
    [
        ({"text": 2, "audio": 4}, 3),
        ({"text": 2, "audio": 4, "identity": 3}, 4),
        ({"text": 1, "audio": 4}, 2),
        ({"text": 2, "audio": 1}, 3),
        ({"text": 2, "audio": 0}, 2),
        ({"text": 1, "audio": 1}, 1),
        ({"audio": 0}, 1),
        ({}, 1),
        (1.0, 1),
        (3.5, 2),
    ],
)
def test_branches_without_weight_are_not_run(scales, branches):
    links = chain(scales, ("text", "audio"))
    assert links.num_branches == len(links.branches(CLIP)) == branches


def test_what_branches_have_or_lack_alike_is_one_object():
    bare, text, both = chain({"text": 2, "audio": 4}, ()).branches(CLIP)
    assert bare.audio_features is text.audio_features
    assert text.text_embeddings is both.text_embeddings is CLIP.text_embeddings
    assert not bare.text_embeddings.any()
    assert bare.motion_latents is CLIP.motion_latents


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"guidance": {"audoi": 2.0}}, "no condition 'audoi' in model.sampling.guidance; did you mean 'audio'?"),
        ({"guidance": {"identity": 2.0, "face": 3.0}}, "gives face two scales"),
        *(({"guidance": scale}, "guidance is ") for scale in (float("nan"), float("inf"), 1e30, -101)),
        ({"guidance": {"text": float("nan")}}, "guidance by text is nan; give a scale such as 3.5, from -100 to 100"),
        ({"guided": ("voice",)}, "no condition 'voice'"),
        ({"steps": 0}, "0 sampling steps; give 1 to 1000"),
        ({"steps": 1001}, "1001 sampling steps"),
        ({"sampler": "ddmi"}, "did you mean 'ddim'"),
    ],
)
def test_settings_that_mean_nothing(settings, sentence):
    with pytest.raises(UsageError) as refused:
        Sampling(**settings)
    assert sentence in str(refused.value)
