"""Lips and sound of a clip whose offset is known, for a network that compares brightness with loudness."""

import numpy as np
import pytest
import torch

from datamodules.prepare.face import Face
from hallo3_lightning.backbones.coded import coded
from hallo3_lightning.backbones.face_track import crop, places
from hallo3_lightning.backbones.syncnet import agreement, distances, embeddings
from hallo3_lightning.backbones.weight_files import SYNCNET
from hallo3_lightning.evaluation.feature import feature, measured
from hallo3_lightning.evaluation.footage import Footage
from hallo3_lightning.evaluation.networks import Networks
from hallo3_lightning.geometry import FPS
from tests.backbones.test_syncnet import averaging, talk

pytestmark = pytest.mark.filterwarnings("ignore:.*is not the published")

FRAMES, EARLY = 49, 3


class Told:
    """The face of every frame."""

    fingerprint = "told"

    def faces(self, frame: np.ndarray, video: str, number: int) -> list[Face]:
        return [Face((30.0, 15.0, 50.0, 37.0))]


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Networks:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(averaging().state_dict(), folder / SYNCNET.name)
    return Networks(folder)


@pytest.fixture(scope="module")
def footage() -> Footage:
    """Sound that comes EARLY frames too early."""
    loudness = 14.5 + np.convolve(np.random.default_rng(5).uniform(-4, 4, 65), np.ones(5) / 3, mode="valid")
    frames, sound = talk(loudness)
    heard = sound[(6 + EARLY) * 640 : (6 + EARLY + FRAMES) * 640]
    return Footage("clip", frames[6 : 6 + FRAMES], heard, Told())


def test_through_codecs_the_offset_stays_and_the_floor_is_below(footage, networks):
    """49 frames: Sync has a number, though not the reference's, which wants more than 100."""
    found = measured("lips/syncnet-coded", footage, networks).values
    own = agreement(found["distances"], only_sound_there=True)
    chance = agreement(found["floor"], only_sound_there=True)
    assert own.offset_frames == EARLY
    assert own.distance < chance.distance
    assert found["floor_shift"].item() > FPS
    assert found["span"].tolist() == [0, FRAMES]
    assert not found["as_reference"].any()


def test_frames_go_through_codecs_as_often_as_in_the_reference(networks):
    """Twice whole and twice cut out, each time MPEG-4 first; the last JPEG with as few bits as FFmpeg chooses."""
    frames = np.random.default_rng(0).integers(0, 256, (8, 60, 80, 3), dtype=np.uint8)
    sound = np.random.default_rng(1).integers(-9000, 9000, 8 * 640).astype(np.int16)
    found = measured("lips/syncnet-coded", Footage("noise", frames, sound, Told()), networks).values["distances"]
    written = coded(coded(frames, "mpeg4"), "mjpeg")
    where = places(np.tile([30.0, 15.0, 50.0, 37.0], (8, 1)))
    faces = np.stack([crop(written[i], where, i) for i in range(8)])
    again = coded(coded(faces, "mpeg4"), "mjpeg", quantizer=None)
    network = networks.network("syncnet")
    assert torch.allclose(found, distances(embeddings(network, again, sound)), rtol=1e-6)
    assert not torch.allclose(found, distances(embeddings(network, faces, sound)), rtol=1e-4)


def test_codecs_change_no_more_than_they_must(footage, networks):
    short = Footage("short", footage.frames[:9], footage.sound[: 9 * 640], Told())
    plain, coded = (measured(f"lips/{name}", short, networks).values for name in ("syncnet", "syncnet-coded"))
    gap = (plain["distances"] - coded["distances"]).abs().max()
    assert 0 < gap < 0.1 * plain["distances"].max()
    assert len(coded["floor"]) == len(plain["floor"]) == 0
    assert feature("lips/syncnet").fingerprint(networks, "a") != feature("lips/syncnet").fingerprint(networks, "b")
