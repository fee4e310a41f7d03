"""S3FD against joonson/syncnet_python: network, squares, and the faces that remain."""

import numpy as np
import pytest
import torch
from einops import rearrange

from hallo3_lightning.backbones.s3fd import MEAN, Candidates, S3FDNet, detect
from tests.golden.evaluation_set import Recorded, recorded, sum_of
from tests.golden.near import error

TOLERANCE = 1e-4
"""Relative."""


@pytest.fixture(scope="module")
def record() -> Recorded:
    return recorded("s3fd")


@pytest.fixture(scope="module")
def network(record) -> S3FDNet:
    weights = record.weights()
    assert sum_of(weights) == record.facts["weights_sha256"]
    network = S3FDNet().eval()
    network.load_state_dict(weights)
    return network


@pytest.fixture(scope="module")
def candidates(record, network) -> Candidates:
    picture = record.tensors["image_rgb_u8"].float() - torch.tensor(MEAN)
    with torch.no_grad():
        return network(rearrange(picture, "h w c -> c h w"))


def test_candidates(record, candidates):
    assert len(candidates.scores) == record.facts["n_priors"]
    some = record.tensors["index_s"]
    assert error(candidates.shifts[some], record.tensors["loc_s"]) <= TOLERANCE
    assert error(candidates.scores[some], record.tensors["conf_s"][:, 1]) <= TOLERANCE
    assert error(candidates.squares[some], record.tensors["priors_s"]) <= 1e-6


def test_faces(record, network):
    """Random weights give boxes of up to 1e7 pixels, of which only the relative error can be small, and many a score of
    exactly 1, whose order means nothing."""
    found = detect(network, record.tensors["image_rgb_u8"].numpy(), scale=1, least_score=record.facts["conf_th"])
    assert len(found.scores) == record.facts["n_boxes"]
    theirs = record.tensors["boxes"].numpy()
    np.testing.assert_allclose(found.scores, theirs[:, 4], rtol=TOLERANCE)
    left = list(theirs[:, :4])
    for box in found.boxes:
        errors = [abs(box - other).max() / abs(other).max() for other in left]
        nearest = int(np.argmin(errors))
        assert errors[nearest] <= 10 * TOLERANCE
        del left[nearest]
