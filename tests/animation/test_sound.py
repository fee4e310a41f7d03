"""What a window hears: its own frames and their neighbours, whatever the pieces in which sound comes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Wav2Vec2Config, Wav2Vec2Model

from hallo3_lightning.animation.sound import ArrivingSound, ClipSound, KnownSound, published_sound, whole_sound
from hallo3_lightning.batch import Batch
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, SAMPLES_PER_FRAME, audio_samples
from hallo3_lightning.model.encoders.audio.log_mel import LogMel
from hallo3_lightning.model.encoders.audio.wav2vec2 import Wav2Vec2Audio
from hallo3_lightning.model.frozen import AudioEncoder, windows
from tests import tiny

FRAMES = 23
SOUND = torch.tanh(tiny.draw(2, audio_samples(FRAMES) - 100, name="sound"))


def wav2vec2() -> Wav2Vec2Audio:
    """A tiny one with random weights: its features depend on everything that it hears."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    return Wav2Vec2Audio(Wav2Vec2Model(config)).requires_grad_(False).eval()


NEAR, FAR = LogMel(), wav2vec2()


def as_in_training(start: int, count: int, encoder: AudioEncoder = NEAR, around: int = AUDIO_CONTEXT_FRAMES) -> Tensor:
    """Features of a clip cut from the sound, heard with what is `around` it, and two silent frames where the sound ends.

    Frames behind the end have those of the last.
    """
    silence = audio_samples(AUDIO_CONTEXT_FRAMES)
    silent = pad(SOUND, (silence, silence + 100))
    stop = min(start + count, FRAMES)
    first, last = max(start - around + 2, 0), min(stop + around - 2, FRAMES)
    clip = windows(encoder.encode(silent[:, audio_samples(first) : audio_samples(last) + 2 * silence]))
    clip = clip[:, start - first : stop - first]
    return torch.cat([clip, *[clip[:, -1:]] * (start + count - stop)], dim=1)


@pytest.mark.parametrize(("encoder", "around"), [(NEAR, 2), (FAR, 2), (FAR, 5), (FAR, 12)])
@given(cuts=st.lists(st.integers(1, 5000), min_size=1, max_size=6))
@settings(max_examples=10, deadline=None)
def test_pieces_of_any_size_are_heard_as_a_clip_is_in_training(encoder, around, cuts):
    sound = ArrivingSound(iter(cut_up(cuts)), encoder, around, around)
    for start in (0, 7, 14, 21):
        assert sound.there(start, start + 9) == min(start + 9, FRAMES)
        assert torch.equal(sound.features(start, 9), as_in_training(start, 9, encoder, around))


@pytest.mark.parametrize(("encoder", "around"), [(NEAR, NEAR.context_frames), (FAR, FRAMES), (FAR, 1000)])
def test_a_context_as_wide_as_the_sound_gives_the_features_of_a_cached_take(animator, encoder, around):
    """And so does all of it at once; for an encoder that does not hear far, its own context does."""
    encoders = animator.encoders
    kept, encoders.audio = encoders.audio, encoder
    taken, known = encoders.whole_take(pad(SOUND, (0, 100))), whole_sound(SOUND, encoders)
    encoders.audio = kept
    sound = ArrivingSound(SOUND.split(777, dim=1), encoder, around, around)
    for start in (0, 7, 14):
        assert torch.equal(known.features(start, 9), windows(taken[:, start : start + 13]))
        assert torch.equal(sound.features(start, 9), known.features(start, 9))
    assert torch.equal(sound.features(21, 9), known.features(21, 9))
    assert known.there(14, 30) == FRAMES


@pytest.mark.parametrize("encoder", [NEAR, FAR])
def test_a_window_of_a_clip_is_heard_as_a_clip_of_its_own(encoder):
    clip = torch.tanh(tiny.draw(2, audio_samples(23 + 4), name="clip"))
    sound = ClipSound(clip, encoder, total_frames=21)

    def alone(start: int, stop: int) -> Tensor:
        return windows(encoder.encode(clip[:, audio_samples(start) : audio_samples(stop + 4)]))

    assert (sound.there(0, 9), sound.there(14, 23)) == (9, 21)
    for start in (0, 7, 14):
        assert torch.equal(sound.features(start, 9), alone(start, start + 9))
    assert torch.equal(sound.features(17, 9)[:, :6], alone(17, 23))
    assert torch.equal(sound.features(17, 9)[:, 8], alone(17, 23)[:, -1])
    assert torch.equal(sound.features(-2, 9)[:, 2:], alone(0, 7))
    assert not sound.features(-2, 9)[:, :2].any()
    assert torch.equal(sound.features(30, 9)[:, 0], alone(22, 23)[:, 0])


@torch.no_grad()
@pytest.mark.parametrize("encoder", [NEAR, FAR])
def test_all_sound_is_heard_in_float32_whatever_the_precision(animator, encoder):
    """A take, a window of one that arrives, a clip's, a published utterance, and a clip in training."""
    encoders, clip = animator.encoders, pad(SOUND, (0, 100))
    kept, encoders.audio = encoders.audio, encoder

    def heard() -> list[Tensor]:
        sounds = (
            whole_sound(SOUND, encoders),
            ArrivingSound([SOUND], encoder, 1000, 1000),
            ClipSound(clip, encoder, FRAMES - 4),
            published_sound(SOUND, encoder, clip_frames=9),
        )
        return [
            *(sound.features(7, 9) for sound in sounds),
            encoders.fill(Batch(("one",), waveform=clip)).audio_features,
        ]

    try:
        expected = heard()
        with torch.autocast("cpu", torch.bfloat16):
            found = heard()
    finally:
        encoders.audio = kept
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert torch.equal(found[0], found[1]), "in a cache and in a film"


def test_an_encoder_that_hears_far_hears_otherwise_beside_a_window_than_in_the_whole():
    sound, around = torch.tanh(tiny.draw(1, audio_samples(60), name="long sound")), audio_samples(2)
    whole = windows(FAR.encode(pad(sound, (around, around))))[:, 20:37]
    near = ArrivingSound([sound], FAR).features(20, 17)
    assert (near - whole).norm() > 0.01 * whole.norm()


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


@pytest.mark.parametrize(("before", "after"), [(2, 2), (20, 2), (20, 20)])
def test_what_is_past_is_forgotten(before, after):
    """Pieces at either end may be heard in part; a view would keep alive all that it is a view of."""
    sound = ArrivingSound((SOUND[:, :1000].clone() for _ in range(1000)), LogMel(), before, after)
    for start in range(0, 1500, 7):
        sound.features(start, 9)
        kept = {piece.untyped_storage().data_ptr(): piece.untyped_storage().nbytes() for piece in sound._kept}
        assert sum(kept.values()) <= 8 * (audio_samples(9 + before + after) + 2 * 1000)


class Copied(TorchDispatchMode):
    """Counts the numbers that are written."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and not func.is_view:
            self.numbers += made.numel()
        return made


def test_sound_is_joined_when_it_is_heard_and_not_with_each_piece_that_comes():
    sound = ArrivingSound((SOUND[:, :100] for _ in range(640)), LogMel(), 1000, 1000)
    with Copied() as copied:
        assert sound.there(0, 9) == 9
        sound._between(0, 64_000)
    assert 0 < copied.numbers <= 3 * 2 * 64_000


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
