from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules.clip import cut
from datamodules.synthetic.take import make_take
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, SAMPLES_PER_FRAME


@pytest.fixture(scope="module")
def sample():
    return make_take(1, 0, frames=11, size=16)


def test_clip_is_the_frames_asked_for(sample):
    batch = cut(sample, position=7, start=2, frames=5, reference=9)
    assert batch.video.shape == (1, 5, 3, 16, 16)
    assert batch.positions.tolist() == [7]
    assert batch.starts.tolist() == [2]
    for frame in range(5):
        np.testing.assert_array_equal(batch.video[0, frame].permute(1, 2, 0), sample.video[2 + frame])
    np.testing.assert_array_equal(batch.reference[0].permute(1, 2, 0), sample.video[9])
    assert batch.truth.keys() == sample.truth.keys()
    for name, track in sample.truth.items():
        np.testing.assert_array_equal(batch.truth[name][0], track[2:7])


@pytest.mark.parametrize(("start", "frames", "left", "right"), [(0, 5, 2, 0), (1, 5, 1, 0), (4, 5, 0, 0), (6, 5, 0, 2)])
def test_waveform_has_real_neighbours_and_zeros_beyond_the_take(sample, start, frames, left, right):
    """left, right: frames of the context that lie outside the take."""
    loud = replace(sample, waveform=np.arange(1, len(sample.waveform) + 1, dtype=np.int16))
    waveform = cut(loud, 0, start, frames, 0).waveform[0] * 32768
    assert len(waveform) == (frames + 2 * AUDIO_CONTEXT_FRAMES) * SAMPLES_PER_FRAME
    first, last = left * SAMPLES_PER_FRAME, len(waveform) - right * SAMPLES_PER_FRAME
    assert not waveform[:first].any()
    assert not waveform[last:].any()
    begin = max(start - AUDIO_CONTEXT_FRAMES, 0) * SAMPLES_PER_FRAME
    torch.testing.assert_close(waveform[first:last], torch.arange(begin + 1, begin + 1 + last - first).float())


def test_face_mask_is_the_box(sample):
    boxed = replace(sample, facts={**sample.facts, "face_box": [3, 1, 10, 6]})
    mask = cut(boxed, 0, 0, 5, 0).face_mask[0, 0]
    assert mask.sum() == 7 * 5
    assert mask[1:6, 3:10].all()


def test_what_is_not_known_is_not_there(sample):
    bare = replace(sample, facts={**sample.facts, "face_box": None}, waveform=None, face_embedding=None, truth=None)
    assert cut(bare, 0, 0, 5, 0).present() == ["captions", "video", "reference"]


def test_shown_frames_are_the_first_of_the_clip(sample):
    batch = cut(sample, position=0, start=2, frames=5, reference=0, shown=3)
    np.testing.assert_array_equal(batch.video[0].permute(0, 2, 3, 1), sample.video[2:5])
    assert batch.waveform.shape[1] == (5 + 2 * AUDIO_CONTEXT_FRAMES) * SAMPLES_PER_FRAME
