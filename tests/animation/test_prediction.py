"""One prediction from branches that share what does not differ, by one scale or several, and with shortcuts."""

from dataclasses import replace

import pytest
import torch

from hallo3_lightning.animation.animator import Animator
from hallo3_lightning.animation.guidance import chain
from hallo3_lightning.animation.prediction import prediction
from hallo3_lightning.animation.shortcuts import EXACT, Shortcuts
from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.dropout import FIELDS, without
from hallo3_lightning.errors import UsageError
from hallo3_lightning.model.frozen import signed
from hallo3_lightning.model.reuse import Reuse
from tests import tiny
from tests.animation.tiny_animator import CLIP, portraits


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


@torch.no_grad()
def test_three_branches_encode_each_signal_as_often_as_it_differs(animator):
    branches = chain({"text": 2, "audio": 4, "identity": 3}, ()).branches(filled(animator))
    calls: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in animator.denoiser.conditioners.named_modules()
        if name.endswith(("face_tokens", "audio_tokens"))
    ]
    animator.denoiser.branch_signals(branches)
    for handle in handles:
        handle.remove()
    assert len(branches) == 4
    assert sorted(calls) == ["audio_adaln.audio_tokens"] * 2 + ["identity_face_attention.face_tokens"] * 2


def predicted(animator: Animator, clip: Batch, shortcuts: Shortcuts = EXACT, step: int = 700, **sampling: object):
    noisy = tiny.draw(*clip.motion_latents.shape, name="noisy")
    return prediction(animator.denoiser, clip, replace(animator.sampling, **sampling), shortcuts)(noisy, step)


@torch.no_grad()
def test_a_scale_for_each_condition(animator):
    clip = filled(animator)
    noisy, steps = tiny.draw(*clip.motion_latents.shape, name="noisy"), torch.full((2,), 700)
    bare, text, both = (
        animator.denoiser(noisy, steps, without(clip, absent)) for absent in (("text", "audio"), ("audio",), ())
    )
    found = predicted(animator, clip, guidance={"audio": 4.0, "text": 2.0})
    torch.testing.assert_close(found, bare + 2 * (text - bare) + 4 * (both - text), rtol=1e-4, atol=1e-4)
    assert torch.equal(
        predicted(animator, clip, guidance={"audio": 3.0, "text": 3.0}), predicted(animator, clip, guidance=3.0)
    )


@torch.no_grad()
def test_late_steps_may_do_without_guidance(animator):
    clip, late = filled(animator), Shortcuts(unguided=0.4)
    alone = {step: predicted(animator, clip, step=step, guidance=1.0) for step in (399, 400)}
    torch.testing.assert_close(predicted(animator, clip, late, step=399), alone[399], rtol=1e-4, atol=1e-4)
    assert torch.equal(predicted(animator, clip, late, step=400), predicted(animator, clip, step=400))
    assert (predicted(animator, clip, late, step=400) - alone[400]).abs().max() > 1e-2


@torch.no_grad()
def test_blocks_are_reused_while_little_changes(animator):
    """With a step repeated nothing changes, so that reuse is exact; below the least change nothing is reused."""
    clip = filled(animator)
    noisy = tiny.draw(*clip.motion_latents.shape, name="noisy")
    through, steps = Reuse(0.05), torch.full((2,), 700)
    expected = [animator.denoiser(noisy * scale, steps, clip) for scale in (1, 2)]
    first, again, other = (animator.denoiser(noisy * s, steps, clip, None, through) for s in (1, 1, 2))
    assert torch.equal(first, expected[0])
    torch.testing.assert_close(again, expected[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(other, expected[1])
    assert (through.computed, through.reused) == (2, 1)


@torch.no_grad()
def test_small_changes_add_up(animator):
    clip, through, steps = filled(animator), Reuse(0.05), torch.full((2,), 700)
    noisy = tiny.draw(*clip.motion_latents.shape, name="noisy")
    for i in range(20):
        animator.denoiser(noisy * 1.02**i, steps, clip, None, through)
    assert 2 <= through.computed <= 10
    assert through.computed + through.reused == 20


@torch.no_grad()
def test_what_guided_branches_reuse_is_nothing_to_the_branch_alone(animator):
    """Of one clip, whose single row would fit what two branches kept."""
    clip = filled(animator).rows(slice(0, 1))
    noisy = tiny.draw(*clip.motion_latents.shape, name="noisy")
    through = prediction(animator.denoiser, clip, animator.sampling, Shortcuts(reuse=1e9, unguided=0.4))
    late = prediction(animator.denoiser, clip, animator.sampling, Shortcuts(unguided=0.4))
    guided = through(noisy, 700)
    assert torch.equal(through(noisy, 300), late(noisy, 300)), "its first step, with every block"
    torch.testing.assert_close(through(noisy, 700), guided)


def test_shortcuts_are_off_and_take_only_what_means_something():
    assert EXACT.taken == {}
    assert Shortcuts(unguided=0.2).taken == {"unguided": 0.2}
    with pytest.raises(UsageError, match="reuse is -1"):
        Shortcuts(reuse=-1)
    with pytest.raises(UsageError, match="unguided is 1.5"):
        Shortcuts(unguided=1.5)
