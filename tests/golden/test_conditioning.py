"""What stands beside the noisy latents, assembled by the published code with a linear stand-in for the autoencoder."""

import pytest
import torch
from einops import einsum, rearrange, reduce
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.dropout import Dropout, without
from hallo3_lightning.conditioning.motion import Corruption, masked, noised, padded, with_reference
from tests.golden.near import TOLERANCE, error

MOTION_FRAMES = 2


def encoded(frames: Tensor, mix: Tensor, scale: float) -> Tensor:
    """The stand-in autoencoder: means of 8x8 pixels and of pairs of frames, twice, the odd first one by itself."""
    means = reduce(frames, "b f c (h p) (w q) -> b f c h w", "mean", p=8, q=8)
    for _ in range(2):
        first, rest = means[:, : means.shape[1] % 2], means[:, means.shape[1] % 2 :]
        means = torch.cat([first, reduce(rest, "b (f two) c h w -> b f c h w", "mean", two=2)], dim=1)
    return scale * einsum(mix, means, "z c, b f c h w -> b f z h w")


@pytest.fixture(scope="module")
def recorded(goldens) -> dict[str, Tensor]:
    return goldens.tensors("conditioning_kept")


@pytest.fixture(scope="module")
def batch(goldens, recorded) -> Batch:
    """Our assembly from the recorded frames and draws."""
    scale, mix = goldens.config["scale_factor"], recorded["vae.mix"]
    motion = recorded["in.mp4"][:, :MOTION_FRAMES]
    motion = noised(
        motion, recorded["rand.log_sigma"], rearrange(recorded["rand.image_noise"], "b c f h w -> b f c h w")
    )
    motion = masked(motion, recorded["rand.mask_uniform"][None], Corruption().mask_rate)
    together = with_reference(recorded["in.ref_image"][:, 0], motion)
    torch.testing.assert_close(
        rearrange(together, "b f c h w -> b c f h w"), recorded["mid.vae_in.image_concat"], rtol=0, atol=0
    )
    latents = encoded(recorded["in.mp4"], mix, scale)
    return Batch(
        keys=("golden",),
        latents=latents,
        motion_latents=padded(encoded(together, mix, scale), latents.shape[1]),
        reference_latents=encoded(recorded["in.mask_ref"], mix, scale),
    )


OUTPUTS = {"latents": "out.x", "motion_latents": "out.concat_images", "reference_latents": "out.mask_ref"}


def test_kept(batch, recorded):
    assert (recorded["in.dropout_uniforms"] >= rates()).all()
    assert {f: error(getattr(batch, f), recorded[name]) for f, name in OUTPUTS.items()} == {
        field: pytest.approx(0, abs=TOLERANCE) for field in OUTPUTS
    }


def test_dropped(batch, goldens):
    theirs = goldens.tensors("conditioning_dropped")
    assert (theirs["in.dropout_uniforms"] < rates()).all()
    ours = without(batch, ("motion", "reference"))
    assert error(ours.latents, theirs["out.x"]) <= TOLERANCE
    for field in ("motion_latents", "reference_latents"):
        torch.testing.assert_close(getattr(ours, field), theirs[OUTPUTS[field]], rtol=0, atol=0)


def rates() -> Tensor:
    """Of reference and motion frames together, and of what the reference network reads."""
    return torch.tensor([Dropout().motion, Dropout().reference])
