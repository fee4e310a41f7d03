"""Pictures at other sizes, where the answer is known: a slope stays a slope."""

import numpy as np
import pytest

from hallo3_lightning.backbones.resample import averaged, resized, scaled


def slope(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([2.0 * x, 3.0 * y], axis=-1)


@pytest.mark.parametrize(("height", "width"), [(5, 7), (10, 28), (60, 20), (13, 30)])
def test_pixels_are_areas(height, width):
    seen = resized(slope(20, 14), height, width)
    assert seen.dtype == np.float32
    x = np.clip((np.arange(width) + 0.5) * 14 / width - 0.5, 0, 13)
    y = np.clip((np.arange(height) + 0.5) * 20 / height - 0.5, 0, 19)
    np.testing.assert_allclose(seen[1, :, 0], 2 * x, atol=0.5)
    np.testing.assert_allclose(seen[:, 1, 1], 3 * y, atol=0.5)


def test_its_own_size_changes_nothing():
    assert np.array_equal(resized(slope(20, 14), 20, 14), slope(20, 14))


def test_a_factor_is_not_rounded_to_the_size():
    """21 x 15 times 0.25 are 5 x 4 pixels, 4 apart, whatever 15 / 4 is."""
    seen = scaled(slope(21, 15), 0.25)
    assert seen.shape == (5, 4, 2)
    assert seen[0, :, 0].tolist() == [3, 11, 19, 27]
    assert seen[:, 0, 1].tolist() == [4, 16, 28, 40, 52]


def test_averaging_keeps_the_mean_and_shares_pixels_by_area():
    """Three columns to two: each has one and a half of them."""
    picture = np.array([[[0.0], [90.0], [30.0]]] * 2)
    assert averaged(picture, 1, 2)[0, :, 0].tolist() == [30, 50]
    large = np.random.default_rng(0).uniform(0, 255, (40, 30, 3))
    assert averaged(large, 7, 11).mean(axis=(0, 1)) == pytest.approx(large.mean(axis=(0, 1)), abs=0.5)


def test_averaging_goes_between_neighbours_where_a_side_grows():
    """By the rule of OpenCV's source, weights of the next pixel along a side from 2 to 5: 0, 0, 1/2, 0, 0."""
    picture = np.array([[[0.0], [100.0]]] * 2)
    assert averaged(picture, 2, 5)[0, :, 0].tolist() == [0, 0, 50, 100, 100]
