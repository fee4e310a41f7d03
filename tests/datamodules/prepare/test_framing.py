import numpy as np
import pytest

from datamodules.prepare.framing import FITS, framing

SOURCE, SIZE = (40, 30), (24, 36)
"""Height and width: a tall picture for a wide one."""


def ramp(height: int, width: int) -> np.ndarray:
    """Red grows to the right, green downwards, as the coordinates of the pixels' centres."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0] = np.rint((np.arange(width) + 0.5) * 6)
    frame[..., 1] = np.rint((np.arange(height)[:, None] + 0.5) * 6)
    frame[..., 2] = 77
    return frame


@pytest.mark.parametrize("fit", FITS)
def test_every_fit_gives_pictures_of_the_size_asked_for(fit):
    assert framing(SOURCE, SIZE, fit).draw(ramp(*SOURCE)).shape == (*SIZE, 3)


@pytest.mark.parametrize(
    ("fit", "aspect_kept", "bars"),
    [("crop", True, 0), ("pad", True, 36 - 18), ("square", False, 12), ("stretch", False, 0)],
)
def test_what_a_fit_keeps(fit, aspect_kept, bars):
    how = framing(SOURCE, SIZE, fit)
    (x0, y0, x1, y1), (u0, v0, u1, v1) = how.region, how.target
    assert ((u1 - u0) / (x1 - x0) == pytest.approx((v1 - v0) / (y1 - y0))) == aspect_kept
    black = (how.draw(ramp(*SOURCE)) == 0).all(axis=(0, 2))
    assert black.sum() == bars
    assert black[: bars // 2].all()
    assert black[36 - bars // 2 :].all()


def test_crop_takes_the_middle():
    how = framing((40, 30), (20, 30), "crop")
    assert np.array_equal(how.draw(ramp(40, 30)), ramp(40, 30)[10:30])


@pytest.mark.parametrize("fit", FITS)
def test_a_box_goes_where_the_picture_goes(fit):
    """A white rectangle in a grey picture is found again where the mapped box says."""
    frame = np.full((*SOURCE, 3), 60, np.uint8)
    frame[15:27, 9:20] = 255
    how = framing(SOURCE, SIZE, fit)
    rows, columns = np.nonzero(how.draw(frame)[..., 0] > 150)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    box = how.box((9, 15, 20, 27))
    assert box is not None
    assert np.abs(np.subtract(seen, box)).max() <= 1
    assert 0 <= box[0] < box[2] <= 36
    assert 0 <= box[1] < box[3] <= 24


def test_a_box_is_whole_pixels_and_only_what_is_seen():
    how = framing((40, 30), (20, 30), "crop")
    assert how.box((2.4, 12.5, 7.5, 50.0)) == [2, 2, 8, 20]
    assert how.box((2, 1, 7, 9)) is None


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_pixels_that_are_not_square_are_shown_as_meant(fit):
    """Half as wide, each pixel twice as wide: the same picture, but for what the narrow one lacks in detail."""
    narrow = framing((40, 15), SIZE, fit, pixel_aspect=2.0)
    assert narrow.target == framing((40, 30), SIZE, fit).target
    wide = framing((40, 30), SIZE, fit).draw(ramp(40, 30)).astype(int)
    inside = (slice(3, -3), slice(12, 24), slice(0, 2))
    assert np.abs(narrow.draw(ramp(40, 30)[:, ::2])[inside] - wide[inside]).max() <= 6


def test_enlargement_is_that_of_the_axis_that_grows_most():
    assert framing((40, 30), (20, 60), "stretch").enlargement == 2
    assert framing((40, 30), (20, 30), "crop").enlargement == 1
