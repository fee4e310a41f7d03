"""Noising, loss and gradients of the published training step."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.diffusion.process import Process, loss_by_clip
from hallo3_lightning.weights.names import mapped
from hallo3_lightning.weights.rows import published
from tests.golden.near import GRADIENT_TOLERANCE, TOLERANCE, allowed, error
from tests.golden.network import published_network, published_weights, recorded_batch


@dataclass(frozen=True)
class Step:
    """A training step: what was recorded of it, and the network after our backward pass."""

    stage: str
    recorded: dict[str, Tensor]
    network: Denoiser
    noisy: Tensor
    prediction: Tensor
    losses: Tensor
    forward: dict[str, Tensor]

    def allowed(self, tolerance: float = TOLERANCE) -> float:
        """By the time embedding of the stage's recorded evaluation, as none was recorded of its training step."""
        return allowed(self.network, self.forward, tolerance)

    def gradients(self) -> dict[str, Tensor]:
        """Under the published names, the parts of fused parameters together."""
        ours = {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in self.network.named_parameters()}
        return published(ours)


@pytest.fixture(scope="module", params=["s1", "s2"])
def step(request, goldens) -> Step:
    recorded = goldens.tensors(f"{request.param}_loss")
    network = published_network(goldens, request.param).train()
    process, latents, noise, index = Process(), recorded["in.x"], recorded["rand.noise"], recorded["rand.idx"]
    batch = recorded_batch(
        recorded, motion_latents="in.concat_images", reference_latents="in.mask_ref", text_embeddings="in.txt_emb"
    )
    noisy = process.noisy(latents, noise, index)
    prediction = network(noisy, index, batch)
    losses = loss_by_clip(prediction, process.velocity(latents, noise, index))
    losses.mean().backward()
    return Step(
        request.param, recorded, network, noisy, prediction, losses, goldens.tensors(f"{request.param}_forward")
    )


def test_noisy_latents(step):
    assert (
        error(Process().sqrt_alphas[step.recorded["rand.idx"]], step.recorded["mid.alphas_cumprod_sqrt"]) <= TOLERANCE
    )
    assert error(step.noisy, step.recorded["mid.noised_input"]) <= TOLERANCE


def test_estimate_of_the_clean_latents(step):
    alpha = Process().alpha(step.recorded["rand.idx"])
    estimate = alpha * step.noisy - (1 - alpha**2).sqrt() * step.prediction
    assert error(estimate.detach(), step.recorded["mid.x0_pred"]) <= step.allowed()


def test_losses(step):
    assert error(step.losses.detach(), step.recorded["out.loss_per_sample"]) <= step.allowed()
    assert error(step.losses.mean().detach(), step.recorded["out.loss"]) <= step.allowed()


def norms(goldens, step: Step) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Norms of all recorded gradients, ours and theirs."""
    names = goldens.manifest["info"][f"{step.stage}_loss"]["grad_norm_names"]
    theirs = dict(zip(names, step.recorded["out.grad_norms"], strict=True))
    ours = {name: gradient.norm() for name, gradient in step.gradients().items()}
    return ours | half_built(step), theirs


def half_built(step: Step) -> dict[str, Tensor]:
    """The last reference block's modulation is recorded whole; of it we build what is reached, and the rest is 0."""
    trunk = "conditioners.identity_reference_network.network.transformer_blocks."
    last = len(step.network.transformer.blocks) - 1
    name = f"ref_model.diffusion_model.mixins.adaln_layer.adaLN_modulations.{last}.1."
    norm = step.network.get_submodule(f"{trunk}{last}.norm1.linear")
    return {name + kind: parameter.grad.norm() for kind, parameter in norm.named_parameters()}


def test_norms_of_all_gradients(goldens, step):
    ours, theirs = norms(goldens, step)
    assert ours.keys() == theirs.keys()
    far = {name: float(abs(ours[name] / theirs[name] - 1)) for name in theirs}
    assert max(far.values()) <= step.allowed(GRADIENT_TOLERANCE), max(far, key=lambda name: far[name])


def test_whole_gradients(step):
    gradients = step.gradients()
    recorded = {name.removeprefix("grad."): value for name, value in step.recorded.items() if name.startswith("grad.")}
    assert any("ref_model" in name and "query_key_value" in name for name in recorded)
    found = {name: error(gradients[name], theirs) for name, theirs in recorded.items()}
    assert found == {name: pytest.approx(0, abs=step.allowed(GRADIENT_TOLERANCE)) for name in recorded}


def test_parameters_without_a_gradient_are_those_we_do_not_build(goldens, step):
    names = goldens.manifest["info"][f"{step.stage}_loss"]["no_grad"]
    weights = published_weights(goldens, step.stage)
    tables = {name for name in weights if name.rsplit(".", 1)[-1] in ("freqs_cos", "freqs_sin")}
    assert set(mapped(weights).dropped) == set(names) | tables
