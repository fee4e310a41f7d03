"""RAFT and the dynamic degree against VBench."""

import pytest
import torch

from hallo3_lightning.backbones.dynamic_degree import moves, strength
from hallo3_lightning.backbones.raft import Raft, to_eights
from tests.golden.evaluation_set import Recorded, recorded, sum_of
from tests.golden.near import error

TOLERANCE = 1e-3
"""Relative."""


@pytest.fixture(scope="module")
def record() -> Recorded:
    return recorded("raft_dynamic_degree")


@torch.no_grad()
def test_flow(record):
    weights = record.weights()
    assert sum_of(weights) == record.facts["weights_sha256"]
    network = Raft().eval()
    network.load_state_dict(weights)
    flow = network(*(to_eights(record.tensors[f"{side}_u8"][None]) for side in "ab"))
    assert error(flow.coarse, record.tensors["flow_low"]) <= TOLERANCE
    assert error(flow.fine[..., ::4, ::4], record.tensors["flow_up_s"]) <= TOLERANCE
    assert strength(flow.fine[0]) == pytest.approx(record.facts["score"], rel=TOLERANCE)


def test_rule(record):
    for told in record.facts["rules"]:
        assert moves(told["scores"], told["n_frames"], told["h"], told["w"]) == told["moves"]
