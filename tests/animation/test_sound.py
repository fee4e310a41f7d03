"""What a window hears: its own frames and their neighbours, whatever the pieces in which sound comes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from hallo3_lightning.animation.sound import ArrivingSound, KnownSound, published_sound
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, SAMPLES_PER_FRAME, audio_samples
from hallo3_lightning.model.encoders.audio.log_mel import LogMel
from hallo3_lightning.model.frozen import windows
from tests import tiny

FRAMES = 23
SOUND = torch.tanh(tiny.draw(2, audio_samples(FRAMES) - 100, name="sound"))


def as_in_training(start: int, count: int) -> Tensor:
    """Features of a clip cut from the sound, with two frames more on either side and silence beyond the ends."""
    around = audio_samples(AUDIO_CONTEXT_FRAMES)
    silent = pad(SOUND, (around, audio_samples(count) + around + 100))
    return windows(LogMel().encode(silent[:, audio_samples(start) : audio_samples(start + count) + 2 * around]))


@given(cuts=st.lists(st.integers(1, 5000), min_size=1, max_size=6))
def test_pieces_of_any_size_are_heard_as_a_clip_is_in_training(cuts):
    sound = ArrivingSound(iter(cut_up(cuts)), LogMel())
    for start in (0, 7, 14, 21):
        assert sound.there(start, start + 9) == min(start + 9, FRAMES)
        assert torch.equal(sound.features(start, 9), as_in_training(start, 9))


def cut_up(cuts: list[int]) -> list[Tensor]:
    found, rest = [], SOUND
    for cut in cuts:
        found.append(rest[:, :cut])
        rest = rest[:, cut:]
    return [*found, rest]


@pytest.mark.parametrize("around", [(2, 2), (5, 3)])
def test_it_waits_for_what_is_heard_behind_a_window_and_no_more(around):
    before, after = around
    taken: list[int] = []
    pieces = (taken.append(i) or SOUND[:, i : i + SAMPLES_PER_FRAME] for i in range(0, 14_720, SAMPLES_PER_FRAME))
    sound = ArrivingSound(pieces, LogMel(), before, after)
    assert taken == []
    sound.there(0, 9)
    assert len(taken) == 9 + after
    sound.there(7, 16)
    assert len(taken) == 16 + after


def test_an_encoder_that_hears_more_hears_the_same_inside():
    near, far = (ArrivingSound([SOUND], LogMel(), around, around) for around in (3, 6))
    torch.testing.assert_close(near.features(7, 9), far.features(7, 9))


def test_what_is_past_is_forgotten():
    sound = ArrivingSound((SOUND[:, :1000] for _ in range(1000)), LogMel())
    for start in range(0, 1500, 7):
        sound.features(start, 9)
        assert sound._kept.shape[1] <= audio_samples(9 + 2 + 2) + 1000
        assert sound._kept.untyped_storage().nbytes() <= 8 * (audio_samples(9 + 2 + 2) + 1000)


def test_sound_that_never_came():
    sound = ArrivingSound([], LogMel())
    assert sound.there(0, 9) == 0
    assert sound.features(0, 9) is None


def test_known_features_are_zero_before_they_begin_and_repeated_where_they_end():
    features = torch.arange(1.0, 6).reshape(1, 5, 1, 1, 1)
    sound = KnownSound(features, 5)
    assert sound.features(-2, 4).flatten().tolist() == [0, 0, 1, 2]
    assert sound.features(3, 4).flatten().tolist() == [4, 5, 5, 5]
    assert sound.features(7, 2).flatten().tolist() == [5, 5]
    assert (sound.there(0, 4), sound.there(3, 7)) == (4, 5)
    assert KnownSound(None, 5).features(0, 4) is None


def test_the_published_sound_is_filled_up_with_silence_and_heard_all_at_once():
    sound = published_sound(SOUND, LogMel(), clip_frames=9)
    assert sound.total_frames == FRAMES
    whole = sound.features(0, 27)
    assert torch.equal(
        whole[:, 2:21], windows(LogMel().encode(pad(SOUND, (0, audio_samples(27) - SOUND.shape[1]))))[:, :19]
    )
    assert torch.equal(whole[:, 0, 0], whole[:, 0, 2]), "what would be before the first frame"
    assert torch.equal(whole[:, 26, 3], whole[:, 26, 2]), "what would be behind the last"
