"""What network a set of parameters is of, and whether each has the shape that network gives it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hallo3_lightning.conditioning.conditioner import NONE, TOGETHER, Inputs, kind_and_name, owner
from hallo3_lightning.denoiser import denoiser_of
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import AUDIO_WINDOW, PATCH, patches
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.weights.source import Kind, printable

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

PUBLISHED_EPS, PUBLISHED_OUTPUT_EPS = 1e-5, 1e-6

SHOWN = 4
"""Names that an error shows before it says how many more there are."""


@dataclass(frozen=True)
class Grid:
    """Latent frames, height and width that the learned positions are for: a checkpoint holds only their product."""

    frames: int = 13
    height: int = 60
    width: int = 90

    @classmethod
    def of(cls, text: str) -> "Grid":
        """From FRAMESxHEIGHTxWIDTH."""
        match = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})x([0-9]{1,6})", text)
        numbers = [int(number) for number in match.groups()] if match else []
        if not numbers or 0 in numbers or any(side % PATCH for side in numbers[1:]):
            raise UsageError(
                f"--latents {text}: expected FRAMESxHEIGHTxWIDTH of latents, height and width even, such as {cls()}"
            )
        return cls(*numbers)

    @property
    def tokens(self) -> int:
        return self.frames * patches(self.height, self.width)

    def __str__(self) -> str:
        return f"{self.frames}x{self.height}x{self.width}"


def blocks_of(shapes: Shapes) -> int:
    """How many blocks have parameters."""
    prefix = "transformer.transformer_blocks."
    return len({name.split(".")[2] for name in shapes if name.startswith(prefix)})


def published_backbone(shapes: Shapes, grid: Grid, turned: int | None) -> Backbone:
    """Sizes of the transformer whose parameters have these shapes; its epsilons are the published ones.

    turned: rows of its table of rotations, one a video token; None: it has none, and as many text tokens as published.
    """
    width, channels = axes(shapes, "transformer.patch_embed.proj.weight", 4)[:2]
    head_dim = axes(shapes, "transformer.transformer_blocks.0.attn1.norm_q.weight", 1)[0]
    return Backbone(
        width=width,
        heads=max(width // head_dim, 1),
        blocks=blocks_of(shapes),
        time_width=axes(shapes, "transformer.time_embedding.linear_1.weight", 2)[0],
        text_width=axes(shapes, "transformer.patch_embed.text_proj.weight", 2)[1],
        text_tokens=_text_tokens(shapes, grid, turned),
        latent_channels=max(channels // 2, 1),
        latent_height=grid.height,
        latent_width=grid.width,
        latent_frames=grid.frames,
        norm_eps=PUBLISHED_EPS,
        output_norm_eps=PUBLISHED_OUTPUT_EPS,
    )


def _text_tokens(shapes: Shapes, grid: Grid, turned: int | None) -> int:
    rows = axes(shapes, "transformer.patch_embed.pos_embedding", 3)[1]
    video = rows - Backbone.text_tokens if turned is None else turned
    if video != grid.tokens or rows <= video:
        raise UsageError(
            f"the table of learned positions has {rows} rows, {video} of them for video, but {grid} latents are "
            f"{grid.tokens} tokens; say for which latents it is with --latents FRAMESxHEIGHTxWIDTH"
        )
    return rows - video


def strategies_of(shapes: Shapes, kind: Kind) -> dict[str, dict[str, Any]]:
    """The published conditioners that weights of a kind have, with their options: kind_name -> options.

    Hallo3 has a reference network and face attention in both of its phases, and audio in the second.
    """
    if kind != "hallo3":
        return {}
    face = "conditioners.identity_face_attention.face_tokens."
    width = axes(shapes, f"{face}norm.weight", 1)[0]
    tokens = axes(shapes, f"{face}proj.weight", 2)[0] // width
    found: dict[str, dict[str, Any]] = {
        "identity_reference_network": {},
        "identity_face_attention": {"tokens": tokens, "width": width},
    }
    if any(owner(name) == "audio_cross_attention" for name in shapes):
        audio = "conditioners.audio_cross_attention.audio_tokens."
        width = axes(shapes, f"{audio}norm.weight", 1)[0]
        tokens = axes(shapes, f"{audio}proj3.weight", 2)[0] // width
        hidden = axes(shapes, f"{audio}proj1.weight", 2)[0]
        found["audio_cross_attention"] = {"tokens": tokens, "width": width, "hidden": hidden}
    return found


def expected_shapes(shapes: Shapes, backbone: Backbone, strategies: Mapping[str, dict[str, Any]]) -> dict[str, Shape]:
    """Names and shapes of every parameter of that network, built without memory for its numbers."""
    options = {kind_and_name(name)[1]: given for name, given in strategies.items()}
    identity, audio = (_together(kind, strategies) for kind in ("identity", "audio"))
    with torch.device("meta"):
        network = denoiser_of(backbone, _inputs(shapes), identity, audio, options)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def check(shapes: Shapes, expected: Shapes, what: str) -> None:
    """Raise a UsageError that lists what is missing, what is not of the network, and what has another shape."""
    faults = {
        "missing": sorted(expected.keys() - shapes.keys()),
        "unexpected": sorted(shapes.keys() - expected.keys()),
        "of another shape": [
            f"{name} {shapes[name]} for {expected[name]}"
            for name in sorted(expected.keys() & shapes.keys())
            if shapes[name] != expected[name]
        ],
    }
    complain(what, faults)


def complain(what: str, faults: Mapping[str, list[str]]) -> None:
    """Raise a UsageError for what is wrong with the parameters of `what`, if anything is."""
    told = [f"{len(names)} {fault} ({_shown(names)})" for fault, names in faults.items() if names]
    if told:
        raise UsageError(
            f"'{what}' is not a network that we know: parameters {', '.join(told)}; "
            "give CogVideoX-5B-I2V, in diffusers' or SAT's form, or the published Hallo3"
        )


def _shown(names: list[str]) -> str:
    return ", ".join(map(printable, names[:SHOWN])) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def axes(shapes: Shapes, name: str, count: int) -> Shape:
    """The shape of a parameter that must be there, with so many axes, none of them empty."""
    found = shapes.get(name)
    if found is None or len(found) != count or 0 in found:
        has = "is missing" if found is None else f"has the shape {found}"
        such = f"{len(shapes)} parameters, such as {_shown(sorted(shapes))}" if shapes else "no parameters"
        raise UsageError(f"this is not a CogVideoX transformer of ours: {name} {has}; it has {such}")
    return found


def _together(kind: str, strategies: Mapping[str, Any]) -> str:
    """As `--model.<kind>` names them."""
    return TOGETHER.join(name for one, name in map(kind_and_name, strategies) if one == kind) or NONE


def _inputs(shapes: Shapes) -> Inputs:
    """Widths of face embedding and audio features; of layers and channels of audio a checkpoint has the product."""
    face = shapes.get("conditioners.identity_face_attention.face_tokens.proj.weight", (1, 1))
    audio = shapes.get("conditioners.audio_cross_attention.audio_tokens.proj1.weight", (1, AUDIO_WINDOW))
    return Inputs(audio_layers=1, audio_channels=max(audio[1] // AUDIO_WINDOW, 1), face_width=face[1])
