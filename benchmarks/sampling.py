"""Time of one guided window sampled as published against ours: the same weights, noises and result.

Published, written plainly: in every step keys and values of face and audio tokens are made again, and reference tokens
go through self-attention with queries of their own whose answers are thrown away. Two rows of it: recomputing
everything, as the headline ratio is defined, the reference network too; and with the reference network once a clip, as
the published code runs it.
Ours: signals, keys and values once a window, no queries for the reference; and with shortcuts, which are not exact: their
error is that of the sample, root-mean-square, relative to the exact one. Weights are random and steps few, so much changes
from one to the next: it takes a large --reuse for any block to be reused, and none is an error. benchmarks/streaming.py
has what shortcuts cost trained ones.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from einops import rearrange
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hallo3_lightning.animation.prediction import prediction
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.shortcuts import Shortcuts
from hallo3_lightning.batch import Batch, joined
from hallo3_lightning.conditioning.conditioner import Inputs
from hallo3_lightning.conditioning.dropout import without
from hallo3_lightning.denoiser import Denoiser, denoiser_of
from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.diffusion.sampler import Predict, dpmpp_2m_sde
from hallo3_lightning.diffusion.schedule import schedule
from hallo3_lightning.geometry import AUDIO_WINDOW, PATCH, pixel_frames
from hallo3_lightning.model.attention import KeysValues, attend
from hallo3_lightning.model.block import Block
from hallo3_lightning.model.positions import Rotary
from hallo3_lightning.model.sites import Adapter, Host, Signal
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.randomness import generator

Way = Callable[[Denoiser, Batch, Sampling], Predict]

INPUTS = Inputs(audio_layers=3, audio_channels=64, face_width=64)
REFERENCE = "identity_reference_network"
IDENTITY, AUDIO = "reference_network+face_attention", "cross_attention"
OPTIONS = {
    "reference_network": {"caption": "caption_in_training"},
    "face_attention": {"tokens": 4, "width": 128},
    "cross_attention": {"tokens": 8, "width": 96, "hidden": 64},
}
"""Thirteen latent frames and one reference frame, as published; everything else smaller in proportion."""


def denoiser(width: int, blocks: int) -> Denoiser:
    """With random weights everywhere: behind a zero nothing could be seen to differ."""
    torch.manual_seed(0)
    size = Backbone(
        width=width, heads=width // 64, blocks=blocks, text_width=64, text_tokens=8, latent_height=8, latent_width=12
    )
    network = denoiser_of(size, INPUTS, IDENTITY, AUDIO, OPTIONS)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape)
    return network.eval().requires_grad_(False)


def clip(size: Backbone) -> Batch:
    shapes = {
        "motion_latents": (1, size.latent_frames, size.latent_channels, size.latent_height, size.latent_width),
        "reference_latents": (1, 1, size.latent_channels, size.latent_height, size.latent_width),
        "text_embeddings": (1, size.text_tokens, size.text_width),
        "face_embedding": (1, INPUTS.face_width),
        "audio_features": (
            *(1, pixel_frames(size.latent_frames), AUDIO_WINDOW),
            *(INPUTS.audio_layers, INPUTS.audio_channels),
        ),
    }
    drawn = {name: torch.randn(shape, generator=generator(0, name)) for name, shape in shapes.items()}
    return Batch(keys=("benchmark",), **drawn)


def plain_prediction(network: Denoiser, given: Batch, sampling: Sampling) -> Predict:
    """The guided v by the published algorithm, with everything made again in every step."""
    both = joined([without(given, sampling.guided), given])
    return plainly(network, both, sampling, lambda: network.signals(both))


def published_prediction(network: Denoiser, given: Batch, sampling: Sampling) -> Predict:
    """The guided v as the published code computes it: it runs the reference network once a clip."""
    both = joined([without(given, sampling.guided), given])
    once = network.get_submodule(f"conditioners.{REFERENCE}").encode(both)  # type: ignore[operator]

    def signals() -> dict[str, Signal]:
        made = network.conditioners.items()
        return {name: once if name == REFERENCE else part.encode(both) for name, part in made}  # type: ignore[operator]

    return plainly(network, both, sampling, signals)


def plainly(network: Denoiser, both: Batch, sampling: Sampling, signals: Callable[[], dict[str, Signal]]) -> Predict:
    def predict(noisy: Tensor, step: int) -> Tensor:
        steps = torch.full((2,), step)
        parts = plain_forward(network, torch.cat([noisy, noisy]), steps, both, signals()).chunk(2)
        return parts[0] + sampling.guidance * (parts[1] - parts[0])

    return predict


def plain_forward(network: Denoiser, noisy: Tensor, steps: Tensor, both: Batch, signals: dict[str, Signal]) -> Tensor:
    """v of both branches; the last norms and the patches put together as in our own network."""
    assert both.motion_latents is not None
    inner, latents = network.transformer, torch.cat([noisy, both.motion_latents], dim=2)
    rotary, moment = inner.rotary(latents), inner.time_embedding(steps)
    video, text = inner.patch_embed(latents, both.text_embeddings)
    for i, block in enumerate(inner.blocks):
        given = {name: signal[i] if isinstance(signal, tuple) else signal for name, signal in signals.items()}
        video, text = plain_block(block, video, text, moment, rotary, given)
    patches = inner.proj_out(inner.norm_out(inner.norm_final(video), moment))
    return rearrange(patches, "b t (h w) (c p q) -> b t c (h p) (w q)", h=latents.shape[3] // PATCH, p=PATCH, q=PATCH)


def plain_block(
    block: Block, video: Tensor, text: Tensor, moment: Tensor, rotary: Rotary | None, given: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Self-attention over [text, video, reference], all with queries; then cross-attentions; then the MLP."""
    reference, others = given[REFERENCE], [name for name in given if name != REFERENCE]
    (shown, text_shown), (fed, text_fed) = block.norm1.modulations(moment), block.norm2.modulations(moment)
    tokens = torch.cat(
        [
            text_shown.apply(block.norm1.norm(text)),
            rearrange(shown.apply(block.norm1.norm(video)), "b t n c -> b (t n) c"),
            reference,
        ],
        dim=1,
    )
    answer = plain_attention(block, tokens, text.shape[1], reference.shape[1], rotary)
    words, picture = text.shape[1], video.shape[1] * video.shape[2]
    answered = rearrange(answer[:, words : words + picture], "b (t n) c -> b t n c", t=video.shape[1])
    video, text = shown.gated(video, answered), text_shown.gated(text, answer[:, :words])
    host = Host(block.attn1, rotary, video.shape[1])
    for name in others:
        adapter = block.adapters[name]
        assert isinstance(adapter, Adapter)
        residual = adapter.residual(video, adapter.prepare(given[name], host), host)
        assert residual is not None
        video = video + residual
    flat = torch.cat(
        [
            text_fed.apply(block.norm2.norm(text)),
            rearrange(fed.apply(block.norm2.norm(video)), "b t n c -> b (t n) c"),
        ],
        dim=1,
    )
    answer = block.ff(flat)
    answered = rearrange(answer[:, words:], "b (t n) c -> b t n c", t=video.shape[1])
    return fed.gated(video, answered), text_fed.gated(text, answer[:, :words])


