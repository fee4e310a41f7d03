"""I3D against the implementations behind FVD: VideoGPT, StyleGAN-V, content-debiased FVD, pytorch-i3d."""

import pytest
import torch
from einops import rearrange, reduce
from torch import Tensor

from hallo3_lightning.backbones.i3d import I3D, PREPROCESSINGS
from tests.golden.evaluation_set import Recorded, cases, recorded, sum_of
from tests.golden.near import error

TOLERANCE = 1e-4
"""Relative. Random weights make logits nearly alike whatever the input, so nothing looser would tell inputs apart."""

PIXELS = 1e-5
"""Of prepared videos, relative."""

SETS = cases("i3d")


def prepared(record: Recorded, name: str) -> Tensor:
    videos = rearrange(record.tensors["video_u8_bcthw"], "b c f h w -> b f c h w")
    return torch.stack([PREPROCESSINGS[name](video) for video in videos])


def network(record: Recorded, name: str) -> I3D:
    weights = record.weights()
    assert sum_of(weights) == record.facts["weights_sha256"]
    network = I3D(epsilon=record.facts["bn_eps"][name]).eval()
    network.load_state_dict(weights)
    return network


@pytest.mark.parametrize("case", SETS)
def test_prepared_videos(case):
    record = recorded(case)
    for name in ("videogpt", "styleganv", "cdfvd"):
        some = prepared(record, name)[:, :, ::5, ::32, ::32]
        assert error(some, record.tensors[f"pre_{name}_s"]) <= PIXELS


@pytest.mark.parametrize("case", SETS)
@torch.no_grad()
def test_logits(case):
    record = recorded(case)
    videos = prepared(record, "videogpt")
    i3d = network(record, "videogpt")
    theirs = record.tensors
    features = i3d.features(videos)
    assert error(features.flatten(), theirs["feats1024_avgpool_eps1e5"].flatten()) <= TOLERANCE
    ours = reduce(i3d.logits(rearrange(features, "b c s -> b c s 1 1")), "b n s 1 1 -> b n", "mean")
    assert error(ours, theirs["logits_videogpt_eps1e5"]) <= TOLERANCE
    assert error(ours, theirs["logits_styleganv_pre_eps1e5"]) <= TOLERANCE  # its pixels differ by less than PIXELS
    assert error(i3d((videos + 1) / 2), theirs["logits_unit_range_eps1e5"]) <= TOLERANCE
    assert error(i3d(prepared(record, "cdfvd")), theirs["logits_cdfvd_pre_eps1e5"]) <= TOLERANCE


@pytest.mark.parametrize("case", SETS)
@torch.no_grad()
def test_norms_of_the_original(case):
    record = recorded(case)
    stretches = network(record, "piergiaj").stretches(prepared(record, "videogpt"))
    assert error(stretches, record.tensors["logits_piergiaj_per_step"]) <= TOLERANCE
    assert error(stretches.mean(dim=2), record.tensors["logits_piergiaj_eps1e3"]) <= TOLERANCE
