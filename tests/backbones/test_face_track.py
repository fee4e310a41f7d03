"""Faces followed through frames, and crops around them, where the answer is known."""

import numpy as np
import pytest

from hallo3_lightning.backbones.face_track import PADDING, SIZE, TrackRules, crop, every_frame, places, tracks

RULES = TrackRules(most_missed=2, more_than=3, larger_than=10)


def still(x: float, y: float, side: float = 20.0) -> list[float]:
    return [x, y, x + side, y + side]


def test_two_faces_are_two_tracks_whatever_their_order_in_a_frame():
    left, right = still(0, 5), still(50, 5)
    found = tracks([[left, right], [right, left], [right], [left, right], [right, left]], RULES)
    assert [track.first for track in found] == [0, 0]
    assert [track.boxes[:, 0].tolist() for track in found] == [[0] * 5, [50] * 5]


def test_a_gap_is_bridged_on_a_straight_line_up_to_a_length():
    def moving(number: int) -> list[float]:
        return still(2 * number, 5)

    bridged = [[moving(n)] if n not in (2,) else [] for n in range(6)]
    (track,) = tracks(bridged, RULES)
    assert track.boxes[:, 0].tolist() == [0, 2, 4, 6, 8, 10]
    parted = [[moving(n)] if n not in (4, 5) else [] for n in range(10)]
    assert [(track.first, len(track.boxes)) for track in tracks(parted, RULES)] == [(0, 4), (6, 4)]


def test_a_jump_ends_a_track():
    found = tracks([[still(0, 5)]] * 4 + [[still(12, 5)]] * 5, RULES)
    assert [(track.first, len(track.boxes)) for track in found] == [(0, 4), (4, 5)]


def test_short_and_small_tracks_are_left_out():
    assert tracks([[still(0, 5)]] * 3, RULES) == []
    assert tracks([[still(0, 5, side=10)]] * 9, RULES) == []
    assert tracks([[], []], RULES) == []


def test_boxes_of_some_frames_become_boxes_of_all():
    found = every_frame({4: [0, 1, 2, 3], 8: [8, 1, 10, 3]}, range(2, 11))
    assert found[:, 0].tolist() == [0, 0, 0, 2, 4, 6, 8, 8, 8]
    assert found[:, 3].tolist() == [3] * 9


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    y, x = np.mgrid[:90, :120]
    return np.stack([x, y, x + y], axis=-1).astype(np.uint8)


def test_a_crop_reaches_further_down_and_to_the_sides(picture):
    """Half the side is 10: rows y - 10 .. y + 18, columns x - 14 .. x + 14, of which there are 28 each."""
    seen = crop(picture, places(np.tile(still(50, 30), (13, 1))), 6)
    step = 28 / SIZE
    centres = (np.arange(SIZE) + 0.5) * step - 0.5
    np.testing.assert_allclose(seen[100, :, 0], np.clip(46 + centres, 46, 73), atol=0.51)
    np.testing.assert_allclose(seen[:, 100, 1], np.clip(30 + centres, 30, 57), atol=0.51)


def test_beyond_the_picture_is_grey(picture):
    seen = crop(picture, places(np.tile(still(-10, 60, side=40), (13, 1))), 6)
    assert (seen[:, :60] == PADDING).all()
    assert (seen[160:] == PADDING).all()
    assert (seen[:100, 120:, 1] != PADDING).all()


def test_a_face_of_no_size_is_one_pixel(picture):
    seen = crop(picture, places(np.tile([50.0, 30.0, 50.0, 30.0], (13, 1))), 6)
    assert (seen == (50, 30, 80)).all()
