"""Frames through codecs: nearly what they were, in their places, and the same every time."""

import numpy as np
import pytest

from hallo3_lightning.backbones.coded import coded


def moving(frames: int = 7, height: int = 34, width: int = 50) -> np.ndarray:
    """A red square on a blue slope, four pixels further in each frame."""
    slope = np.linspace(40, 200, width)
    video = np.zeros((frames, height, width, 3))
    video[..., 2] = slope
    for number in range(frames):
        video[number, 8:20, 4 * number : 4 * number + 12] = (220, 30, 20)
    return video.astype(np.uint8)


@pytest.mark.parametrize("coding", ["mpeg4", "mjpeg"])
@pytest.mark.parametrize("quantizer", [2, None])
def test_frames_come_out_in_their_places_and_nearly_as_they_were(coding, quantizer):
    video = moving()
    out = coded(video, coding, quantizer)
    assert out.shape == video.shape
    assert out.dtype == np.uint8
    errors = [[np.abs(ours.astype(float) - theirs).mean() for theirs in video] for ours in out]
    assert np.argmin(errors, axis=1).tolist() == [*range(len(video))]
    assert 0 < max(errors[i][i] for i in range(len(video))) < 12
    assert np.array_equal(out, coded(video, coding, quantizer))


@pytest.mark.parametrize("coding", ["mpeg4", "mjpeg"])
def test_a_coarser_quantizer_loses_more_and_colours_keep_their_order(coding):
    video = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    fine, coarse = (np.abs(coded(video, coding, q).astype(float) - video).mean() for q in (2, 20))
    assert coarse > fine
    red = np.zeros((2, 33, 47, 3), np.uint8)
    red[..., 0] = 200
    assert coded(red, coding)[1, 16, 20].astype(int) == pytest.approx([200, 0, 0], abs=6)
