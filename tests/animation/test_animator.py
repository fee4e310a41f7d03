"""A video is its windows, joined, each from the end of the one before; in one go, in pieces, or gone on with."""

import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hallo3_lightning.animation.animator import Animator, Chunk, Continuation
from hallo3_lightning.animation.residency import PARTS, Residency
from hallo3_lightning.animation.sound import ArrivingSound, ClipSound, KnownSound
from hallo3_lightning.animation.windows import Window, windows
from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.motion import Corruption
from hallo3_lightning.diffusion.sampler import SAMPLERS
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import SAMPLES_PER_FRAME, audio_samples
from hallo3_lightning.model.encoders.video.patch import PatchAutoencoder
from tests import tiny
from tests.animation.tiny_animator import CLIP, portraits

TOTAL = CLIP + 9


def test_a_video_has_the_frames_asked_for_and_is_the_same_again(animator):
    batch = portraits(TOTAL)
    video = animator.video(batch, TOTAL)
    assert video.shape == (2, TOTAL, 3, 8, 20)
    assert video.dtype == torch.uint8
    assert video.float().std() > 5, "a picture, not a grey wall"
    assert torch.equal(animator.video(batch, TOTAL), video)
    assert not torch.equal(replace(animator, seed=6).video(batch, TOTAL), video)


