"""How much memory animating takes, and the least that has to be given up for it to fit."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hallo3_lightning.animation.guidance import chain
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.shortcuts import Shortcuts
from hallo3_lightning.conditioning.conditioner import Inputs
from hallo3_lightning.cost import imaginary_clip, tokens
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.placement import Placement
from hallo3_lightning.model.frozen import FrozenEncoders
from hallo3_lightning.process_memory import peak_bytes

FORWARD = {"32": 63, "bf16-mixed": 47, "bf16": 47}
"""Bytes of a token and channel that a forward pass without gradients holds at most, in each branch of guidance.

Counted allocation by allocation on a CPU, where attention is fused as on a GPU: 61 to 63 in float32, 42 to 47 in mixed."""

REUSED = 3 * 4
"""Bytes of a video token and channel that stay in each branch where blocks are reused: what the first block adds, what the
others add, and while these run what the first one gave them."""

HALVED = {"32": 1.0, "bf16-mixed": 0.64, "bf16": 0.64}
"""Of what decoding holds in float32; counted likewise."""

TILED = 0.3
"""Of what decoding holds in one piece: a quarter of the picture at a time, and the frames."""

CUDA_CONTEXT = 700 * 2**20
"""Bytes that CUDA and its libraries take before anything is computed."""

FIRST_USE = 40 * 10**6
"""Bytes of main memory that libraries take when they first compute, read weights and encode; counted on a CPU: 27 to 35 million."""

ENCODING = 300
"""Bytes of main memory a pixel of the picture that H.264 holds while it looks ahead; counted at 480 x 720."""

SWAY = 5 * 10**6
"""Bytes by which the program itself differs between two runs: an amount that is asked for must do when it is given."""

UNITS = {"": 1e9, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Needs:
    """What one network takes to animate, in bytes unless it says otherwise."""

    weights: Mapping[str, int]
    """Of each part of `residency.PARTS`; the denoiser's in float32."""
    conditions: int
    """Signals, what the adapters derive from them, in float32, and what shortcuts keep beside them."""
    channels: int
    """Tokens times width times branches of guidance: a number."""
    decoding: int
    """Of a chunk, in float32 and in one piece."""
    base: int
    """Of everything else."""
    hearing: int = 0
    """Of encoding as much sound as is encoded at a time."""

    def bytes(self, placement: Placement) -> int:
        """At the worst moment, estimated."""
        half = 0.5 if placement.precision == "bf16" else 1.0
        weights = {**self.weights, "denoiser": int(self.weights["denoiser"] * half)}
        spread = TILED if placement.tiled else 1.0
        working = {
            "text": 0,
            "audio": self.hearing,
            "denoiser": self.channels * FORWARD[placement.precision] + self.conditions,
            "video": int(self.decoding * HALVED[placement.precision] * spread),
        }
        away = placement.offloaded if placement.on_gpu else ()
        stays = sum(size for part, size in weights.items() if part not in away)
        moments = (working[part] + (weights[part] if part in away else 0) for part in weights)
        return self.base + stays + max(moments)


def needs_of(
    denoiser: Denoiser,
    encoders: FrozenEncoders,
    inputs: Inputs,
    sampling: Sampling,
    on_gpu: bool,
    shortcuts: Shortcuts,
    sound_frames: int,
) -> Needs:
    """Of a denoiser on the meta device, sampling so; encoders as they were loaded.

    sound_frames: how much sound is encoded, and its features kept, at a time.
    """
    size = denoiser.transformer.backbone
    branches = chain(sampling.guidance, sampling.guided).num_branches
    height, width = (side * encoders.video.pixels_per_latent for side in (size.latent_height, size.latent_width))
    alone = 1 if shortcuts.unguided and branches > 1 else 0  # the last branch, once more
    kept = REUSED * (branches + alone) * tokens(size)["video"] * size.width if shortcuts.reuse else 0
    features = sound_frames * encoders.audio.layers * encoders.audio.channels * 4
    other = CUDA_CONTEXT if on_gpu else FIRST_USE + height * width * ENCODING
    parts = {name: _weight_bytes(getattr(encoders, name)) for name in ("text", "audio", "video")}
    return Needs(
        weights={**parts, "denoiser": sum(parameter.numel() * 4 for parameter in denoiser.parameters())},
        conditions=(branches + alone) * _condition_bytes(denoiser, inputs) + kept,
        channels=branches * tokens(size)["sequence"] * size.width,
        decoding=height * width * encoders.video.decoding_bytes_per_pixel,
        base=other + features + (0 if on_gpu else peak_bytes() - sum(parts.values())),
        hearing=sound_frames * encoders.audio.hearing_bytes_per_frame,
    )


