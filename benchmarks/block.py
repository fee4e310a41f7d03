"""Time of our transformer block against that of diffusers' CogVideoXBlock: the same weights, inputs and results."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock
from einops import rearrange
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hallo3_lightning.model.block import Block
from hallo3_lightning.model.positions import rotary_3d

Outputs = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Sizes:
    """Of one block and what it is shown; head width 64 as at full size, the other sizes smaller."""

    width: int = 768
    heads: int = 12
    text: int = 32
    frames: int = 4
    height: int = 12
    patches_wide: int = 16

    @property
    def video(self) -> int:
        return self.frames * self.height * self.patches_wide


def both_blocks(size: Sizes) -> tuple[Callable[[Tensor, Tensor, Tensor], Outputs], ...]:
    """Ours and theirs with the same random weights, as functions of flat video, text and time."""
    torch.manual_seed(0)
    ours = Block(size.width, size.heads, 512, norm_eps=1e-5, attention_norm_eps=1e-6)
    theirs = CogVideoXBlock(size.width, size.heads, size.width // size.heads, 512, attention_bias=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    rotary = rotary_3d(size.frames, size.height, size.patches_wide, size.width // size.heads, torch.device("cpu"))

    def run_ours(video: Tensor, text: Tensor, moment: Tensor) -> Outputs:
        video, text = ours(rearrange(video, "b (t n) c -> b t n c", t=size.frames), text, moment, rotary, {})
        return rearrange(video, "b t n c -> b (t n) c"), text

    def run_theirs(video: Tensor, text: Tensor, moment: Tensor) -> Outputs:
        return theirs(video, text, moment, (rotary.cos, rotary.sin))

    return run_ours, run_theirs


def inputs(size: Sizes) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    shapes = ((1, size.video, size.width), (1, size.text, size.width), (1, 512))
    video, text, moment = (torch.randn(shape, generator=draw) for shape in shapes)
    return video, text, moment


def forward(run: Callable[..., Outputs], given: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        run(*given)


def forward_backward(run: Callable[..., Outputs], given: tuple[Tensor, ...]) -> None:
    """Gradients of all weights, and of what enters the block as in the middle of a network."""
    video, text, moment = given
    video, text = run(video.detach().requires_grad_(), text.detach().requires_grad_(), moment)
    (video.sum() + text.sum()).backward()


PASSES: Mapping[str, Callable[[Callable[..., Outputs], tuple[Tensor, ...]], None]] = {
    "forward": forward,
    "forward and backward": forward_backward,
}


def paired(first: Callable[[], None], second: Callable[[], None], rounds: int) -> tuple[list[float], list[float]]:
    """Processor seconds of each, taken in turn so that both meet the same disturbances."""
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds + 1):
        for work, seconds in zip((first, second), times, strict=True):
            begin = time.process_time()
            work()
            if i:  # the first round warms up
                seconds.append(time.process_time() - begin)
    return times


def assert_same(ours: Outputs, theirs: Outputs) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).abs().max() <= 1e-5 * other.abs().max(), "the blocks do not compute the same"


def operations(run: Callable[..., Outputs], given: tuple[Tensor, ...]) -> int:
    with FlopCounterMode(display=False) as counter:
        forward(run, given)
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--width", type=int, default=768, help="channels, a multiple of 64 (%(default)s)")
    parser.add_argument("--rounds", type=int, default=11, help="pairs of measurements (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    size = Sizes(width=arguments.width, heads=arguments.width // 64)
    ours, theirs = both_blocks(size)
    given = inputs(size)
    assert_same(ours(*given), theirs(*given))

    title = f"Block: our time / diffusers' ({size.text} + {size.video} tokens of {size.width})"
    table = Table("pass", "ours (ms)", "diffusers (ms)", "ratio", title=title)
    ratios = {}
    for name, work in PASSES.items():
        mine, other = paired(lambda: work(ours, given), lambda: work(theirs, given), arguments.rounds)  # noqa: B023
        ratios[name] = statistics.median(a / b for a, b in zip(mine, other, strict=True))
        table.add_row(name, *(f"{1e3 * statistics.median(t):.1f}" for t in (mine, other)), f"{ratios[name]:.3f}")
    Console().print(table)
    print(f"operations of a forward: ours {operations(ours, given):,}, diffusers {operations(theirs, given):,}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"ratio": ratios["forward and backward"], "ratios": ratios}, indent=2))


if __name__ == "__main__":
    main()
