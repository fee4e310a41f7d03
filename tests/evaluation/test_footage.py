"""One clip as all features see it."""

import json

import numpy as np
import pytest

from datamodules.prepare.faces import FacesFile
from datamodules.video.video_file import write_mp4
from hallo3_lightning.evaluation.footage import Framing, shoot


@pytest.fixture
def video(tmp_path):
    """40 x 96, 9 frames, a white square on black at rows 8 to 24 and columns 40 to 56, and a face told there."""
    frames = np.zeros((9, 40, 96, 3), np.uint8)
    frames[:, 8:24, 40:56] = 255
    write_mp4(tmp_path / "a.mp4", frames, np.zeros(9 * 640, np.int16))
    face = {"box": [40, 8, 56, 24], "landmarks": [[40, 8], [56, 8], [48, 16], [40, 24], [56, 24]]}
    (tmp_path / "faces.jsonl").write_text(json.dumps({"video": "a.mp4", "faces": [face]}) + "\n")
    return tmp_path / "a.mp4"


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_faces_stay_on_the_pixels_that_they_were_told_of(video, fit):
    faces = FacesFile(video.parent / "faces.jsonl")
    found = shoot(video, "a", "a.mp4", Framing(5, (80, 120), fit), faces)
    assert found.frames.shape == (5, 80, 120, 3)
    assert found.sound.shape == (5 * 640,)
    rows, columns = np.nonzero(found.frames[2, ..., 1] > 128)
    box = found.faces[2].box
    assert box == pytest.approx((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), abs=1.5)
    assert found.faces[2].landmarks[0] == pytest.approx(box[:2])


def test_no_size_leaves_pixels_and_boxes_alone(video):
    found = shoot(video, "a", "a.mp4", Framing(), FacesFile(video.parent / "faces.jsonl"))
    assert found.frames.shape == (9, 40, 96, 3)
    assert found.faces[0].box == (40, 8, 56, 24)
    assert shoot(video, "a", "a.mp4", Framing()).faces == [None] * 9
