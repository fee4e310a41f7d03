"""Each block compiles, adapters and all, and computes the same; so does its backward pass."""

import pytest
import torch

from hallo3_lightning.denoiser import Denoiser
from tests import tiny

ARMS = [("cross_attention", "reference_network+face_attention"), ("adaln", "face_adaln"), ("token_concat", "none")]


@pytest.mark.parametrize(("audio", "identity"), ARMS)
def test_compiled_blocks_compute_the_same(audio, identity):
    network, clip = tiny.nudged(tiny.denoiser(audio=audio, identity=identity)), tiny.batch()
    with torch.no_grad():
        plain = tiny.predict(network, clip)
        compile_blocks(network)
        torch.testing.assert_close(tiny.predict(network, clip), plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("audio", "identity"), ARMS)
def test_compiled_blocks_learn_the_same(audio, identity):
    network, clip = tiny.nudged(tiny.denoiser(audio=audio, identity=identity)), tiny.batch()
    tiny.predict(network, clip).square().mean().backward()
    expected = {name: parameter.grad for name, parameter in network.named_parameters()}
    network.zero_grad()

    compile_blocks(network)
    tiny.predict(network, clip).square().mean().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6, msg=name)


def compile_blocks(network: Denoiser) -> None:
    torch._dynamo.reset()
    for block in network.transformer.blocks:
        block.compile(backend="aot_eager", fullgraph=True)
