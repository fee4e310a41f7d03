"""Numbers beside videos: read as they are, and every fault a status of its own."""

import numpy as np
import pytest

from hallo3_lightning.evaluation.feature import measured
from hallo3_lightning.evaluation.folders import Video
from hallo3_lightning.evaluation.footage import MEASURED, Footage
from hallo3_lightning.evaluation.given_file import EXPRESSION, LANDMARKS
from hallo3_lightning.evaluation.networks import Networks

FRAMES = 5


def made(folder, feature: str):
    frames = np.zeros((FRAMES, 8, 9, 3), np.uint8)
    return measured(feature, Footage("a.b", frames, None, file=folder / "a.b.mp4"), Networks())


def test_the_rows_of_the_frames_that_are_looked_at(tmp_path):
    numbers = np.random.default_rng(0).normal(size=(FRAMES + 2, 7)).astype(np.float32)
    np.save(tmp_path / f"a.b{EXPRESSION}", numbers)
    assert np.array_equal(made(tmp_path, "expression_file/given").values["rows"].numpy(), numbers[:FRAMES])
    points = np.random.default_rng(1).normal(size=(FRAMES, 68, 3))
    points[2] = np.nan
    np.save(tmp_path / f"a.b{LANDMARKS}", points)
    found = made(tmp_path, "landmarks_file/given")
    assert found.status == MEASURED
    assert np.array_equal(found.values["landmarks"].numpy(), points[..., :2], equal_nan=True)


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        (None, "no landmarks.npy beside the video"),
        (b"nonsense", "landmarks.npy cannot be read"),
        (np.zeros((FRAMES, 68, 2), int), r"landmarks.npy is not float [F, ...]"),
        (np.zeros((FRAMES - 1, 68, 2)), "landmarks.npy has fewer rows than the video has frames at 25 a second"),
        (np.zeros((FRAMES, 106, 2)), r"landmarks.npy is not float [F, 68, 2] or [F, 68, 3]"),
        (np.zeros((FRAMES, 68)), r"landmarks.npy is not float [F, 68, 2] or [F, 68, 3]"),
    ],
)
def test_every_fault_is_a_status(tmp_path, numbers, status):
    if isinstance(numbers, bytes):
        (tmp_path / f"a.b{LANDMARKS}").write_bytes(numbers)
    elif numbers is not None:
        np.save(tmp_path / f"a.b{LANDMARKS}", numbers)
    assert made(tmp_path, "landmarks_file/given").status == status


def test_a_file_that_comes_later_is_seen(tmp_path):
    (tmp_path / "a.b.mp4").write_bytes(b"video")
    video = Video("fake", "a.b", tmp_path / "a.b.mp4", "a.b.mp4", None)
    before = video.state
    np.save(tmp_path / f"a.b{LANDMARKS}", np.zeros((1, 68, 2)))
    assert video.state != before
