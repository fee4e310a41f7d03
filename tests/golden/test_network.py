"""One evaluation of the published network: output, reference features and what lies between."""

from collections.abc import Callable

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from hallo3_lightning.denoiser import Denoiser
from tests.golden.near import TIME_TOLERANCE, TOLERANCE, allowed, error, time_error
from tests.golden.network import published_network, recorded_batch

STAGES = ["s1", "s2", "short"]


@pytest.fixture(scope="module", params=STAGES)
def stage(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def recorded(goldens, stage) -> dict[str, Tensor]:
    return goldens.tensors(f"{stage}_forward")


@pytest.fixture(scope="module")
def network(goldens, stage) -> Denoiser:
    """In training mode, in which the published reference network reads the clip's caption."""
    return published_network(goldens, stage).train()


def flat(video: Tensor, text: Tensor) -> Tensor:
    """[text, video] in one sequence, as the published network has it."""
    return torch.cat([text, rearrange(video, "b t n c -> b (t n) c")], dim=1)


def watch(network: Denoiser) -> dict[str, list[Tensor]]:
    """What modules give in the next evaluation, under the names of the recorded values; the handles are the network's."""
    seen: dict[str, list[Tensor]] = {}

    def note(name: str, module: nn.Module, of: Callable[..., Tensor] = lambda out: out) -> None:
        module.register_forward_hook(lambda _m, _i, out: seen.setdefault(name, []).append(of(out)))

    trunks = {
        "mid": network.transformer,
        "ref": network.get_submodule("conditioners.identity_reference_network.network"),
    }
    for prefix, trunk in trunks.items():
        note(f"{prefix}.embed_out", trunk.patch_embed, lambda out: flat(*out[:2]))
        note(f"{prefix}.time_embed", trunk.time_embedding)
        for i, block in enumerate(trunk.blocks):
            note(f"{prefix}.block.{i}.out", block, lambda out: flat(*out[:2]))
    first = network.transformer.blocks[0]
    note("mid.block.0.attention", first.attn1.to_out[0])
    note("mid.block.0.mlp", first.ff)
    note("mid.final_layernorm", network.transformer.norm_final, lambda out: rearrange(out, "b t n c -> b (t n) c"))
    for kind, strategy in (("face", "identity_face_attention"), ("audio", "audio_cross_attention")):
        if strategy in network.conditioners:
            note(f"mid.block.0.{kind}_attn", first.get_submodule(f"adapters.{strategy}.to_out"))
            note(f"mid.{kind}_proj", network.get_submodule(f"conditioners.{strategy}.{kind}_tokens"))
    return seen


@torch.no_grad()
def evaluated(network: Denoiser, recorded: dict[str, Tensor]) -> Tensor:
    return network(recorded["in.noised_latents"], recorded["in.timesteps"], recorded_batch(recorded))


@pytest.fixture(scope="module")
def limit(network, recorded) -> float:
    """For the error of what depends on the diffusion step."""
    return allowed(network, recorded)


def test_time_embedding(network, recorded):
    assert time_error(network, recorded) <= TIME_TOLERANCE


def test_the_tolerance_is_strict_unless_the_processor_computes_other_exponentials(network, recorded):
    other = recorded | {"mid.time_embed": recorded["mid.time_embed"] * (1 + 3e-6)}
    if time_error(network, recorded) <= TOLERANCE:
        assert allowed(network, recorded) == TOLERANCE
    assert allowed(network, other) == TOLERANCE + TIME_TOLERANCE


def test_output(network, recorded, limit):
    assert error(evaluated(network, recorded), recorded["out.network"]) <= limit


def test_output_of_prepared_signals(network, recorded, limit):
    """What sampling does: signals and what follows from them once, then the network."""
    batch = recorded_batch(recorded)
    with torch.no_grad():
        prepared = network.prepared(network.signals(batch), recorded["in.noised_latents"])
        got = network(recorded["in.noised_latents"], recorded["in.timesteps"], batch, prepared)
    assert error(got, recorded["out.network"]) <= limit


def test_reference_features_of_every_block(network, recorded):
    with torch.no_grad():
        features = network.signals(recorded_batch(recorded))["identity_reference_network"]
    theirs = [recorded[f"bank.{i}"] for i in range(len([name for name in recorded if name.startswith("bank.")]))]
    assert len(features) == len(theirs)
    assert [error(ours, want) for ours, want in zip(features, theirs, strict=True)] == [
        pytest.approx(0, abs=TOLERANCE)
    ] * len(theirs)


UNBUILT = ("ref.final_layernorm", "ref.output")
"""The end of the published reference network, which nothing reads."""


BEFORE_THE_STEP = ("ref.", "mid.embed_out", "mid.face_proj", "mid.audio_proj")
"""Values that no diffusion step but 0 enters."""


def test_what_lies_between(goldens, stage, recorded, limit):
    network = published_network(goldens, stage).train()
    seen = watch(network)
    evaluated(network, recorded)
    last = f"ref.block.{len(network.transformer.blocks) - 1}.out"
    names = [n for n in recorded if n.startswith(("mid.", "ref.")) and n not in (*UNBUILT, last)]
    found = {name: error(*alike(name, seen[name], recorded[name])) for name in names}
    limits = {name: TOLERANCE if name.startswith(BEFORE_THE_STEP) else limit for name in names}
    assert found == {name: pytest.approx(0, abs=most) for name, most in limits.items()}
    assert {"mid.block.0.attention", "mid.embed_out", "mid.face_proj"} <= found.keys()


def alike(name: str, seen: list[Tensor], theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Ours and theirs, brought to one shape."""
    ours = flat(*seen) if len(seen) == 2 else seen[0]
    if name == "mid.block.0.attention":
        return ours, theirs[:, : ours.shape[1]]
    if name == "mid.final_layernorm":
        return ours, theirs[:, -ours.shape[1] :]
    if name == "mid.face_proj":
        return rearrange(ours, "b 1 k c -> b k c"), theirs
    if name == "ref.time_embed":
        return ours[:1], theirs
    return ours, theirs


def test_epsilons_are_the_published_ones(network):
    """Asked directly, since what they change can hide inside the tolerance."""
    transformer = network.transformer
    reference = network.get_submodule("conditioners.identity_reference_network.network")
    norms = {name: module.eps for name, module in network.named_modules() if isinstance(module, nn.LayerNorm)}
    small = {name for name in norms if name.endswith(("norm_q", "norm_k", "norm_out.norm"))}
    assert len(small) == 2 * len(transformer.blocks) + 2 * (len(reference.blocks) - 1) + 1
    assert {norms[name] for name in small} == {1e-6}
    assert {eps for name, eps in norms.items() if name not in small} == {1e-5}
