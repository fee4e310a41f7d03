"""RAFT with heads that say what motion there is, and the dynamic degree of motions that are known."""

import pytest
import torch
from einops import rearrange, repeat
from torch import nn

from hallo3_lightning.backbones.dynamic_degree import every, movement, moves, strength
from hallo3_lightning.backbones.raft import LEAST, Raft, _around, _likeness, _places, to_eights


@pytest.fixture(scope="module")
def network() -> Raft:
    """Says in every step that all goes on by 0.1 places to the right and 0.2 up."""
    torch.manual_seed(0)
    network = Raft().eval()
    nn.init.zeros_(network.update_block.flow_head.conv2.weight)
    with torch.no_grad():
        network.update_block.flow_head.conv2.bias.copy_(torch.tensor([0.1, -0.2]))
    return network


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 255


@torch.no_grad()
def test_steps_add_up_and_places_are_eight_pixels(network):
    flow = network(noise(2, 3, 64, 72), noise(2, 3, 64, 72), steps=3)
    assert flow.coarse.shape == (2, 2, 8, 9)
    assert flow.fine.shape == (2, 2, 64, 72)
    inside = flow.fine[:, :, 8:-8, 8:-8]
    assert inside == pytest.approx(repeat(torch.tensor([2.4, -4.8]), "xy -> 2 xy 48 56"), rel=1e-4)
    with pytest.raises(ValueError, match=f"needs pictures of {LEAST} x {LEAST} pixels"):
        network(noise(1, 3, 56, 72), noise(1, 3, 56, 72))


def test_likeness_is_looked_up_where_places_are_thought_to_go():
    """The second picture is the first, moved by 2 across and 1 down: alike there, in channel (x + 4, y + 4) of level 0."""
    first = nn.functional.normalize(noise(1, 64, 12, 16) - 127, dim=1)
    second = first.roll((1, 2), dims=(2, 3))
    levels = _likeness(first, second)
    assert [tuple(level.shape[-2:]) for level in levels] == [(12, 16), (6, 8), (3, 4), (1, 2)]
    found = rearrange(_around(levels, _places(first)), "1 (level x y) h w -> level x y h w", level=4, x=9)
    assert found[0, 4 + 2, 4 + 1, :-1, :-2] == pytest.approx(torch.full((11, 14), 1 / 8), rel=1e-5)
    assert found.isfinite().all()
    moved = _places(first) + torch.tensor([2.0, 1.0])[:, None, None]
    at_once = rearrange(_around(levels, moved), "1 (level x y) h w -> level x y h w", level=4, x=9)
    assert torch.allclose(at_once[0, 4, 4, :-1, :-2], found[0, 6, 5, :-1, :-2], rtol=1e-4)


def test_edges_are_repeated_to_whole_eights():
    pictures = noise(1, 3, 21, 30)
    seen = to_eights(pictures)
    assert seen.shape == (1, 3, 24, 32)
    assert torch.equal(seen[..., 1:22, 1:31], pictures)
    assert torch.equal(seen[..., 0, 1:31], pictures[..., 0, :])
    assert torch.equal(seen[..., 23, 1:31], pictures[..., -1, :])
    assert torch.equal(to_eights(pictures[..., :16, :24]), pictures[..., :16, :24])


@torch.no_grad()
def test_movement_is_that_of_the_flow(network):
    """Every third frame of 25 a second; by 20 steps each pixel inside is said to go 16 across and 32 up."""
    video = noise(7, 3, 64, 80)
    found = movement(network, video, fps=25)
    assert len(found.strengths) == 2
    assert found.strengths == pytest.approx([(16**2 + 32**2) ** 0.5] * 2, rel=1e-3)
    assert 0 < found.mean < found.strengths[0]
    assert found.moves
    with pytest.raises(ValueError, match="3 frames at 25 a second have no two"):
        movement(network, video[:3], fps=25)


def test_strength_is_of_the_fastest():
    """Of 400 pixels, 20: ten go 5 pixels, the next 1."""
    flow = torch.zeros(2, 20, 20)
    flow[:, 0, :10] = torch.tensor([3.0, -4.0])[:, None]
    flow[0, 1:] = 1
    assert strength(flow) == pytest.approx((10 * 5 + 10 * 1) / 20)


def test_enough_strong_motions_for_size_and_length():
    assert [every(fps) for fps in (25, 30, 24, 8, 3)] == [3, 4, 3, 1, 1]
    assert moves([6.1] * 4 + [0.0] * 11, frames=16, height=256, width=300)
    assert not moves([6.1] * 3 + [5.9] * 12, frames=16, height=256, width=300)
    assert not moves([6.1] * 15, frames=16, height=512, width=300)
    assert moves([6.1] * 2, frames=8, height=256, width=256)
