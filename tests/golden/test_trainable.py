"""What the published selector trains, and what our named choices train."""

import pytest

from hallo3_lightning.training.trainable import set_trainable
from hallo3_lightning.weights.names import mapped, published_cuts
from tests.golden.network import AUDIO, fresh

CHOICES = {"s1": "official_identity", "s2": "official_audio"}


@pytest.mark.parametrize("stage", CHOICES)
def test_official_lists(goldens, stage):
    """The dead end of the reference network is in the published list, and nowhere in our network."""
    network = fresh(goldens.config, AUDIO[stage])
    trained = set_trainable(network, [CHOICES[stage]])
    theirs = goldens.manifest["info"][f"{stage}_loss"]["trainable"]
    found = mapped(theirs)
    assert found.unknown == []
    assert set(trained) == set(found.cuts)
    assert {cut.published for cut in published_cuts(trained).values()} == set(theirs) - set(found.dropped)
    last = len(network.transformer.blocks) - 1
    assert all(name.startswith("ref_model.") and f".layers.{last}." in name for name in found.dropped)
