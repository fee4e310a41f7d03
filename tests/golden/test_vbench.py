"""DINO, CLIP and consistency against VBench."""

import pytest
import torch

from hallo3_lightning.backbones import clip, dino
from hallo3_lightning.backbones.consistency import consistency
from tests.golden.evaluation_set import Recorded, recorded, sum_of
from tests.golden.near import error

TOLERANCE = 1e-4
"""Of features relative, of scores absolute."""

PIXELS = 1e-6
"""Of prepared frames, relative."""


@pytest.fixture(scope="module")
def record() -> Recorded:
    return recorded("vbench_consistency")


def weights(record: Recorded, name: str) -> dict[str, torch.Tensor]:
    """One record has both networks, with a seed each."""
    told = record.facts[name]
    made = Recorded({**told, "seed_weights": told["seed"], "gain": record.facts["gain"]}, {}).weights()
    assert sum_of(made) == told["weights_sha256"]
    return made


@torch.no_grad()
def test_subject(record):
    pictures = dino.prepared(record.tensors["video_u8_tchw"])
    assert list(pictures.shape) == record.facts["dino_input_shape"]
    assert error(pictures[:, :, ::16, ::16], record.tensors["dino_input_s"]) <= PIXELS
    network = dino.Dino().eval()
    network.load_state_dict(weights(record, "dino"))
    ours = network(pictures)
    assert error(ours, record.tensors["dino_cls"]) <= TOLERANCE
    assert consistency(ours) == pytest.approx(record.facts["subject_consistency"], abs=TOLERANCE)


@torch.no_grad()
def test_background(record):
    pictures = clip.prepared(record.tensors["video_u8_tchw"])
    assert error(pictures[:, :, ::16, ::16], record.tensors["clip_input_s"]) <= PIXELS
    network = clip.Clip().eval()
    network.load_state_dict(weights(record, "clip"))
    ours = network.features(pictures)
    assert error(ours, record.tensors["clip_embeds"]) <= TOLERANCE
    assert consistency(ours) == pytest.approx(record.facts["background_consistency"], abs=TOLERANCE)
