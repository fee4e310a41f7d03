"""What bfloat16 costs: a small random denoiser's v against the same in float32, for three ways of computing it.

The published way casts everything, rotary tables too; with bf16-true ours keeps the tables in float32, with bf16-mixed
the time embedding and the modulation too.
"""

import argparse
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from sampling import clip, denoiser
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.model.transformer import Trunk

LIMIT = 0.05
"""What we bear: the error of v relative to its largest value."""


def plain(network: Denoiser, noisy: Tensor, steps: Tensor, given: Batch) -> Tensor:
    return network(noisy, steps, given)


def autocast(network: Denoiser, noisy: Tensor, steps: Tensor, given: Batch) -> Tensor:
    """Weights in float32, matrix products in bfloat16: `bf16-mixed`."""
    with torch.autocast("cpu", torch.bfloat16):
        return network(noisy, steps, given)


def whole(network: Denoiser, noisy: Tensor, steps: Tensor, given: Batch) -> Tensor:
    """Weights and states in bfloat16, rotary tables in float32: `bf16-true`."""
    return deepcopy(network).bfloat16()(noisy.bfloat16(), steps, given.to(torch.bfloat16))


def published(network: Denoiser, noisy: Tensor, steps: Tensor, given: Batch) -> Tensor:
    """Weights, states and rotary tables in bfloat16."""
    network = deepcopy(network)
    for module in network.modules():
        if isinstance(module, Trunk):
            module.backbone = replace(module.backbone, rotary_dtype="bfloat16")
    return whole(network, noisy, steps, given)


WAYS: dict[str, Callable[[Denoiser, Tensor, Tensor, Batch], Tensor]] = {
    "bf16-mixed": autocast,
    "bf16-true, float32 tables": whole,
    "bf16-true, bfloat16 tables (published)": published,
}


def errors(width: int, blocks: int) -> dict[str, dict[str, float]]:
    """Largest and root-mean-square error of each way, relative to the largest and the root-mean-square v."""
    network = denoiser(width, blocks)
    given = clip(network.transformer.backbone)
    assert given.motion_latents is not None
    noisy, steps = (
        torch.randn(given.motion_latents.shape, generator=torch.Generator().manual_seed(1)),
        torch.tensor([499]),
    )
    exact, found = plain(network, noisy, steps, given), {}
    for name, way in WAYS.items():
        off = way(network, noisy, steps, given).float() - exact
        found[name] = {
            "largest": float(off.abs().max() / exact.abs().max()),
            "rms": float(off.square().mean().sqrt() / exact.square().mean().sqrt()),
        }
    return found


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--width", type=int, default=128, help="channels, a multiple of 64 (%(default)s)")
    parser.add_argument("--blocks", type=int, default=3, help="(%(default)s)")
    arguments = parser.parse_args()
    found = errors(arguments.width, arguments.blocks)
    table = Table("precision", "largest error", "rms error", title=f"Precision: error of v / the {LIMIT} that we bear")
    for name, figures in found.items():
        table.add_row(name, f"{figures['largest']:.4f}", f"{figures['rms']:.4f}")
    Console().print(table)
    ratio = max(figures["largest"] for figures in found.values()) / LIMIT
    print(f"ratio: {ratio:.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"ratio": ratio, "errors": found}, indent=2))


if __name__ == "__main__":
    main()
