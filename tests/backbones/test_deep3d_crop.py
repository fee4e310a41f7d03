"""Faces brought to the size and place of R-Net, where the model's points were put there."""

import numpy as np
import pytest

from hallo3_lightning.backbones.deep3d_crop import SCALE, aligned

STANDARD = np.array([[-0.3, 0.3, 0.2], [0.3, 0.3, 0.2], [0.0, 0.0, 0.6], [-0.25, -0.35, 0.3], [0.25, -0.35, 0.3]])
"""Of a face that looks ahead, y up; not those of any model."""


def projected(pixels: float, x: float, y: float, yaw: float = 0.0) -> np.ndarray:
    """Where the points lie [5, 2] in a picture, y down, with the model's origin at (x, y)."""
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    return (STANDARD @ turn.T)[:, :2] * (pixels, -pixels) + (x, y)


def dotted(height: int, width: int, points: np.ndarray) -> np.ndarray:
    """White spots of 5 x 5 pixels on black."""
    picture = np.zeros((height, width, 3), np.uint8)
    for x, y in points.round().astype(int):
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    return picture


def centre(picture: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(picture[..., 0] > 100)
    return np.array([x.mean(), y.mean()])


@pytest.mark.parametrize(("pixels", "x", "y"), [(102, 160, 140), (51, 90, 100), (204, 300, 330)])
@pytest.mark.parametrize("yaw", [0, 0.5])
def test_the_origin_comes_to_the_middle_and_the_unit_to_size(pixels, x, y, yaw):
    landmarks = projected(pixels, x, y, yaw)
    for point, spot in zip(STANDARD, landmarks, strict=True):
        found = centre(aligned(dotted(500, 480, spot[None]), landmarks, STANDARD))
        across = point @ (np.cos(yaw), 0, np.sin(yaw))
        assert found == pytest.approx((112 + across * SCALE, 112 - point[1] * SCALE), abs=2.5)


def test_outside_of_the_picture_is_black():
    found = aligned(np.full((100, 120, 3), 200, np.uint8), projected(102, 20, 30), STANDARD)
    assert found.shape == (224, 224, 3)
    assert found[:70].max() == found[:, :80].max() == 0
    assert found[112, 112].tolist() == [200, 200, 200]


def test_landmarks_on_one_line_are_refused():
    with pytest.raises(ValueError, match="one line"):
        aligned(np.zeros((50, 50, 3), np.uint8), np.arange(10).reshape(5, 2), STANDARD)
