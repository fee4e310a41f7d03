"""Consistency of features that are known, and frames as DINO and CLIP see them."""

import pytest
import torch

from hallo3_lightning.backbones import clip, dino
from hallo3_lightning.backbones.consistency import consistency


def test_a_frozen_picture_is_perfectly_consistent():
    assert consistency(torch.ones(5, 3) * torch.arange(1, 6)[:, None]) == pytest.approx(1)


def test_consistency_is_with_the_frame_before_and_the_first():
    """Turned by 60 degrees each time: cosines 1/2 to the one before; to the first 1/2, -1/2 and -1, which count as 0."""
    angles = torch.deg2rad(torch.tensor([0.0, 60, 120, 180]))
    features = torch.stack([angles.cos(), angles.sin()], dim=1) * torch.tensor([[1.0], [7], [2], [3]])
    assert consistency(features) == pytest.approx((3 * 0.5 + 0.5) / 3 / 2)
    with pytest.raises(ValueError, match="at least 2"):
        consistency(features[:1])


@pytest.mark.parametrize(("size", "seen"), [((96, 144), (224, 336)), ((101, 50), (452, 224)), ((224, 224), (224, 224))])
def test_the_shorter_side_is_brought_to_size(size, seen):
    frames = torch.full((2, 3, *size), 255, dtype=torch.uint8)
    whole = dino.prepared(frames)
    assert whole.shape == (2, 3, *seen)
    assert [float(whole[0, colour].mean()) for colour in range(3)] == pytest.approx(
        [(1 - mean) / deviation for mean, deviation in zip(dino.MEAN, dino.DEVIATION, strict=True)]
    )
    assert clip.prepared(frames).shape == (2, 3, 224, 224)


def test_clip_sees_the_middle():
    frames = torch.zeros(1, 3, 40, 120, dtype=torch.uint8)
    frames[..., :36] = frames[..., -36:] = 255
    seen = clip.prepared(frames) * torch.tensor(clip.DEVIATION)[:, None, None] + torch.tensor(clip.MEAN)[:, None, None]
    assert seen.abs().max() < 1e-6


@torch.no_grad()
def test_dino_sees_whole_patches_of_pictures_of_any_size():
    torch.manual_seed(0)
    network = dino.Dino().eval()
    torch.nn.init.normal_(network.pos_embed)
    pictures = torch.randn(2, 3, 37, 50)
    assert torch.equal(network(pictures), network(pictures[..., :32, :48]))
    assert torch.equal(network._positions(14, 14), network.pos_embed)
    assert network._positions(2, 3).shape == (1, 7, dino.WIDTH)
    torch.nn.init.ones_(network.pos_embed)
    assert network._positions(9, 20) == pytest.approx(torch.ones(1, 181, dino.WIDTH))
