"""Tracks of faces and the crops around them, against run_pipeline.py of joonson/syncnet_python."""

import numpy as np
import pytest
from einops import rearrange, repeat

from hallo3_lightning.backbones.face_track import TrackRules, crop, places, tracks
from tests.golden.evaluation_set import recorded

BOX_TOLERANCE = 1e-9
LEVEL_TOLERANCE = 1


@pytest.fixture(scope="module")
def record():
    return recorded("crop")


@pytest.fixture(scope="module")
def track(record):
    told = record.facts["opt"]
    rules = TrackRules(told["num_failed_det"], told["min_track"], told["min_face_size"])
    found = tracks([[face["bbox"] for face in faces] for faces in record.facts["detections"]], rules)
    assert len(found) == record.facts["n_tracks"]
    return found[0]


def test_the_track(record, track):
    assert list(range(track.first, track.first + len(track.boxes))) == record.tensors["track_frame"].tolist()
    assert abs(track.boxes - record.tensors["track_bbox"].numpy()).max() <= BOX_TOLERANCE


def test_the_places(record, track):
    ours = places(track.boxes)
    for values, name in ((ours.x, "proc_x"), (ours.y, "proc_y"), (ours.half, "proc_s")):
        assert abs(values - record.tensors[name].numpy()).max() <= BOX_TOLERANCE


def test_the_crops(record, track):
    small = record.tensors["frames_low_bgr_u8"]
    where = places(track.boxes)
    means = record.tensors["crops_mean"]
    kept = record.tensors["crops_bgr_u8_every5"].numpy()
    for number in range(len(track.boxes)):
        picture = repeat(small[track.first + number], "c h w -> c (h down) (w right)", down=8, right=8)
        ours = crop(rearrange(picture, "c h w -> h w c").numpy(), where, number)
        assert ours.mean() == pytest.approx(float(means[number]), abs=0.1)
        if number % 5 == 0:
            difference = ours.astype(int) - kept[number // 5]
            assert np.abs(difference).max() <= LEVEL_TOLERANCE
