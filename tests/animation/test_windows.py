"""A video is its windows, joined: every frame once, in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallo3_lightning.animation.windows import check_blend_frames, check_motion_frames, windows, windows_as_heard
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import pixel_frames


@given(total=st.integers(1, 90), latents=st.integers(1, 6), data=st.data())
def test_windows_bring_every_frame_once_and_in_order(total, latents, data):
    clip = pixel_frames(latents)
    motion = data.draw(st.integers(0, clip - 1))
    found = windows(total, clip, motion)
    new = [frame for window in found for frame in range(window.start + window.kept_from, window.stop)]
    assert new == list(range(total))
    assert [window.index for window in found] == list(range(len(found)))
    for before, window in zip(found, found[1:], strict=False):
        assert window.kept_from == motion, "what is not new was carried over"
        assert window.start + motion == before.stop
        assert before.stop - before.start == clip, "only the last window may be cut short"


@given(total=st.integers(1, 200), motion=st.integers(0, 12))
def test_the_published_loop_brings_every_frame_once_too(total, motion):
    found = windows(total, 13, motion, "published")
    assert [f for w in found for f in range(w.start + w.kept_from, w.stop)] == list(range(total))
    assert all(window.kept_from == motion for window in found)
    assert len(found) >= len(windows(total, 13, motion))


@pytest.mark.parametrize(
    ("frames", "published", "needed"), [(40, 2, 1), (60, 3, 2), (49, 2, 1), (96, 3, 2), (750, 17, 16)]
)
def test_the_published_loop_samples_windows_in_vain(frames, published, needed):
    """Of 49 frames, 2 of them motion frames: the sound is filled up to a multiple of 49 and cut every 47."""
    assert len(windows(frames, 49, 2, "published")) == published
    assert len(windows(frames, 49, 2)) == needed


def test_without_sound_there_is_no_window():
    assert windows(0, 9, 2) == windows(0, 9, 2, "published") == []


@pytest.mark.parametrize("loop", ["exact", "published"])
def test_windows_are_the_same_from_any_on(loop):
    found = windows(31, 9, 2, loop)
    for first in range(len(found) + 1):
        assert list(windows_as_heard(lambda _, stop: min(stop, 31), 9, 2, loop, first)) == found[first:]


def test_a_window_waits_for_no_more_than_its_own_sound():
    asked = []

    def there(start: int, stop: int) -> int:
        asked.append((start, stop))
        return stop

    endless = windows_as_heard(there, 9, 2)
    assert [next(endless).index for _ in range(3)] == [0, 1, 2]
    assert asked == [(0, 9), (7, 16), (14, 23)]


@pytest.mark.parametrize(("asked", "sentence"), [(4, "were trained with 2"), (9, "give 0 to 8"), (-1, "give 0 to 8")])
def test_motion_frames_that_the_weights_never_saw(asked, sentence):
    check_motion_frames(2, trained=2, clip_frames=9)
    with pytest.raises(UsageError, match=sentence):
        check_motion_frames(asked, trained=2, clip_frames=9)


@pytest.mark.parametrize(("motion_frames", "new"), [(0, 9), (2, 7)])
def test_no_more_frames_are_blended_than_are_new(motion_frames, new):
    check_blend_frames(new, motion_frames, clip_frames=9)
    with pytest.raises(UsageError, match=f"{new + 1} frames to blend over .* brings {new} new ones; give 0 to {new}"):
        check_blend_frames(new + 1, motion_frames, clip_frames=9)
