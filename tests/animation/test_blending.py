"""A window that blends goes on from the last frame seen, and is its own again behind the frames that it blends over."""

from dataclasses import replace

import pytest
import torch

from hallo3_lightning.animation.blending import blended
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.sound import ClipSound
from hallo3_lightning.animation.windows import windows
from hallo3_lightning.errors import UsageError
from hallo3_lightning.model.frozen import pixels, signed
from tests import tiny
from tests.animation.tiny_animator import CLIP, portraits

FRAMES = 13
DECODED = tiny.draw(2, FRAMES, 3, 4, 6, name="decoded")


@pytest.mark.parametrize("pieces", [[FRAMES], [1, 4, 4, 4], [1] * FRAMES, [9, 4]])
@pytest.mark.parametrize("over", [1, 2, 5, 40])
@pytest.mark.parametrize("motion_frames", [1, 2, 4, 8])
def test_what_the_last_motion_frame_is_off_fades_in_equal_steps_however_frames_come(motion_frames, over, pieces):
    given = tiny.draw(2, motion_frames, 3, 4, 6, name="given")
    found = torch.cat([*blended(iter(DECODED.split(pieces, dim=1)), given, over)], dim=1)
    last = motion_frames - 1
    torch.testing.assert_close(found[:, last], given[:, last])
    assert torch.equal(found[:, :last], DECODED[:, :last])
    off = given[:, last] - DECODED[:, last]
    for place in range(motion_frames, FRAMES):
        share = max(1 - (place - last) / (over + 1), 0)
        torch.testing.assert_close(found[:, place], DECODED[:, place] + share * off)


@pytest.mark.parametrize(("motion_frames", "over"), [(0, 0), (0, 3), (2, 0)])
def test_without_motion_frames_or_frames_to_blend_over_nothing_changes(motion_frames, over):
    given = tiny.draw(2, motion_frames, 3, 4, 6, name="given")
    found = list(blended(iter(DECODED.split(4, dim=1)), given, over))
    assert torch.equal(torch.cat(found, dim=1), DECODED)


@torch.no_grad()
@pytest.mark.parametrize("motion_frames", [1, 2, 4])
def test_a_film_goes_on_from_its_last_frame_by_shares(motion_frames, animator):
    plain = replace(animator, motion_frames=motion_frames)
    blending = replace(plain, sampling=replace(plain.sampling, blend_frames=1))
    total, batch = CLIP + 5, portraits(CLIP + 5)
    before, after = plain.video(batch, total), blending.video(batch, total)
    assert torch.equal(before[:, :CLIP], after[:, :CLIP]), "the first window has nothing to go on from"
    window = windows(total, CLIP, motion_frames)[1]
    whole = animator.encoders.fill(batch)
    latents = plain.latents(
        whole, ClipSound(batch.waveform, animator.encoders.audio, total), after[:, CLIP - motion_frames : CLIP], window
    )
    alone = animator.encoders.video.decode(latents)
    halfway = alone[:, motion_frames] + (signed(after[:, CLIP - 1]) - alone[:, motion_frames - 1]) / 2
    assert torch.equal(after[:, CLIP], pixels(halfway))
    assert torch.equal(after[:, CLIP + 1 :], before[:, CLIP + 1 :])


def test_frames_to_blend_over_are_counted():
    with pytest.raises(UsageError, match="blend_frames is -1"):
        Sampling(blend_frames=-1)
