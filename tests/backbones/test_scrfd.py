"""The detector, with a network that sees a face wherever a cell is bright."""

import pickle
import sys

import numpy as np
import pytest

from hallo3_lightning.backbones.onnx_file import OnnxFile
from hallo3_lightning.backbones.scrfd import FaceDetector
from hallo3_lightning.errors import UsageError
from tests.backbones.graphs import LANDMARKS, REACH, write_detector, write_embedder

STRIDES = (8, 16, 32)


def lit(height: int, width: int, *cells: tuple[int, int], side: int, level: int = 255) -> np.ndarray:
    """A black picture with bright cells (row, column)."""
    picture = np.zeros((height, width, 3), np.uint8)
    for row, column in cells:
        picture[row * side : (row + 1) * side, column * side : (column + 1) * side] = level
    return picture


def face(row: int, column: int, stride: float) -> tuple[list[float], list[list[float]]]:
    left, up, right, down = REACH
    box = [column - left, row - up, column + right, row + down]
    return [n * stride for n in box], [[(column + x) * stride, (row + y) * stride] for x, y in LANDMARKS]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_each_level_has_its_stride(tmp_path, level):
    detector = FaceDetector(OnnxFile(write_detector(tmp_path / "d.onnx", level)), size=160)
    stride = STRIDES[level]
    found = detector.detect(lit(160, 160, (1, 3), side=stride))
    box, landmarks = face(1, 3, stride)
    np.testing.assert_allclose(found.boxes, [box], atol=1e-4)
    np.testing.assert_allclose(found.landmarks, [landmarks], atol=1e-4)
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-8 * 127.5 / 128)), rtol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(192, 320), (320, 192), (96, 160), (64, 64)])
def test_places_are_in_pixels_of_the_picture(tmp_path, height, width):
    """A picture is fitted into the square whatever its size and shape, and what is found is told in its own pixels."""
    detector = FaceDetector(OnnxFile(write_detector(tmp_path / "d.onnx")), size=160)
    pixels = max(height, width) / 160
    found = detector.detect(lit(height, width, (2, 1), side=round(16 * pixels)))
    box, landmarks = face(2, 1, 16 * pixels)
    np.testing.assert_allclose(found.boxes[0], box, rtol=1e-3)
    np.testing.assert_allclose(found.landmarks[0], landmarks, rtol=1e-3, atol=1e-3)


def test_a_size_of_the_file_overrules_ours(tmp_path):
    detector = FaceDetector(OnnxFile(write_detector(tmp_path / "d.onnx", size=64)), size=160)
    assert detector.detect(lit(64, 64, (2, 1), side=16)).boxes.tolist() == [face(2, 1, 16)[0]]


def test_of_overlapping_faces_the_surest_remains(tmp_path):
    """Cells side by side overlap by more than 0.4 upwards (2.5 of 4.5 strides), by less sidewards (0.75 of 2.75)."""
    detector = FaceDetector(OnnxFile(write_detector(tmp_path / "d.onnx")), size=160)
    picture = lit(160, 160, (4, 4), side=16) | lit(160, 160, (5, 4), (4, 5), side=16, level=220)
    found = detector.detect(picture)
    assert found.boxes.tolist() == [face(4, 4, 16)[0], face(4, 5, 16)[0]]
    assert found.scores[0] > found.scores[1] > 0.5


def test_nothing_is_found_in_the_dark(tmp_path):
    detector = FaceDetector(OnnxFile(write_detector(tmp_path / "d.onnx")), size=160)
    found = detector.detect(np.zeros((90, 160, 3), np.uint8))
    assert (found.boxes.shape, found.scores.shape, found.landmarks.shape) == ((0, 4), (0,), (0, 5, 2))


def test_it_travels_after_it_was_used(tmp_path):
    detector = FaceDetector(OnnxFile(write_detector(tmp_path / "d.onnx")), size=160)
    picture = lit(96, 160, (1, 1), side=16)
    here = detector.detect(picture)
    there = pickle.loads(pickle.dumps(detector)).detect(picture)
    assert np.array_equal(here.boxes, there.boxes)


def test_without_the_runtime_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'hallo3_lightning\[prepare\]'"):
        FaceDetector(OnnxFile(write_detector(tmp_path / "d.onnx"))).check()


def test_another_file_is_named(tmp_path):
    (tmp_path / "garbage.onnx").write_bytes(b"garbage" * 9)
    with pytest.raises(UsageError, match=r"garbage\.onnx is no ONNX network"):
        FaceDetector(OnnxFile(tmp_path / "garbage.onnx")).check()
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(UsageError, match=r"empty\.onnx is no ONNX network"):
        FaceDetector(OnnxFile(tmp_path / "empty.onnx")).check()
    with pytest.raises(UsageError, match="1 outputs, expected 9"):
        FaceDetector(OnnxFile(write_embedder(tmp_path / "e.onnx"))).check()
    FaceDetector(OnnxFile(write_detector(tmp_path / "d.onnx"))).check()
