"""What the published selector trains, and what our named choices train."""

import pytest

from hallo3_lightning.training.trainable import set_trainable
from hallo3_lightning.weights.names import mapped, published_cuts
from tests.golden.network import AUDIO, fresh

CHOICES = {"s1": "official_identity", "s2": "official_audio"}


def test_the_paper_trains_attention_and_face_attention(goldens):
    """In the words of the paper, attention: self-attention of both networks and face attention; neither norms nor feed-forwards."""
    network = fresh(goldens.config, "cross_attention")
    num_blocks = len(network.transformer.blocks)
    reference = "conditioners.identity_reference_network.network"
    blocks = [f"transformer.transformer_blocks.{i}" for i in range(num_blocks)]
    blocks += [f"{reference}.transformer_blocks.{i}" for i in range(num_blocks - 1)]  # its last has no attention
    layers = {f"attn1.{layer}.{kind}" for layer in ("to_q", "to_k", "to_v", "to_out.0") for kind in ("weight", "bias")}
    attention = {f"{block}.{layer}" for block in blocks for layer in layers}
    face = {name for name, _ in network.named_parameters() if "identity_face_attention." in name}
    assert face
    trained = set_trainable(network, ["paper_identity"])
    assert set(trained) == attention | face


@pytest.mark.parametrize("stage", CHOICES)
def test_official_lists_where_the_dead_layer_is_built(goldens, stage):
    network = fresh(goldens.config, AUDIO[stage], dead_layer=True)
    trained = set_trainable(network, [CHOICES[stage]])
    theirs = goldens.manifest["info"][f"{stage}_loss"]["trainable"]
    assert {cut.published for cut in published_cuts(trained).values()} == set(theirs)
    assert set(mapped(theirs).dropped) == set(mapped(theirs).dropped) & {
        cut.published for cut in published_cuts(network.unread()).values()
    }


@pytest.mark.parametrize("stage", CHOICES)
def test_official_lists(goldens, stage):
    """The dead end of the reference network is in the published list, and not in our network."""
    network = fresh(goldens.config, AUDIO[stage])
    trained = set_trainable(network, [CHOICES[stage]])
    theirs = goldens.manifest["info"][f"{stage}_loss"]["trainable"]
    found = mapped(theirs)
    assert found.unknown == []
    assert set(trained) == set(found.cuts)
    assert {cut.published for cut in published_cuts(trained).values()} == set(theirs) - set(found.dropped)
    last = len(network.transformer.blocks) - 1
    assert all(name.startswith("ref_model.") and f".layers.{last}." in name for name in found.dropped)
