"""A video is its windows, joined: every frame once, each window from the end of the one before."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hallo3_lightning.animation.animator import Animator, Continuation
from hallo3_lightning.animation.prediction import prediction
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.sound import KnownSound
from hallo3_lightning.animation.windows import windows
from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.conditioner import Inputs, conditioners
from hallo3_lightning.conditioning.dropout import FIELDS, without
from hallo3_lightning.conditioning.motion import Corruption
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, audio_samples, pixel_frames
from hallo3_lightning.model.encoders.video.patch import PatchAutoencoder
from hallo3_lightning.model.frozen import Encoders, FrozenEncoders, signed
from tests import tiny

PATCH = 2
CLIP = pixel_frames(tiny.T)
INPUTS = Inputs(audio_layers=4, audio_channels=24, face_width=7)


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


@pytest.fixture(scope="module")
def animator(tmp_path_factory) -> Animator:
    """A network off its start values, with all kinds of signals, and encoders that fit it."""
    size = tiny.backbone()
    folder = tmp_path_factory.mktemp("autoencoder")
    PatchAutoencoder.fit([torch.tanh(tiny.draw(8, 3, 8, 20))], PATCH, size.latent_channels).save(folder)
    torch.manual_seed(0)
    parts = conditioners("identity", "reference_network+face_attention", size, INPUTS, tiny.OPTIONS)
    denoiser = tiny.nudged(Denoiser(size, parts | conditioners("audio", "adaln", size, INPUTS, tiny.OPTIONS)))
    encoders = FrozenEncoders(
        Encoders("patch", str(folder), "hashed_words", "", "log_mel", ""), size.text_tokens, size.text_width
    )
    sampling = Sampling(steps=3, guidance=2.0)
    return Animator(denoiser, encoders, Process(), CLIP, 2, Corruption(mask_rate=0.2), sampling, seed=5)


def portraits(total: int, clips: int = 2) -> Batch:
    """References and sound for some frames."""
    size = tiny.backbone()
    height, width = PATCH * size.latent_height, PATCH * size.latent_width
    references = [(torch.sigmoid(tiny.draw(3, height, width, name=f"portrait {i}")) * 255).byte() for i in range(clips)]
    samples = audio_samples(total + 2 * AUDIO_CONTEXT_FRAMES)
    return Batch(
        keys=tuple(f"clip{i}" for i in range(clips)),
        positions=torch.arange(clips) + 3,
        captions=("a person talks", "someone else laughs")[:clips],
        reference=torch.stack(references),
        waveform=torch.stack([torch.tanh(tiny.draw(samples, name=f"sound {i}")) for i in range(clips)]),
        face_embedding=torch.stack([tiny.draw(7, name=f"face {i}") for i in range(clips)]),
    )


TOTAL = CLIP + 9


def test_a_video_has_the_frames_asked_for_and_is_the_same_again(animator):
    batch = portraits(TOTAL)
    video = animator.video(batch, TOTAL)
    assert video.shape == (2, TOTAL, 3, 8, 20)
    assert video.dtype == torch.uint8
    assert video.float().std() > 5, "a picture, not a grey wall"
    assert torch.equal(animator.video(batch, TOTAL), video)
    assert not torch.equal(replace(animator, seed=6).video(batch, TOTAL), video)


def test_a_clip_does_not_depend_on_the_others_of_its_batch(animator):
    batch = portraits(TOTAL)
    alone = animator.video(batch.rows(slice(1, 2)), TOTAL)
    difference = (alone.int() - animator.video(batch, TOTAL)[1:].int()).abs()
    assert difference.max() <= 1, "a rounding at most: other batch sizes add up in other orders"


@pytest.mark.parametrize("motion_frames", [0, 1, 2, 4])
def test_a_window_goes_on_from_the_last_frames_of_the_one_before(motion_frames, animator):
    animator = replace(animator, motion_frames=motion_frames)
    batch = portraits(TOTAL)
    window = windows(TOTAL, CLIP, motion_frames)[1]
    video = animator.video(batch, TOTAL)
    first, second = video[:, :CLIP], video[:, CLIP : window.stop]
    whole = animator.encoders.fill(batch)
    sound = KnownSound(whole.audio_features, TOTAL)
    again = animator.encoders.decode(animator.latents(whole, sound, first[:, CLIP - motion_frames :], window))
    kept = slice(window.kept_from, window.stop - window.start)
    assert torch.equal(second, again[:, kept])
    if motion_frames:
        other = animator.encoders.decode(animator.latents(whole, sound, first[:, :motion_frames], window))
        assert not torch.equal(second, other[:, kept])


def test_the_frames_given_are_the_motion_frames_of_the_first_window(animator):
    batch = portraits(CLIP)
    portrait = torch.stack([batch.reference] * 2, dim=1)
    given, other = Continuation(0, portrait), Continuation(0, 255 - portrait)
    assert torch.equal(animator.video(batch, CLIP, given), animator.video(batch, CLIP))
    assert not torch.equal(animator.video(batch, CLIP, other), animator.video(batch, CLIP))


def filled(animator: Animator) -> Batch:
    """A window's batch with everything that the denoiser reads."""
    clip = animator.encoders.fill(portraits(CLIP))
    beside = signed(torch.stack([clip.reference] * CLIP, dim=1))
    return clip.with_(motion_latents=animator.encoders.video.encode(beside))


@torch.no_grad()
def test_guidance_of_one_is_the_conditional_branch_alone(animator):
    clip = filled(animator)
    noisy = tiny.draw(*clip.motion_latents.shape, name="noisy")
    steps = torch.full((2,), 700)
    conditional = animator.denoiser(noisy, steps, clip)
    unconditional = animator.denoiser(noisy, steps, without(clip, animator.sampling.guided))
    for scale in (0.0, 1.0, 2.0):
        found = prediction(animator.denoiser, clip, replace(animator.sampling, guidance=scale))(noisy, 700)
        expected = unconditional + scale * (conditional - unconditional)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (conditional - unconditional).abs().max() > 1e-2


def test_without_makes_zeros_of_what_is_named_and_touches_nothing_else(animator):
    clip = filled(animator)
    for name, field in FIELDS.items():
        changed = without(clip, (name,))
        assert not getattr(changed, field).any()
        others = set(FIELDS.values()) - {field}
        assert all(getattr(changed, other) is getattr(clip, other) for other in others)


@torch.no_grad()
def test_branches_share_signals_without_a_difference(animator):
    clip = filled(animator)
    branches = [without(clip, ("text", "audio")), clip]
    calls: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in animator.denoiser.conditioners.named_modules()
        if name.endswith(("face_tokens", "audio_tokens", "network"))
    ]
    shared = animator.denoiser.branch_signals(branches)
    for handle in handles:
        handle.remove()
    assert sorted(calls) == ["audio_adaln.audio_tokens"] * 2 + ["identity_face_attention.face_tokens"]
    for name, signal in shared.items():
        each = [animator.denoiser.signals(branch)[name] for branch in branches]
        if isinstance(signal, tuple):
            for part, *parts in zip(signal, *each, strict=True):
                torch.testing.assert_close(part, torch.cat(parts))
        else:
            torch.testing.assert_close(signal, torch.cat(each))
