"""How many clips of a test are kept as frames."""

import pytest

from hallo3_lightning.training.record import MOST_BYTES, SHOWN_CLIPS, shown_clips

SOURCES = 3


@pytest.mark.parametrize(
    ("frames", "height", "width", "expected"),
    [(34, 32, 32, SHOWN_CLIPS), (49, 480, 720, 3), (49, 512, 512, SHOWN_CLIPS), (10_000, 480, 720, 1)],
)
def test_frames_are_kept_of_as_many_as_are_shown_or_fit(frames, height, width, expected):
    one = SOURCES * frames * 3 * height * width
    assert shown_clips(one) == expected
    assert expected == 1 or expected * one <= MOST_BYTES
