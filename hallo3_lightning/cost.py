"""What a config would build and what it would cost: parameters, tokens, operations, memory; no weights are read.

The network is built without memory (torch's meta device) and run on tensors without memory; operations are counted
as torch dispatches them: 2 m k n of every matrix product and convolution. Products of one batch with another (queries
with keys, scores with values) are attention, the rest is dense. Norms, activations and sums are not counted; the
frozen encoders and the decoder are not either.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.conditioner import Inputs
from hallo3_lightning.denoiser import Denoiser, denoiser_of
from hallo3_lightning.geometry import AUDIO_WINDOW, pixel_frames
from hallo3_lightning.model.transformer import Backbone, Transformer, Trunk
from hallo3_lightning.training.per_block import EVERY
from hallo3_lightning.training.trainable import set_trainable
from hallo3_lightning.training.watch import Work

WORKING_WIDTHS = 24
"""Values of width C a token that one block keeps for its backward pass: 2 norms in and out (4), queries and keys before
norm, behind it and rotated, values (7), attention (1), its output (1), MLP (4 + 4 + 1), two gated sums (2)."""

ACTIVATION_BYTES = 2


@dataclass(frozen=True)
class Part:
    """Parameters of one part of the denoiser."""

    total: int
    trainable: int


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of a pass, a product and a sum counted apart."""

    dense: int
    attention: int

    def __add__(self, other: "Operations") -> "Operations":
        return Operations(self.dense + other.dense, self.attention + other.attention)

    def __mul__(self, times: int) -> "Operations":
        return Operations(self.dense * times, self.attention * times)

    @property
    def total(self) -> int:
        return self.dense + self.attention


@dataclass(frozen=True)
class Memory:
    """Bytes on each rank."""

    weights: float
    gradients: float
    optimizer: float
    average: float
    activations: float


def figures_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters, tokens, operations and memory of a resolved config, as plain numbers."""
    model, parallel, clips = config["model"], config["parallel"], config["data"]["batch_size"]
    denoiser, alone = networks(model)
    sequence = tokens(denoiser.transformer.backbone)
    found = operations(denoiser, alone, Inputs(**model["inputs"]), model["sampling"])
    weight_bytes = 2 if str(config["trainer"]["precision"]).endswith("-true") else 4
    return {
        "parameters": {name: asdict(part) for name, part in parts(denoiser).items()},
        "copies": [name for name in denoiser.conditioners if _holds_a_copy(denoiser.conditioners[name])],
        "tokens": sequence,
        "operations": {name: asdict(pass_) | {"total": pass_.total} for name, pass_ in found.items()},
        "rule_of_thumb": 2 * _count(alone) * sequence["sequence"] + found["backbone forward"].attention,
        "clips_per_rank": clips,
        "parallel": parallel,
        "memory_bytes": asdict(memory(denoiser, clips, parallel["shard"], weight_bytes, parallel["recompute"])),
    }


def networks(model: Mapping[str, Any]) -> tuple[Denoiser, Transformer]:
    """The denoiser of a config's `model`, with what trains marked, and its backbone alone; both without memory."""
    with torch.device("meta"):
        alone = Transformer(Backbone(**model["backbone"]))
    return network(model), alone


def network(model: Mapping[str, Any]) -> Denoiser:
    """The denoiser of a config's `model`, with what trains marked, without memory."""
    backbone, inputs = Backbone(**model["backbone"]), Inputs(**model["inputs"])
    with torch.device("meta"):
        denoiser = denoiser_of(backbone, inputs, model["identity"], model.get("audio", "none"), model["options"])
    set_trainable(denoiser, model["trainable"])
    return denoiser


def parts(denoiser: Denoiser) -> dict[str, Part]:
    """Parameters of the backbone, of each conditioner, and of each conditioner's adapters in the blocks."""
    names = list(denoiser.conditioners)
    found = {"backbone": [0, 0]} | {kind: [0, 0] for name in names for kind in (name, f"{name} adapters")}
    for key, parameter in denoiser.named_parameters():
        home = part_of(key)
        found[home][0] += parameter.numel()
        found[home][1] += parameter.numel() * parameter.requires_grad
    return {name: Part(*counts) for name, counts in found.items() if counts[0]}


def part_of(key: str) -> str:
    """The part of the denoiser that a parameter is of: the backbone, a conditioner, or its adapters in the blocks."""
    names = key.split(".")
    if names[0] == "conditioners":
        return names[1]
    return f"{names[names.index('adapters') + 1]} adapters" if "adapters" in names else "backbone"


def work_of(config: Mapping[str, Any]) -> Work:
    """What one clip costs in a training step of a resolved config."""
    denoiser = network(config["model"])
    backbone = denoiser.transformer.backbone
    training, _ = counted(training_step(denoiser, Inputs(**config["model"]["inputs"])))
    return Work(tokens(backbone)["sequence"], training.total)


def tokens(backbone: Backbone) -> dict[str, int]:
    """Tokens of one clip: of text, of video, and of the two together, which attend to each other."""
    video = backbone.latent_frames * backbone.patches
    return {"text": backbone.text_tokens, "video": video, "sequence": backbone.text_tokens + video}


