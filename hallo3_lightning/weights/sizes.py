"""What network a set of parameters is of, and whether each has the shape that network gives it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hallo3_lightning.conditioning.conditioner import Inputs, conditioners
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import AUDIO_WINDOW, patches
from hallo3_lightning.model.transformer import Backbone

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

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
        numbers = text.split("x")
        if len(numbers) != 3 or not all(number.isdigit() and int(number) for number in numbers):
            raise UsageError(f"--latents {text}: expected FRAMESxHEIGHTxWIDTH of latents, such as {cls()}")
        return cls(*map(int, numbers))

    @property
    def tokens(self) -> int:
        return self.frames * patches(self.height, self.width)

    def __str__(self) -> str:
        return f"{self.frames}x{self.height}x{self.width}"


def backbone_of(shapes: Shapes, grid: Grid, norm_eps: float, output_norm_eps: float) -> Backbone:
    """Sizes of the transformer whose parameters have these shapes; of its epsilons they say nothing."""
    width, channels = _shape(shapes, "transformer.patch_embed.proj.weight", 4)[:2]
    head_dim = _shape(shapes, "transformer.transformer_blocks.0.attn1.norm_q.weight", 1)[0]
    learned = "transformer.patch_embed.pos_embedding" in shapes
    blocks = {name.split(".")[2] for name in shapes if name.startswith("transformer.transformer_blocks.")}
    return Backbone(
        width=width,
        heads=width // head_dim,
        blocks=len(blocks),
        time_width=_shape(shapes, "transformer.time_embedding.linear_1.weight", 2)[0],
        text_width=_shape(shapes, "transformer.patch_embed.text_proj.weight", 2)[1],
        text_tokens=_text_tokens(shapes, grid) if learned else Backbone.text_tokens,
        latent_channels=channels // 2,
        latent_height=grid.height,
        latent_width=grid.width,
        latent_frames=grid.frames,
        learned_positions=learned,
        norm_eps=norm_eps,
        output_norm_eps=output_norm_eps,
    )


def _text_tokens(shapes: Shapes, grid: Grid) -> int:
    rows = _shape(shapes, "transformer.patch_embed.pos_embedding", 3)[1]
    if rows <= grid.tokens:
        raise UsageError(
            f"the table of learned positions has {rows} rows, too few for {grid} latents ({grid.tokens} tokens) and text; "
            "say for which latents it is with --latents FRAMESxHEIGHTxWIDTH"
        )
    return rows - grid.tokens


def strategies_of(shapes: Shapes) -> dict[str, dict[str, Any]]:
    """Published conditioners whose parameters are among these, with their options: kind_name -> options."""
    found: dict[str, dict[str, Any]] = {}
    if any(name.startswith("conditioners.identity_reference_network.") for name in shapes):
        found["identity_reference_network"] = {}
    face = "conditioners.identity_face_attention.face_tokens."
    if any(name.startswith(face) for name in shapes):
        width = _shape(shapes, f"{face}norm.weight", 1)[0]
        found["identity_face_attention"] = {
            "tokens": _shape(shapes, f"{face}proj.weight", 2)[0] // width,
            "width": width,
        }
    audio = "conditioners.audio_cross_attention.audio_tokens."
    if any(name.startswith(audio) for name in shapes):
        width = _shape(shapes, f"{audio}norm.weight", 1)[0]
        tokens = _shape(shapes, f"{audio}proj3.weight", 2)[0] // width
        hidden = _shape(shapes, f"{audio}proj1.weight", 2)[0]
        found["audio_cross_attention"] = {"tokens": tokens, "width": width, "hidden": hidden}
    return found


def expected_shapes(shapes: Shapes, backbone: Backbone) -> dict[str, Shape]:
    """Names and shapes of every parameter of the network that these are of, built without memory for its numbers."""
    strategies = strategies_of(shapes)
    options = {name.partition("_")[2]: given for name, given in strategies.items()}
    names = {kind: _together(kind, strategies) for kind in ("identity", "audio")}
    with torch.device("meta"):
        parts = [conditioners(kind, names[kind], backbone, _inputs(shapes), options) for kind in names]
        network = Denoiser(backbone, parts[0] | parts[1])
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def check(shapes: Shapes, backbone: Backbone, what: str) -> None:
    """Raise a UsageError that lists what is missing, what is not of the network, and what has another shape."""
    expected = expected_shapes(shapes, backbone)
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
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _shape(shapes: Shapes, name: str, axes: int) -> Shape:
    found = shapes.get(name)
    if found is None or len(found) != axes:
        has = f"has the shape {found}" if found else "is missing"
        raise UsageError(
            f"this is not a CogVideoX transformer of ours: {name} {has}; it has {len(shapes)} parameters, such as "
            f"{_shown(sorted(shapes)) or 'none'}"
        )
    return found


def _together(kind: str, strategies: Mapping[str, Any]) -> str:
    return "+".join(name.partition("_")[2] for name in strategies if name.startswith(kind)) or "none"


def _inputs(shapes: Shapes) -> Inputs:
    """Widths of face embedding and audio features; of layers and channels of audio a checkpoint has the product."""
    face = shapes.get("conditioners.identity_face_attention.face_tokens.proj.weight", (0, 1))
    audio = shapes.get("conditioners.audio_cross_attention.audio_tokens.proj1.weight", (0, AUDIO_WINDOW))
    return Inputs(audio_layers=1, audio_channels=audio[1] // AUDIO_WINDOW, face_width=face[1])
