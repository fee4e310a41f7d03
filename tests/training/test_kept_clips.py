"""Clips that a run keeps: the frames and the sound of their own, under the right names."""

import av
import numpy as np
import pytest
import torch
from einops import rearrange

from hallo3_lightning.batch import Batch
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, SAMPLES_PER_FRAME, audio_samples
from hallo3_lightning.training.kept_clips import LEAST_SIDE, NAME, KeptClips, read

CLIPS, FRAMES, HEIGHT, WIDTH = 3, 7, 20, 24


def batch(**fields) -> Batch:
    """Clips of one grey each; the first half silent but for its neighbours, the second loud."""
    waveform = torch.zeros(CLIPS, audio_samples(FRAMES + 2 * AUDIO_CONTEXT_FRAMES))
    waveform[:, audio_samples(AUDIO_CONTEXT_FRAMES + 4) :] = 0.5
    waveform[:, : audio_samples(AUDIO_CONTEXT_FRAMES)] = 1.0
    known = {"captions": ("one", "two", "three"), "waveform": waveform, "starts": torch.tensor([0, 0, 9])}
    return Batch(keys=("a", "../b", "c"), **{"video": greys(50), **known, **fields})


def greys(first: int, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    shades = first + 60 * torch.arange(CLIPS, dtype=torch.uint8)
    return rearrange(shades, "b -> b 1 1 1 1").expand(-1, FRAMES, 3, height, width)


def kept(folder, clips: Batch, most: int = CLIPS):
    keeper = KeptClips(folder, most)
    keeper.add(clips, {"truth": clips.video, "generated": greys(20)})
    keeper.close()
    return read(folder)


def test_each_clip_has_its_frames_under_its_name(tmp_path):
    clips = kept(tmp_path, batch())
    assert [(clip.clip, clip.caption, clip.frames) for clip in clips] == [
        ("a", "one", FRAMES),
        ("../b", "two", FRAMES),
        ("c@9", "three", FRAMES),
    ]
    for i, clip in enumerate(clips):
        for source, shade in (("truth", 50 + 60 * i), ("generated", 20 + 60 * i)):
            with av.open(str(tmp_path / clip.files[source])) as video:
                frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
            assert len(frames) == FRAMES
            assert frames[0].mean() == pytest.approx(shade, abs=3)
            assert min(frames[0].shape[:2]) >= LEAST_SIDE
            assert frames[0].shape[0] * WIDTH == frames[0].shape[1] * HEIGHT


def test_the_sound_is_the_clips_own_without_its_neighbours(tmp_path):
    clip = kept(tmp_path, batch(), most=1)[0]
    assert clip.loudness == pytest.approx([0] * 4 + [0.5] * 3, abs=1e-3)
    with av.open(str(tmp_path / clip.files["generated"])) as video:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in video.decode(audio=0)])
    halves = sound[: 3 * SAMPLES_PER_FRAME], sound[5 * SAMPLES_PER_FRAME : FRAMES * SAMPLES_PER_FRAME]
    assert np.abs(halves[0]).mean() < 0.02
    assert np.abs(halves[1]).mean() == pytest.approx(0.5, abs=0.1)


def test_only_the_first_that_count_are_kept(tmp_path):
    assert [clip.clip for clip in kept(tmp_path, batch(counted=torch.tensor([True, False, True])), most=2)] == [
        "a",
        "c@9",
    ]


def test_real_clips_have_no_mouth_curves_and_may_be_silent(tmp_path):
    clip = kept(tmp_path, batch(waveform=None, captions=None), most=1)[0]
    assert (clip.loudness, clip.mouth, clip.caption) == ((), {}, "")
    drawn = kept(tmp_path, batch(truth={"aperture": torch.zeros(CLIPS, FRAMES)}), most=1)[0]
    assert {source: len(curve) for source, curve in drawn.mouth.items()} == {"truth": FRAMES, "generated": FRAMES}


def test_odd_sizes_are_written(tmp_path):
    odd = batch(video=greys(50, height=LEAST_SIDE + 1, width=LEAST_SIDE + 3))
    assert len(kept(tmp_path, odd, most=1)) == 1


def test_nothing_kept_and_a_damaged_page(tmp_path):
    assert read(tmp_path) == []
    for text in ("{", "[]", '{"clips": [{"clip": "a"}]}', '{"clips": 3}'):
        (tmp_path / NAME).write_text(text)
        with pytest.raises(UsageError, match="damaged; `hallo3 test`"):
            read(tmp_path)