def operations(
    denoiser: Denoiser, alone: Transformer, inputs: Inputs, sampling: Mapping[str, Any]
) -> dict[str, Operations]:
    """Of one clip: forward passes, a training step, and a window of sampling.

    A training step goes back only through what leads to something that trains, as autograd finds out. Recomputing
    activations adds about one forward to it, a fused attention half a forward of its own. The branches of guidance are
    taken to share nothing.
    """
    backbone = denoiser.transformer.backbone
    clip, step = imaginary_clip(backbone, inputs), torch.zeros(1, device="meta")
    latents = torch.empty(_latent_shape(backbone), device="meta")
    beside = torch.cat([latents, latents], dim=2)
    branches = 1 if sampling["guidance"] == 1 else 2
    denoiser.eval()
    with torch.no_grad():
        plain, _ = counted(lambda: alone(beside, clip.text_embeddings, step, [{}] * backbone.blocks))
        signals, made = counted(lambda: denoiser.signals(clip))
        preparing, conditions = counted(lambda: denoiser.prepared(made, latents))
        forward, _ = counted(lambda: denoiser(latents, step, clip, conditions))
    training, _ = counted(training_step(denoiser, inputs))
    return {
        "backbone forward": plain,
        "signals": signals,
        "preparing adapters": preparing,
        "forward, prepared": forward,
        "forward": forward + signals + preparing,
        "training step": training,
        "sampling a window": (signals + preparing + forward * sampling["steps"]) * branches,
    }


def training_step(denoiser: Denoiser, inputs: Inputs) -> Callable[[], None]:
    """Forward and backward of one clip."""
    backbone = denoiser.transformer.backbone
    clip, step = imaginary_clip(backbone, inputs), torch.zeros(1, device="meta")
    latents = torch.empty(_latent_shape(backbone), device="meta")
    return lambda: denoiser.train()(latents, step, clip).sum().backward()


def counted(work: Callable[[], Any]) -> tuple[Operations, Any]:
    """What torch dispatches while doing it, and what it returns."""
    with FlopCounterMode(display=False) as counter:
        result = work()
    total, attention = 0, 0
    for operation, count in counter.get_flop_counts()["Global"].items():
        total += count
        attention += count * any(word in str(operation) for word in ("bmm", "attention"))
    return Operations(total - attention, attention), result


def imaginary_clip(backbone: Backbone, inputs: Inputs) -> Batch:
    """One clip with everything that a conditioner may read, of the sizes of a config and without memory."""
    latents = torch.empty(_latent_shape(backbone), device="meta")
    frames = pixel_frames(backbone.latent_frames)
    audio = (1, frames, AUDIO_WINDOW, inputs.audio_layers, inputs.audio_channels)
    return Batch(
        keys=("imaginary",),
        latents=latents,
        motion_latents=latents,
        reference_latents=latents[:, :1],
        text_embeddings=torch.empty(1, backbone.text_tokens, backbone.text_width, device="meta"),
        audio_features=torch.empty(audio, device="meta"),
        face_embedding=torch.empty(1, inputs.face_width, device="meta"),
    )


def _latent_shape(backbone: Backbone) -> tuple[int, ...]:
    channels, height, width = backbone.latent_channels, backbone.latent_height, backbone.latent_width
    return 1, backbone.latent_frames, channels, height, width


def memory(denoiser: Denoiser, clips: int, shard: int, weight_bytes: int, recompute: str) -> Memory:
    """An estimate for training with parameters, and what belongs to them, split evenly over `shard` ranks.

    Weights in `weight_bytes`; gradients, two moments of AdamW and the moving average in float32, of what trains.
    Not counted: frozen encoders, activations of adapters and of the reference network (one latent frame), copies of
    weights by autocast, buffers of communication, the allocator's waste.
    """
    trained = sum(p.numel() for p in denoiser.parameters() if p.requires_grad)
    return Memory(
        weights=_count(denoiser) * weight_bytes / shard,
        gradients=trained * 4 / shard,
        optimizer=trained * 8 / shard,
        average=trained * 4 / shard,
        activations=activation_bytes(denoiser, clips, recompute),
    )


def activation_bytes(denoiser: Denoiser, clips: int, recompute: str) -> float:
    """What the backbone's blocks keep for the backward pass, in bfloat16, under a value of parallel.recompute.

    All of WORKING_WIDTHS each, or less where little trains; of one that is recomputed the input, with `attention_kept`
    also what its attention gave, and all of one at a time. Attention is fused and keeps no scores.
    """
    size = denoiser.transformer.backbone
    every = EVERY.fullmatch(recompute)
    again = size.blocks // int(every[1]) if every else {"none": 0}.get(recompute, size.blocks)
    kept = 2 if recompute == "attention_kept" else 1
    widths = again * kept + (size.blocks - again + bool(again)) * WORKING_WIDTHS
    return float(clips * widths * tokens(size)["sequence"] * size.width * ACTIVATION_BYTES)


def _holds_a_copy(conditioner: nn.Module) -> bool:
    """Of the backbone."""
    return any(isinstance(module, Trunk) for module in conditioner.modules())


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
