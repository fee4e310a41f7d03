"""SyncNet, its cepstra and its offset, against joonson/syncnet_python run unmodified."""

import pytest
import torch
from einops import rearrange, repeat

from hallo3_lightning.backbones.mfcc import mfcc
from hallo3_lightning.backbones.syncnet import SIZE, WINDOW, SyncNet, agreement, distances, embeddings
from tests.golden.evaluation_set import Recorded, cases, recorded, sum_of
from tests.golden.near import error

EMBEDDING_TOLERANCE = 1e-4
"""Relative."""
DISTANCE_TOLERANCE = 1e-3
CEPSTRA_TOLERANCE = 1e-9


@pytest.fixture(scope="module", params=cases("syncnet"))
def record(request) -> Recorded:
    return recorded(request.param)


@pytest.fixture(scope="module")
def network(record) -> SyncNet:
    weights = record.weights()
    assert sum_of(weights) == record.facts["weights_sha256"]
    network = SyncNet()
    network.load_state_dict(weights)
    return network.eval()


@pytest.fixture(scope="module")
def frames(record):
    """[F, 224, 224, 3] red first."""
    small = record.tensors["frames_low_bgr_u8"]
    down, right = (SIZE // side for side in small.shape[-2:])
    large = repeat(small, "f c h w -> f c (h down) (w right)", down=down, right=right)
    return rearrange(large.flip(1), "f c h w -> f h w c").numpy()


@pytest.fixture(scope="module")
def found(record, network, frames):
    return embeddings(network, frames, record.tensors["audio_i16"].numpy())


def test_cepstra(record):
    ours = torch.from_numpy(mfcc(record.tensors["audio_i16"].numpy()))
    assert (ours - record.tensors["mfcc"]).abs().max() <= CEPSTRA_TOLERANCE


def test_embeddings(record, found):
    assert len(found.lips) == record.facts["n_windows"]
    assert error(found.lips, record.tensors["lip_emb"]) <= EMBEDDING_TOLERANCE
    assert error(found.sound, record.tensors["aud_emb"]) <= EMBEDDING_TOLERANCE


@torch.no_grad()
def test_lip_features(record, network, frames):
    theirs = record.tensors["lipfeat_first2"]
    first = torch.from_numpy(frames[: len(theirs) + WINDOW - 1, ..., ::-1].copy()).float()
    features = network.lip_features(rearrange(first, "f h w c -> f c h w"))
    assert error(features, theirs) <= EMBEDDING_TOLERANCE


def test_offset_and_confidence(record, found):
    by_window = distances(found, record.facts["vshift"])
    assert (by_window - record.tensors["dists"]).abs().max() <= DISTANCE_TOLERANCE
    told = agreement(by_window)
    assert (told.by_shift - record.tensors["mean_dist_per_shift"]).abs().max() <= DISTANCE_TOLERANCE
    assert told.offset_frames == record.facts["offset"]
    assert told.confidence == pytest.approx(record.facts["confidence"], abs=DISTANCE_TOLERANCE)
    assert told.distance == pytest.approx(record.facts["min_dist"], abs=DISTANCE_TOLERANCE)
