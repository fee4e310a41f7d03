"""Inception against torch-fidelity, torchmetrics and pytorch-fid: features under each one's preprocessing, and FID."""

from collections.abc import Callable
from functools import cache

import pytest
import torch

from hallo3_lightning.backbones.inception import PREPROCESSINGS, Inception, Taps
from hallo3_lightning.evaluation.distances import frechet
from tests.golden.evaluation_set import Recorded, recorded, sum_of
from tests.golden.near import error

TOLERANCE = 1e-4
"""Relative."""

FID_TOLERANCE = 1e-4
"""Relative; theirs is rounded to float32."""

RECORDED = {
    "pytorch_fid": ("pytorch_fid_a_2048", "pytorch_fid_b_2048", "fid_pytorch_fid_features"),
    "torch_fidelity": ("a_2048", "b_2048", "fid_torch_fidelity_features"),
    "torchmetrics": ("tm_antialias_a_2048", "tm_antialias_b_2048", "fid_torchmetrics_antialias_true(default)"),
}
"""Names of features of both sets, and of the distance, by the preprocessing."""


@pytest.fixture(scope="module")
def record() -> Recorded:
    return recorded("inception")


@pytest.fixture(scope="module")
def network(record) -> Inception:
    weights = record.weights()
    assert sum_of(weights) == record.facts["weights_sha256"]
    network = Inception().eval()
    network.load_state_dict(weights)
    return network


@pytest.fixture(scope="module")
def taps(record, network) -> Callable[[str, str], Taps]:
    """What the network makes of a set under a preprocessing; once each, for it takes seconds."""

    @cache
    @torch.no_grad()
    def found(name: str, side: str) -> Taps:
        return network.taps(PREPROCESSINGS[name](record.tensors[f"{side}_u8"]))

    return found


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_features_and_their_distance(record, taps, name):
    a, b = (taps(name, side).features for side in "ab")
    theirs_a, theirs_b, distance = RECORDED[name]
    assert error(a, record.tensors[theirs_a]) <= TOLERANCE
    assert error(b, record.tensors[theirs_b]) <= TOLERANCE
    if distance in record.facts["results"]:  # the slim set has one picture a side, which have no distance
        assert frechet(a, b) == pytest.approx(record.facts["results"][distance], rel=FID_TOLERANCE)


def test_taps(record, network, taps):
    found = taps("torch_fidelity", "a")
    assert error(found.first, record.tensors["a_64"]) <= TOLERANCE
    assert error(found.second, record.tensors["a_192"]) <= TOLERANCE
    assert error(found.third, record.tensors["a_768"]) <= TOLERANCE
    assert error(found.logits, record.tensors["a_logits_unbiased"]) <= TOLERANCE
    assert error(found.logits + network.fc.bias.detach(), record.tensors["a_logits"]) <= TOLERANCE
