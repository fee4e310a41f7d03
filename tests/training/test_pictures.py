"""What is drawn is what was given, in its place."""

import io

import numpy as np
import torch
from PIL import Image

from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, FPS, audio_samples
from hallo3_lightning.training.pictures import ENLARGED, gif, strip, waveforms


def test_a_strip_has_truth_above_and_generated_below():
    truth = torch.full((2, 5, 3, 4, 6), 200, dtype=torch.uint8)
    made = torch.full((2, 5, 3, 4, 6), 10, dtype=torch.uint8)
    drawn = strip(truth, made)
    assert drawn.shape == (3, 2 * 2 * 4 * ENLARGED, 5 * 6 * ENLARGED)
    assert drawn[0, :, 0].tolist() == ([200] * 4 * ENLARGED + [10] * 4 * ENLARGED) * 2


def test_a_strip_goes_from_the_first_frame_to_the_last():
    frames = torch.arange(33, dtype=torch.uint8).reshape(1, 33, 1, 1, 1).expand(1, 33, 3, 2, 2)
    assert strip(frames, frames)[0, 0, :: 2 * ENLARGED].tolist() == [0, 4, 8, 12, 16, 20, 24, 28, 32]


def test_a_gif_has_its_frames_at_their_speed():
    frames = np.arange(7, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(9, 2).repeat(3, 3) * 30
    picture = Image.open(io.BytesIO(gif(frames)))
    assert (picture.n_frames, picture.size, picture.info["duration"]) == (7, (9, 8), 1000 // FPS)
    picture.seek(4)
    assert np.array(picture.convert("RGB"))[0, 0].tolist() == [120, 120, 120]


def test_a_waveform_is_dark_where_the_sound_is_loud_and_its_mark_moves():
    frames, width, height = 10, 40, 32
    sound = torch.zeros(1, audio_samples(frames + 2 * AUDIO_CONTEXT_FRAMES))
    start = audio_samples(AUDIO_CONTEXT_FRAMES + frames // 2)
    sound[:, start : start + audio_samples(frames // 2)] = 0.5  # the second half of the clip, without its neighbours
    drawn = waveforms(sound, torch.zeros(frames, 8, width, 3), height)
    dark = (drawn[0][..., 0] == 40).sum(0)
    assert set(dark[width // 2 + 1 :].tolist()) == {height}
    assert set(dark[width // frames : width // 2].tolist()) == {2}, "a thin line in silence"
    marks = [int((picture[0, :, 0] == 220).nonzero()) for picture in drawn]
    assert marks == sorted(set(marks))
    assert 0 <= marks[0] < width // frames
    assert width - width // frames <= marks[-1] < width
