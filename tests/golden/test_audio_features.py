"""The published wav2vec2 wrapper over a whole utterance, and its windows of five frames."""

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from hallo3_lightning.geometry import audio_samples
from hallo3_lightning.model.encoders.audio.wav2vec2 import Wav2Vec2Audio, standardised
from hallo3_lightning.model.frozen import clamped_windows
from tests.golden.near import TOLERANCE, error


@pytest.fixture(scope="module")
def recorded(goldens):
    return {name: value for name, value in goldens.tensors("wav2vec").items() if not name.startswith("w.")}


@pytest.fixture(scope="module")
def encoder(goldens) -> Wav2Vec2Audio:
    told = {k: v for k, v in goldens.manifest["info"]["wav2vec"].items() if k != "transformers"}
    model = Wav2Vec2Model(Wav2Vec2Config(**told)).eval()
    weights = {name[2:]: value for name, value in goldens.tensors("wav2vec").items() if name.startswith("w.")}
    model.load_state_dict(weights, strict=True)
    return Wav2Vec2Audio(model)


def test_normalisation_over_the_whole_utterance(recorded):
    assert error(standardised(recorded["in.speech"][None])[0], recorded["mid.normalised"]) <= TOLERANCE


@torch.no_grad()
def test_features(goldens, encoder, recorded):
    features, heard = encoder.utterance(recorded["in.speech"][None], clip_frames=goldens.config["frames"])
    assert heard == int(recorded["out.length"])
    assert error(features[0], recorded["out.audio_features"]) <= TOLERANCE


@torch.no_grad()
def test_silence_is_added_after_normalisation(goldens, encoder, recorded):
    frames = goldens.config["frames"]
    added = audio_samples(len(recorded["out.audio_features"]) - int(recorded["out.length"]))
    silent = torch.nn.functional.pad(recorded["in.speech"], (0, added))
    features, _ = encoder.utterance(silent[None], clip_frames=frames)
    assert features.shape[1:] == recorded["out.audio_features"].shape
    assert error(features[0], recorded["out.audio_features"]) > 100 * TOLERANCE


def test_windows(goldens):
    recorded = goldens.tensors("longvideo")
    assert torch.equal(clamped_windows(recorded["in.audio_features"][None])[0], recorded["in.audio_windows_full"])
