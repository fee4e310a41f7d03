"""ArcFace's network against a transcription of insightface's iresnet50."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from hallo3_lightning.backbones.iresnet import DEPTHS, IResNet
from tests.golden.evaluation_set import recorded, sum_of
from tests.golden.near import error

TOLERANCE = 1e-4
"""Relative."""


@torch.no_grad()
def test_embeddings():
    record = recorded("arcface")
    blocks = tuple(sum(name.startswith(f"layer{i}.") and name.endswith("conv1.weight") for name in record.facts["shapes"])
                   for i in range(1, 5))  # fmt: skip
    depth = next(depth for depth, stages in DEPTHS.items() if stages == blocks)
    weights = record.weights()
    assert sum_of(weights) == record.facts["weights_sha256"]
    network = IResNet(depth).eval()
    network.load_state_dict(weights)
    ours = network((record.tensors["faces_rgb_u8"].float() / 255 - 0.5) / 0.5)
    assert error(ours, record.tensors["embeddings"]) <= TOLERANCE
    cosines = cosine_similarity(ours[:, None], ours[None], dim=2)
    assert cosines == pytest.approx(record.tensors["cosine"], abs=TOLERANCE)