def fitting(needs: Needs, limit: int, wanted: Placement, free_precision: bool) -> tuple[Placement, str]:
    """The first placement that fits, and a sentence on it. Raises UsageError that names the least that would do.

    In order: all in place; encoders waiting in main memory; frames decoded over tiles; weights in bfloat16, unless the
    user chose a precision; the denoiser waiting too while others work.
    """
    tried = list(_ladder(wanted, free_precision))
    whole = needs.bytes(wanted)
    for placement, given_up in tried:
        estimated = needs.bytes(placement)
        if estimated <= limit:
            told = (
                f"with {', '.join(given_up)} ({_enough(whole)} otherwise)" if given_up else "with everything in place"
            )
            return placement, f"--max-memory {_shown(limit)}: {_enough(estimated)} estimated {told}"
    held = "" if wanted.on_gpu else f"; {_shown(peak_bytes())} of it this process has held already"
    least = min(needs.bytes(placement) for placement, _ in tried)
    raise UsageError(
        f"--max-memory {_shown(limit)} is too little: with everything given up that can be, this network takes about "
        f"{_enough(least + SWAY)}; give at least that, or fewer branches of guidance (--guidance 1){held}"
    )


def _ladder(wanted: Placement, free_precision: bool) -> Iterator[tuple[Placement, list[str]]]:
    """Placements that take less and less, and what each gives up."""
    placement, given_up = wanted, list[str]()
    yield placement, given_up
    steps = [
        ({"offloaded": ("text",)}, "the text encoder gone after use", wanted.on_gpu),
        ({"offloaded": ("text", "audio", "video")}, "sound and picture encoders waiting in main memory", wanted.on_gpu),
        ({"tiled": True}, "frames decoded over tiles", True),
        ({"precision": "bf16"}, "weights in bfloat16", free_precision and wanted.precision != "bf16"),
        ({"offloaded": ("text", "audio", "video", "denoiser")}, "the denoiser waiting there too", wanted.on_gpu),
    ]
    for change, told, possible in steps:
        if possible:
            placement, given_up = replace(placement, **change), [*given_up, told]  # type: ignore[arg-type]
            yield placement, given_up


def parsed(told: str) -> int:
    """Bytes of "24GB", "24 GiB" or "24" (GB). Raises UsageError for what is no amount."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", told.strip())
    if found is None or found[2].upper() not in UNITS or float(found[1]) == 0:
        raise UsageError(f"--max-memory is {told}; expected an amount such as 24GB, 900MB or 16GiB")
    return int(float(found[1]) * UNITS[found[2].upper()])


def _condition_bytes(denoiser: Denoiser, inputs: Inputs) -> int:
    """Of one branch: counted on tensors without memory."""
    size = denoiser.transformer.backbone
    clip = imaginary_clip(size, inputs)
    assert clip.latents is not None
    with torch.no_grad():
        signals = denoiser.signals(clip)
        held = _tensors([signals, denoiser.prepared(signals, clip.latents)])
    return sum(tensor.numel() * tensor.element_size() for tensor in held)


def _tensors(value: Any) -> Iterator[Tensor]:
    """All those in nested collections and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)
    elif is_dataclass(value):
        yield from _tensors(list(vars(value).values()))


def _weight_bytes(module: object) -> int:
    assert isinstance(module, nn.Module)
    return sum(tensor.numel() * tensor.element_size() for tensor in [*module.parameters(), *module.buffers()])


def _enough(count: int) -> str:
    """At least so much: rounded up to the last digit that is shown."""
    digit = 10**8 if count > 10**9 - 10**6 else 10**6
    return _shown(-(-count // digit) * digit)


def _shown(count: float) -> str:
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} KB"