def plain_attention(block: Block, tokens: Tensor, text: int, reference: int, rotary: Rotary | None) -> Tensor:
    """[B, L + T N + R, C]: the answers to reference tokens too, which nobody reads."""
    queries, own = block.attn1.queries(tokens), block.attn1.keys_values(tokens)
    if rotary is not None:
        still = rotary.behind(text)
        table = Rotary(
            torch.cat([still.cos, torch.ones(reference, still.cos.shape[1])]),
            torch.cat([still.sin, torch.zeros(reference, still.sin.shape[1])]),
        )
        queries, own = table(queries), KeysValues(table(own.keys), own.values)
    return block.attn1.to_out[0](attend(queries, own))


def timed(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


@dataclass(frozen=True)
class Work:
    """Operations of a sample, and how many blocks ran for it, of both branches together; of ours alone."""

    operations: int
    blocks: int


def counted(network: Denoiser, work: Callable[[], Tensor]) -> Work:
    ran: list[None] = []
    hooks = [block.register_forward_pre_hook(lambda *_: ran.append(None)) for block in network.transformer.blocks]
    with FlopCounterMode(display=False) as counter:
        work()
    for hook in hooks:
        hook.remove()
    return Work(counter.get_total_flops(), len(ran))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--width", type=int, default=512, help="channels, a multiple of 64 (%(default)s)")
    parser.add_argument("--blocks", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=6, help="sampling steps; published: 50 (%(default)s)")
    parser.add_argument(
        "--reuse", type=float, default=1.0, help="how much may change before blocks run again (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of measurements (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network = denoiser(arguments.width, arguments.blocks)
    size, visited = network.transformer.backbone, schedule(Process(), arguments.steps)
    given, sampling = clip(size), Sampling("dpmpp_2m_sde", arguments.steps)
    assert given.motion_latents is not None
    shape = given.motion_latents.shape

    def sample(predictor: Way) -> Tensor:
        def noise(draw: int) -> Tensor:
            return torch.randn(shape, generator=generator(0, "noise", draw))

        return dpmpp_2m_sde(predictor(network, given, sampling), noise, visited)

    short = shortened(arguments.reuse)
    ways = EXACT_WAYS | short
    works = {name: counted(network, lambda: sample(way)) for name, way in ways.items()}  # noqa: B023
    idle = [name for name in short if "reuse" in name and works[name].blocks == works[OURS].blocks]
    if idle:
        parser.error(f"no block was reused in {idle[0]}; give a --reuse beyond {arguments.reuse:g}, or more --steps")
    rounds, errors = [], {}
    for _ in range(arguments.rounds):
        found = {name: timed(lambda: sample(way)) for name, way in ways.items()}  # noqa: B023
        ours = found[OURS][1]
        for name, (_, result) in found.items():
            errors[name] = float((result - ours).norm() / ours.norm())
            assert name not in EXACT_WAYS or errors[name] <= 1e-5, f"{name} does not sample the same"
        rounds.append({name: seconds for name, (seconds, _) in found.items()})
    report(arguments, size, works, rounds, errors)


def shortened(reuse: float) -> dict[str, Way]:
    """Not exact."""
    ways = Shortcuts(reuse=reuse), Shortcuts(unguided=0.4), Shortcuts(reuse=reuse, unguided=0.4)
    told = (", ".join(f"{name} {value:g}" for name, value in one.taken.items()) for one in ways)
    return {f"ours, {name}": partial(prediction, shortcuts=one) for name, one in zip(told, ways, strict=True)}


OURS = "ours"
PLAIN = "as published, recomputing everything"
ONCE = "as published, reference network once a clip"
EXACT_WAYS: dict[str, Way] = {ONCE: published_prediction, PLAIN: plain_prediction, OURS: prediction}
"""In this order, so that the two of the headline ratio are measured one behind the other."""


def told(error: float) -> str:
    return f"{error:.4f}" if error > 1e-5 else "rounding"


def report(
    arguments: argparse.Namespace,
    size: Backbone,
    works: dict[str, Work],
    rounds: list[dict[str, float]],
    errors: dict[str, float],
) -> None:
    """A row a way, with its time and operations and how many times ours they are."""
    tokens = size.text_tokens + size.latent_frames * size.patches
    title = f"Sampling a window: time as published / ours ({tokens} tokens of {size.width}, {arguments.steps} steps)"
    table = Table("way", "seconds", "/ ours", "operations (G)", "/ ours", "blocks reused", "error", title=title)
    ratios = {name: statistics.median(found[name] / found[OURS] for found in rounds) for name in works}
    fewer = {name: work.operations / works[OURS].operations for name, work in works.items()}
    reused = {name: works[OURS].blocks - work.blocks for name, work in works.items() if work.blocks}
    for name, work in works.items():
        seconds = statistics.median(found[name] for found in rounds)
        table.add_row(
            name,
            f"{seconds:.2f}",
            f"{ratios[name]:.3f}",
            f"{work.operations / 1e9:.1f}",
            f"{fewer[name]:.3f}",
            f"{reused[name]} of {works[OURS].blocks}" if name in reused else "",
            told(errors[name]),
        )
    Console().print(table)
    if arguments.json:
        figures = {"ratio": ratios[PLAIN], "fewer": fewer[PLAIN], "ratio_once": ratios[ONCE], "fewer_once": fewer[ONCE]}
        told_of = {
            "operations": {name: work.operations for name, work in works.items()},
            "reused": reused,
            "errors": errors,
        }
        arguments.json.write_text(json.dumps(figures | told_of, indent=2))


if __name__ == "__main__":
    main()
