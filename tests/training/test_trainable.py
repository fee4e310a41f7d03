"""Globs of what trains."""

import pytest

from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.trainable import set_trainable
from tests import tiny


def test_exactly_what_the_globs_match_trains():
    network = tiny.denoiser(audio="adaln", identity="face_attention")
    globs = ("conditioners.audio_*", "transformer.transformer_blocks.*.adapters.audio_*")
    named = set_trainable(network, globs)
    training = [name for name, p in network.named_parameters() if p.requires_grad]
    assert named == training
    assert {name.split(".")[1] for name in training} == {"audio_adaln", "transformer_blocks"}
    assert not any("face" in name for name in training)
    assert set_trainable(network, ["*"]) == [name for name, _ in network.named_parameters()], "it can be undone"


def test_globs_are_anchored_at_both_ends():
    network = tiny.denoiser()
    with pytest.raises(UsageError, match="no parameter matching 'patch_embed.\\*' in model.trainable"):
        set_trainable(network, ["*", "patch_embed.*"])
    assert set_trainable(network, ["transformer.patch_embed.proj.*"]) == [
        "transformer.patch_embed.proj.weight",
        "transformer.patch_embed.proj.bias",
    ]
