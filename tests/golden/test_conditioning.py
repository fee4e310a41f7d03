"""What stands beside the noisy latents, assembled by the published code with a linear stand-in for the autoencoder."""

from dataclasses import dataclass

import pytest
import torch
from einops import einsum, rearrange, reduce
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.dropout import Dropout, without
from hallo3_lightning.conditioning.motion import Corruption, masked, noised, padded, with_reference
from tests.golden.near import TOLERANCE, error


@dataclass(frozen=True)
class StandIn:
    """The recorded autoencoder: means of pixels and of pairs of frames, twice, the odd first one by itself; a mixture."""

    mix: Tensor
    scale: float
    height: int
    width: int

    def encode(self, frames: Tensor) -> Tensor:
        means = reduce(frames, "b f c (h p) (w q) -> b f c h w", "mean", h=self.height, w=self.width)
        for _ in range(2):
            first, rest = means[:, : means.shape[1] % 2], means[:, means.shape[1] % 2 :]
            means = torch.cat([first, reduce(rest, "b (f two) c h w -> b f c h w", "mean", two=2)], dim=1)
        return self.scale * einsum(self.mix, means, "z c, b f c h w -> b f z h w")


@pytest.fixture(scope="module")
def recorded(goldens) -> dict[str, Tensor]:
    return goldens.tensors("conditioning_kept")


@pytest.fixture(scope="module")
def batch(goldens, recorded) -> Batch:
    """Our assembly from the recorded frames and draws."""
    config, noise = goldens.config, rearrange(recorded["rand.image_noise"], "b c f h w -> b f c h w")
    autoencoder = StandIn(recorded["vae.mix"], config["scale_factor"], config["lat_h"], config["lat_w"])
    motion = noised(recorded["in.mp4"][:, : noise.shape[1]], recorded["rand.log_sigma"], noise)
    motion = masked(motion, recorded["rand.mask_uniform"][None], Corruption().mask_rate)
    together = with_reference(recorded["in.ref_image"][:, 0], motion)
    torch.testing.assert_close(
        rearrange(together, "b f c h w -> b c f h w"), recorded["mid.vae_in.image_concat"], rtol=0, atol=0
    )
    latents = autoencoder.encode(recorded["in.mp4"])
    return Batch(
        keys=("golden",),
        latents=latents,
        motion_latents=padded(autoencoder.encode(together), latents.shape[1]),
        reference_latents=autoencoder.encode(recorded["in.mask_ref"]),
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
