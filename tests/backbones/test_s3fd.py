"""The detector of SyncNet's reference, where it is told what to find."""

import numpy as np
import pytest
import torch
from torch import nn

from hallo3_lightning.backbones.s3fd import S3FDNet, detect


@pytest.fixture(scope="module")
def network() -> S3FDNet:
    """Sure of a face in every square of the fourth level, 128 pixels a side and 32 apart, and in no other."""
    network = S3FDNet().eval()
    for level, (shift, score) in enumerate(zip(network.loc, network.conf, strict=True)):
        for head in (shift, score):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        with torch.no_grad():
            score.bias[-1] = 9 if level == 3 else -9
    return network


@torch.no_grad()
def test_odd_sizes_are_rounded_up_at_the_third_pool_alone(network):
    """100 x 84 -> 25 x 21, then up to 13 x 11, then down to 6 x 5 and 3 x 2; then 2 x 1 and 1 x 1 by stride."""
    assert len(network(torch.zeros(3, 100, 84)).scores) == 25 * 21 + 13 * 11 + 6 * 5 + 3 * 2 + 2 * 1 + 1 * 1


@pytest.mark.parametrize("scale", [1, 0.5])
def test_boxes_are_in_pixels_of_the_picture(network, scale):
    """Two squares are tried, around (16, 16) and (48, 16); they overlap, and of equals the later remains."""
    found = detect(network, np.zeros((round(32 / scale), round(64 / scale), 3), np.uint8), scale=scale)
    np.testing.assert_allclose(found.boxes * scale, [[48 - 64, 16 - 64, 48 + 64, 16 + 64]], rtol=1e-5)
    assert found.scores.min() > 0.99


def test_nothing_sure_enough_is_no_face(network):
    found = detect(network, np.zeros((64, 48, 3), np.uint8), scale=1, least_score=0.99999999)
    assert (found.boxes.shape, found.scores.shape) == ((0, 4), (0,))