@torch.no_grad()
def test_each_window_has_noise_of_its_own(animator):
    animator = replace(animator, corruption=Corruption(mask_rate=0))
    whole = animator.encoders.fill(portraits(CLIP))
    sound, motion = KnownSound(whole.audio_features, CLIP), torch.stack([whole.reference] * 2, dim=1)
    first, again, other = (animator.latents(whole, sound, motion, Window(index, 0, 0, CLIP)) for index in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


def test_a_clip_does_not_depend_on_the_others_of_its_batch(animator):
    batch = portraits(TOTAL)
    alone = animator.video(batch.rows(slice(1, 2)), TOTAL)
    difference = (alone.int() - animator.video(batch, TOTAL)[1:].int()).abs()
    assert difference.max() <= 1, "a rounding at most: other batch sizes add up in other orders"


@pytest.mark.parametrize("motion_frames", [0, 1, 2, 4, 8])
def test_a_window_goes_on_from_the_last_frames_of_the_one_before(motion_frames, animator):
    animator = replace(animator, motion_frames=motion_frames)
    batch = portraits(TOTAL)
    window = windows(TOTAL, CLIP, motion_frames)[1]
    video = animator.video(batch, TOTAL)
    first, second = video[:, :CLIP], video[:, CLIP : window.stop]
    whole = animator.encoders.fill(batch)
    sound = ClipSound(batch.waveform, animator.encoders.audio, TOTAL)
    again = animator.encoders.decode(animator.latents(whole, sound, first[:, CLIP - motion_frames :], window))
    kept = slice(window.kept_from, window.stop - window.start)
    assert torch.equal(second, again[:, kept])
    if motion_frames:
        other = animator.encoders.decode(animator.latents(whole, sound, first[:, :motion_frames], window))
        assert not torch.equal(second, other[:, kept])


def test_features_that_were_computed_ahead_are_heard_as_they_are(animator):
    batch = portraits(TOTAL)
    ahead = animator.encoders.fill(batch, ("audio",))
    sound = KnownSound(ahead.audio_features, TOTAL)
    expected = torch.cat([chunk.frames for chunk in animator.frames(batch, sound=sound)], dim=1)
    assert torch.equal(animator.video(ahead, TOTAL), expected)
    assert not torch.equal(animator.video(ahead.with_(audio_features=ahead.audio_features + 1), TOTAL), expected)


def test_the_frames_given_are_the_motion_frames_of_the_first_window(animator):
    batch = portraits(CLIP)
    portrait = torch.stack([batch.reference] * 2, dim=1)
    given, other = Continuation(0, portrait), Continuation(0, 255 - portrait)
    assert torch.equal(animator.video(batch, CLIP, given), animator.video(batch, CLIP))
    assert not torch.equal(animator.video(batch, CLIP, other), animator.video(batch, CLIP))


@pytest.mark.parametrize("loop", ["exact", "published"])
@pytest.mark.parametrize("total", [3, CLIP, TOTAL])
def test_chunks_bring_every_frame_once_and_end_each_window_once(total, loop, animator):
    animator, batch = replace(animator, loop=loop), portraits(total, clips=1)
    chunks = list(animator.frames(batch, total))
    assert torch.equal(torch.cat([chunk.frames for chunk in chunks], dim=1), animator.video(batch, total))
    assert sum(chunk.frames.shape[1] for chunk in chunks) == total
    assert min(chunk.frames.shape[1] for chunk in chunks) > 0
    assert chunks[0].frames.shape[1] < CLIP, "the first before the window is decoded"
    seen = [w for w in windows(total, CLIP, 2, loop) if w.stop > w.start + w.kept_from]
    assert [chunk.window for chunk in chunks if chunk.ends_window] == seen
    assert chunks[-1].ends_window


class Counting(PatchAutoencoder):
    """Counts the latent frames that it decodes."""

    decoded = 0

    def _groups(self, latents: Tensor) -> Tensor:
        self.decoded += latents.shape[1]
        return super()._groups(latents)


def test_a_chunk_is_there_before_the_next_is_decoded_and_none_is_decoded_in_vain(animator):
    encoders = animator.encoders
    counting = Counting(encoders.video.patch, encoders.video.channels)
    counting.load_state_dict(encoders.video.state_dict())
    kept, encoders.video = encoders.video, counting
    chunks = animator.frames(portraits(6, clips=1), 6)
    after = [counting.decoded for _ in chunks]
    encoders.video = kept
    assert after == [1, 2, 3]
    counting.decoded, encoders.video = 0, counting
    list(animator.frames(portraits(2, clips=1), 2))
    encoders.video = kept
    assert counting.decoded == 2, "of three latent frames, those that show the two frames"


def pieces(batch: Batch, total: int, samples: int) -> Iterator[Tensor]:
    """The sound of the frames themselves, so many samples at a time."""
    assert batch.waveform is not None
    yield from batch.waveform[:, audio_samples(2) : audio_samples(2 + total)].split(samples, dim=1)


@pytest.mark.parametrize("samples", [100, SAMPLES_PER_FRAME, 10_000])
def test_sound_in_pieces_makes_the_same_video_as_sound_in_one(samples, animator):
    batch = portraits(TOTAL)

    def video(samples: int) -> Tensor:
        sound = ArrivingSound(pieces(batch, TOTAL, samples), animator.encoders.audio)
        return torch.cat([chunk.frames for chunk in animator.frames(batch, sound=sound)], dim=1)

    whole = video(10**9)
    assert whole.shape[1] == TOTAL
    assert torch.equal(video(samples), whole)


def test_a_window_begins_when_its_sound_and_two_frames_more_are_there(animator):
    batch, heard = portraits(TOTAL, clips=1), []

    def listened() -> Iterator[Tensor]:
        for piece in pieces(batch, TOTAL, SAMPLES_PER_FRAME):
            heard.append(piece)
            yield piece

    chunks = animator.frames(batch, sound=ArrivingSound(listened(), animator.encoders.audio))
    assert heard == []
    next(chunks)
    assert len(heard) == CLIP + 2


@pytest.mark.parametrize("loop", ["exact", "published"])
@pytest.mark.parametrize("motion_frames", [0, 1, 2, 4, 8])
def test_a_video_that_is_gone_on_with_is_the_unbroken_one(motion_frames, loop, animator):
    sampling = replace(animator.sampling, blend_frames=3)
    animator, batch = replace(animator, motion_frames=motion_frames, loop=loop, sampling=sampling), portraits(TOTAL)
    chunks = list(animator.frames(batch, TOTAL))
    ends = [i for i, chunk in enumerate(chunks) if chunk.following]
    assert ends
    for end in ends:
        rest = list(animator.frames(batch, TOTAL, start=chunks[end].following))
        assert len(rest) == len(chunks) - end - 1
        assert all(torch.equal(a.frames, b.frames) for a, b in zip(chunks[end + 1 :], rest, strict=True))


def test_a_live_video_is_gone_on_with_from_the_sound_of_its_beginning(animator):
    batch = portraits(TOTAL)

    def chunks(start: Continuation | None = None) -> list[Chunk]:
        sound = ArrivingSound(pieces(batch, TOTAL, 1000), animator.encoders.audio)
        return list(animator.frames(batch, sound=sound, start=start))

    whole = chunks()
    end = next(i for i, chunk in enumerate(whole) if chunk.following)
    rest = torch.cat([chunk.frames for chunk in chunks(whole[end].following)], dim=1)
    assert torch.equal(rest, torch.cat([chunk.frames for chunk in whole[end + 1 :]], dim=1))


def held_bytes(animator: Animator, total: int) -> int:
    """The most that all tensors held when a window had ended."""
    batch = portraits(1, clips=1).with_(waveform=None)
    noise = (tiny.draw(1, SAMPLES_PER_FRAME, name=f"piece {i}") for i in range(total))
    sound, most = ArrivingSound(noise, animator.encoders.audio), 0
    for chunk in animator.frames(batch, sound=sound):
        if not chunk.ends_window:
            continue
        tensors = [found for found in gc.get_objects() if type(found) is Tensor and found.layout is torch.strided]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        most = max(most, sum(storages.values()))
        del tensors, chunk
    return most


def test_memory_does_not_grow_with_length(animator):
    """Of 50 frames more the sound is 130 kB, the features 100 kB, the frames 24 kB."""
    animator = replace(animator, sampling=replace(animator.sampling, steps=1, guidance=1.0))
    short, long = held_bytes(animator, 3 * CLIP), held_bytes(animator, 3 * CLIP + 50)
    assert long <= short


def test_parts_that_wait_in_main_memory_change_nothing(animator):
    batch = portraits(CLIP)
    expected = animator.video(batch, CLIP)
    assert torch.equal(replace(animator, residency=Residency(PARTS)).video(batch, CLIP), expected)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2])
def test_any_sampler_in_few_steps_repeats_itself_by_seed(name, steps, animator):
    animator = replace(animator, sampling=replace(animator.sampling, sampler=name, steps=steps))
    batch = portraits(CLIP, clips=1)
    video = animator.video(batch, CLIP)
    assert torch.equal(animator.video(batch, CLIP), video)
    assert not torch.equal(replace(animator, seed=6).video(batch, CLIP), video)


def test_a_loop_that_is_none_is_refused(animator):
    with pytest.raises(UsageError, match="no loop 'publishd'; did you mean 'published'"):
        replace(animator, loop="publishd")  # type: ignore[arg-type]
