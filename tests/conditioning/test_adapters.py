"""How cross-attention and the reference network begin."""

import math

import pytest
import torch

from hallo3_lightning.conditioning.conditioner import conditioners
from tests import tiny

SIZE = tiny.backbone(width=96, heads=3, blocks=4)


@pytest.mark.parametrize(("kind", "name"), [("identity", "face_attention"), ("audio", "cross_attention")])
def test_not_neutral_is_the_published_beginning(kind, name):
    """Normal noise of deviation 0.02, of the output projection 0.02 / sqrt(2 blocks); biases 0."""
    torch.manual_seed(0)
    options = {name: tiny.OPTIONS[name] | {"neutral": False}}
    adapter = conditioners(kind, name, SIZE, tiny.INPUTS, options)[f"{kind}_{name}"].adapter(0)
    deviations = {n: float(getattr(adapter, n).weight.detach().std()) for n in ("to_q", "to_k", "to_v", "to_out")}
    published = dict.fromkeys(("to_q", "to_k", "to_v"), 0.02) | {"to_out": 0.02 / math.sqrt(2 * SIZE.blocks)}
    assert deviations == {n: pytest.approx(std, rel=0.1) for n, std in published.items()}
    assert not any(getattr(adapter, n).bias.any() for n in deviations)


def test_a_conditioner_that_was_trained_is_not_begun_anew():
    network = tiny.denoiser(identity="reference_network")
    trained = tiny.nudged(tiny.denoiser(identity="reference_network")).state_dict()
    assert network.completed(trained).keys() == trained.keys()
    backbone = {name: value for name, value in trained.items() if name.startswith("transformer.")}
    completed = network.completed(backbone)
    assert completed.keys() == network.state_dict().keys()
    name = "transformer_blocks.0.attn1.to_q.weight"
    copied = completed[f"conditioners.identity_reference_network.network.{name}"]
    assert torch.equal(copied, backbone[f"transformer.{name}"])
