"""Tracks of faces and the crops around them, against run_pipeline.py of joonson/syncnet_python."""

import numpy as np
import pytest
from einops import rearrange, repeat

from hallo3_lightning.backbones.face_track import TrackRules, crop, places, tracks
from tests.golden.evaluation_set import recorded

BOX_TOLERANCE = 1e-9
LEVEL_TOLERANCE = 1

MAGNIFIED, EVERY = 8, 5
"""How pictures are kept in a record: every pixel stands for a square of so many a side, and every so many-th crop."""


@pytest.fixture(scope="module")
def record():
    return recorded("crop")


@pytest.fixture(scope="module")
def track(record):
    told = record.facts["opt"]
    rules = TrackRules(told["num_failed_det"], told["min_track"], told["min_face_size"])
    found = tracks([[face["bbox"] for face in faces] for faces in record.facts["detections"]], rules)
    assert len(found) == record.facts["n_tracks"]
    frames = record.tensors["track_frame"].tolist()  # of one of them
    return next(track for track in found if [track.first, len(track.boxes)] == [frames[0], len(frames)])


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
    kept = record.tensors[f"crops_bgr_u8_every{EVERY}"].numpy()
    for number in range(len(track.boxes)):
        picture = repeat(small[track.first + number], "c h w -> c (h down) (w right)", down=MAGNIFIED, right=MAGNIFIED)
        ours = crop(rearrange(picture, "c h w -> h w c").numpy(), where, number)
        assert ours.mean() == pytest.approx(float(means[number]), abs=0.1)
        if number % EVERY == 0:
            difference = ours.astype(int) - kept[number // EVERY]
            assert np.abs(difference).max() <= LEVEL_TOLERANCE
